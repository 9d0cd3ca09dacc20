"""An invalid setting is rejected before AWS sees it. The error names the setting, its value and the allowed values."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.infra.stack_template import PROJECT
from transcription_stack.stack_settings import IMAGE_BUILD_ARGS, InvalidSettingError, Settings, read_settings

WRONG = [
    ({"memory_gb_per_child": 3}, "memory_gb_per_child = 3: Fargate offers 2 vCPU with 4, 5, 6,"),
    ({"vcpus_per_child": 3}, "vcpus_per_child = 3: must be one of 0.25, 0.5, 1, 2, 4, 8, 16."),
    ({"vcpus_per_child": 8, "memory_gb_per_child": 18}, "memory_gb_per_child = 18: Fargate offers 8 vCPU with 16, 20,"),
    ({"max_vcpus": 1}, "max_vcpus = 1: must be between 2 and 20000."),
    ({"max_vcpus": 41}, "max_vcpus = 41: must be a multiple of vcpus_per_child = 2"),
    ({"deadline_hours": 39}, "deadline_hours = 39: must be at least what a child may take, which is 40 hours"),
    ({"attempts": 10}, "deadline_hours = 48: must be at least what a child may take, which is 124 hours"),
    ({"keep_manifests_days": 2}, "keep_manifests_days = 2: must be longer than a run may take, which is 48 hours"),
    ({"keep_processed_days": 0}, "keep_processed_days = 0: must be between 1 and 3650."),
    ({"keep_transcripts_days": 1.5}, "keep_transcripts_days = 1.5: expected a whole number or nothing."),
    ({"model": "s3:/bucket/x"}, "model = 's3:/bucket/x': must be a name or s3://bucket/key."),
    ({"scorer": ""}, "scorer = '': must be a name or s3://bucket/key."),
    ({"spot_share": 1.5}, "spot_share = 1.5: must be between 0 and 1."),
    ({"scratch_gib": 20}, "scratch_gib = 20: must be between 21 and 200."),
    ({"attempts": 11}, "attempts = 11: must be between 1 and 10."),
    ({"attempt_timeout_hours": 0}, "attempt_timeout_hours = 0: must be between"),
    ({"stuck_in_queue_hours": 25}, "stuck_in_queue_hours = 25: must be between 0.166667 and 24."),
    ({"quiet_minutes": 61}, "quiet_minutes = 61: must be between 0.1 and 60."),
    ({"start_on_upload": 1}, "start_on_upload = 1: expected true or false."),
    ({"max_gb_per_query": 0}, "max_gb_per_query = 0: must be between 0.01 and"),
    ({"max_usd": -1}, "max_usd = -1: must be between 0 and"),
    ({"max_instances": 10_001}, "max_instances = 10001: must be between 1 and 10000."),
    (
        {"model_buckets": "arn:aws:s3:::my-models"},
        "model_buckets = 'arn:aws:s3:::my-models': expected a list of texts.",
    ),
    ({"model_buckets": [1]}, "model_buckets = (1,): expected a list of texts."),
    (
        {"model_buckets": ["my-models"]},
        "model_buckets: 'my-models' is not a bucket ARN such as arn:aws:s3:::my-models.",
    ),
    ({"image_scanning": "on"}, "image_scanning = 'on': must be one of BASIC, ENHANCED, OFF."),
    ({"airflow_version": "2.10.3"}, "airflow_version = '2.10.3': must be one of 3.3.1."),
    ({"airflow_class": "mw1.tiny"}, "airflow_class = 'mw1.tiny': must be one of mw1.micro, mw1.small,"),
    ({"airflow_max_workers": 2}, "airflow_max_workers = 2: mw1.micro has exactly 1."),
    ({"airflow_ui": "public"}, "airflow_ui = 'public': must be one of PUBLIC_ONLY, PRIVATE_ONLY, PUBLIC_AND_PRIVATE."),
    ({"egress": "endpoints"}, "airflow_ui = 'PUBLIC_ONLY': without NAT"),
    ({"egress": "vpn"}, "egress = 'vpn': must be one of nat, endpoints, public."),
    ({"orchestration": "cron"}, "orchestration = 'cron': must be one of mwaa, on_demand."),
    ({"orchestrator_memory_gb": 3}, "orchestrator_memory_gb = 3: Fargate offers 0.25 vCPU with 0.5, 1, 2 GB."),
    ({"orchestrator_vcpus": 3}, "orchestrator_vcpus = 3: must be one of 0.25, 0.5, 1,"),
    ({"alarm_run_hours": 0}, "alarm_run_hours = 0: must be between 0.1 and 336."),
    ({"dashboard": "yes"}, "dashboard = 'yes': expected true or false or nothing."),
    (
        {"orchestration": "on_demand", "schedule": "0 1 1 * 1"},
        "schedule = '0 1 1 * 1': with orchestration = 'on_demand' it may name days of the month or weekdays, not both.",
    ),
    (
        {"orchestration": "on_demand", "start_on_upload": True, "quiet_minutes": 2},
        "quiet_minutes = 2: with orchestration = 'on_demand' it must be a whole number between 5 and 60",
    ),
    ({"nat_gateways": 0}, "nat_gateways = 0: must be between 1 and 2."),
    ({"vpc_cidr": "10.0.0.0/8"}, "vpc_cidr = '10.0.0.0/8': must be a private range of /16 to /24"),
    ({"vpc_cidr": "8.8.0.0/16"}, "vpc_cidr = '8.8.0.0/16': must be a private range of /16 to /24"),
    ({"vpc_cidr": "10.20.0.5/16"}, "vpc_cidr = '10.20.0.5/16': 10.20.0.5/16 has host bits set."),
    ({"vpc_cidr": "999.1.1.0/16"}, "vpc_cidr = '999.1.1.0/16': Octet 999 (> 255) not permitted"),
    ({"alarm_email": "nobody"}, "alarm_email = 'nobody': must be an e-mail address."),
    ({"alarm_reject_share": 10}, "alarm_reject_share = 10: must be between 0 and 1."),
    ({"alarm_waiting_hours": 0}, "alarm_waiting_hours = 0: must be between 1 and"),
    ({"alarm_no_run_hours": 169}, "alarm_no_run_hours = 169: must be between 1 and 168."),
    ({"alarm_no_run_hours": 1.5}, "alarm_no_run_hours = 1.5: expected a whole number."),
    ({"log_retention_days": 100}, "log_retention_days = 100: must be one of 1, 3, 5,"),
    ({"keep_old_versions_days": 0}, "keep_old_versions_days = 0: must be between 1 and 3650."),
    (
        {"maintenance_window": "SUN:12:15"},
        "maintenance_window = 'SUN:12:15': must be a day and a half-hour such as SUN:12:00 (UTC).",
    ),
    ({"schedule": "nightly"}, "schedule = 'nightly': must be five cron fields"),
    ({"schedule": ""}, "schedule = '': must be five cron fields"),
    ({"schedule": "61 1 * * *"}, "schedule = '61 1 * * *': the minute 61 is not between 0 and 59."),
    ({"schedule": "0 1 * * 1-8"}, "schedule = '0 1 * * 1-8': the weekday 8 is not between 0 and 7."),
    ({"stack_name": "1st"}, "stack_name = '1st': must be letters, digits and hyphens, a letter first."),
    ({"environment_name": "a b"}, "environment_name = 'a b': must be 1-80 letters"),
    ({"region": "Ireland"}, "region = 'Ireland': must be an AWS region such as us-east-1."),
    ({"usd_per_vcpu_hour": -1}, "usd_per_vcpu_hour = -1: must be between 0 and 10."),
    ({"max_vcpus": "40"}, "max_vcpus = '40': expected a whole number."),
    ({"max_vcpus": True}, "max_vcpus = True: expected a whole number."),
    ({"region": 1}, "region = 1: expected text or nothing."),
    ({"image_build_args": {"MODEL": 3}}, "image_build_args = {'MODEL': 3}: expected a table of texts or nothing."),
    ({"image_build_args": {"MODLE": "x"}}, "image_build_args: 'MODLE' is not a build argument. Use one of PYTHON,"),
    ({"image_build_args": "x"}, "image_build_args = 'x': expected a table of texts or nothing."),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=lambda value: str(value)[:40])
def test_the_error_names_the_wrong_setting_its_value_and_the_allowed_values(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidSettingError, match=re.escape(message)):
        Settings(**wrong)


@pytest.mark.parametrize("schedule", ["0 1 * * *", "*/90 0-23/2 1,15 JAN-DEC MON-FRI", "30 3 * * 1-5", "0 0 L * 5#2"])
def test_a_schedule_may_have_steps_lists_ranges_and_names(schedule: str) -> None:
    assert Settings(schedule=schedule).schedule == schedule


def test_the_build_arguments_are_those_of_the_dockerfile() -> None:
    dockerfile = (PROJECT / "worker_image" / "Dockerfile").read_text()
    assert set(IMAGE_BUILD_ARGS) == set(re.findall(r"^ARG (\w+)=", dockerfile, re.MULTILINE))


def test_an_unknown_setting_is_rejected_with_a_list_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("max_cpus = 40\n")
    with pytest.raises(
        InvalidSettingError, match=r"max_cpus: this setting does not exist. The settings are stack_name, "
    ):
        read_settings(tmp_path / "settings.toml")


def test_a_file_that_is_not_toml_is_rejected_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("max_vcpus: 40\n")
    with pytest.raises(InvalidSettingError, match=r"settings.toml: .*line 1"):
        read_settings(tmp_path / "settings.toml")


def test_a_missing_file_is_rejected_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match=r"none.toml: this file does not exist"):
        read_settings(tmp_path / "none.toml")


def test_the_projects_settings_file_changes_no_default() -> None:
    assert read_settings(PROJECT / "infra" / "settings.toml") == Settings()


@pytest.mark.parametrize(("share", "spot", "on_demand"), [(0, 0, 40), (0.75, 30, 10), (0.99, 40, 0), (1, 40, 0)])
def test_spot_and_on_demand_share_the_maximum_vcpus_in_whole_children(share: float, spot: int, on_demand: int) -> None:
    settings = Settings(spot_share=share)
    assert (settings.spot_vcpus, settings.on_demand_vcpus) == (spot, on_demand)


def test_every_setting_has_a_comment_of_its_own_or_of_its_group() -> None:
    lines = (PROJECT / "infra" / "transcription_stack" / "stack_settings.py").read_text().splitlines()
    unexplained = []
    for field in fields(Settings):
        [at] = [number for number, line in enumerate(lines) if re.match(rf"    {field.name}: ", line)]
        while re.match(r"    \w+: ", lines[at]):
            at -= 1
        if not lines[at].startswith("    # "):
            unexplained.append(field.name)
    assert unexplained == ["airflow_version"]  # the comment of MWAA_AIRFLOW_VERSIONS explains it
