from __future__ import annotations

from typing import Any

import pytest

from transcription import configuration
from transcription.errors import SettingError


def test_the_settings_are_those_of_the_deployed_environment(configured: Any) -> None:
    options = configuration.load()
    assert options.bucket == configured.outputs["BucketName"]
    assert options.job_queue == configured.airflow_options["transcription.job_queue"]
    assert options.vcpus_per_child == 2
    assert options.usd_per_vcpu_hour > 0


def test_every_option_that_the_template_sets_is_one_that_the_code_reads(stack: Any) -> None:
    set_in_template = {option.removeprefix("transcription.") for option in stack.airflow_options}
    assert set_in_template <= set(configuration.Configuration.__dataclass_fields__)


def test_the_error_for_a_missing_option_says_how_to_set_it(configured: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__TRANSCRIPTION__BUCKET")
    with pytest.raises(SettingError, match=r"'bucket'.*transcription\.bucket.*AIRFLOW__TRANSCRIPTION__BUCKET"):
        configuration.load()


def test_the_error_for_an_option_that_is_not_a_number_has_its_name_and_value(
    configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRANSCRIPTION__POLL_SECONDS", "often")
    with pytest.raises(SettingError, match=r"'poll_seconds'.*'often'"):
        configuration.load()
