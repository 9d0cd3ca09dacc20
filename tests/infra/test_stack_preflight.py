"""`make deploy` stops before a deployment that CloudFormation could not finish, and has the image scanned."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import preflight
import pytest
from moto import mock_aws

from tests.infra.stack_template import Assembly

OURS = "cdk-hnb659fds-container-assets-123456789012-us-east-1"


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An AWS account with nothing in it, and a shell with the documented variables."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with mock_aws():
        yield


def registry() -> Any:
    return boto3.client("ecr", region_name="us-east-1")


def scanned() -> dict[str, list[tuple[str, list[str]]]]:
    """The registry's rules by scan type: frequency and repositories."""
    found = registry().get_registry_scanning_configuration()["scanningConfiguration"]
    rules = [(r["scanFrequency"], [f["filter"] for f in r["repositoryFilters"]]) for r in found["rules"]]
    return {found["scanType"]: rules}


def scan(scan_type: str, frequency: str, *repositories: str) -> None:
    filters = [{"filter": name, "filterType": "WILDCARD"} for name in repositories]
    rules = [{"scanFrequency": frequency, "repositoryFilters": filters}]
    registry().put_registry_scanning_configuration(scanType=scan_type, rules=rules)


# --- Scanning


@pytest.mark.usefixtures("account")
def test_the_preflight_makes_the_registry_scan_our_image(stack: Assembly) -> None:
    preflight.main(stack.folder)
    assert scanned() == {"BASIC": [("SCAN_ON_PUSH", [OURS])]}
    assert preflight.image_repository(stack.folder, "<AWS::AccountId>", "<AWS::Region>") in stack.container()["Image"]


@pytest.mark.usefixtures("account")
def test_a_second_preflight_changes_nothing(stack: Assembly) -> None:
    preflight.main(stack.folder)
    preflight.main(stack.folder)
    assert scanned() == {"BASIC": [("SCAN_ON_PUSH", [OURS])]}


@pytest.mark.usefixtures("account")
def test_rules_for_other_images_stay(stack: Assembly) -> None:
    scan("BASIC", "SCAN_ON_PUSH", "team-*")
    preflight.main(stack.folder)
    assert scanned() == {"BASIC": [("SCAN_ON_PUSH", ["team-*", OURS])]}


@pytest.mark.usefixtures("account")
def test_a_rule_that_scans_our_image_is_enough(stack: Assembly) -> None:
    scan("BASIC", "SCAN_ON_PUSH", "cdk-*")
    preflight.main(stack.folder)
    assert scanned() == {"BASIC": [("SCAN_ON_PUSH", ["cdk-*"])]}


@pytest.mark.usefixtures("account")
def test_the_preflight_stops_if_the_registry_scans_other_images_in_the_other_way(stack: Assembly) -> None:
    scan("ENHANCED", "CONTINUOUS_SCAN", "team-*", OURS)
    with pytest.raises(SystemExit, match=r'Nothing was deployed.*\(team-\*\).*image_scanning = "ENHANCED"'):
        preflight.main(stack.folder)
    assert scanned() == {"ENHANCED": [("CONTINUOUS_SCAN", ["team-*", OURS])]}


@pytest.mark.usefixtures("account")
def test_our_own_rule_may_change_its_type(stack: Assembly) -> None:
    scan("ENHANCED", "CONTINUOUS_SCAN", OURS)
    preflight.main(stack.folder)
    assert scanned() == {"BASIC": [("SCAN_ON_PUSH", [OURS])]}


@pytest.mark.usefixtures("account")
def test_image_scanning_off_leaves_the_registry_as_it_is(large: Assembly) -> None:
    scan("ENHANCED", "CONTINUOUS_SCAN", "*")
    preflight.main(large.folder)
    assert scanned() == {"ENHANCED": [("CONTINUOUS_SCAN", ["*"])]}


# --- A live stack


@pytest.fixture
def deployed(account: None, stack: Assembly) -> None:
    """The network of the default settings as a live stack."""
    network = ("AWS::EC2::VPC", "AWS::EC2::Subnet")
    resources = {name: resource for name, resource in stack.resources.items() if resource["Type"] in network}
    cloudformation = boto3.client("cloudformation", region_name="us-east-1")
    cloudformation.create_stack(StackName="Transcription", TemplateBody=json.dumps({"Resources": resources}))


@pytest.fixture
def changed(stack: Assembly, tmp_path: Path) -> Callable[[str, str], Path]:
    """Makes a copy of the assembly in which a text of the template is another one."""

    def change(old: str, new: str) -> Path:
        folder = shutil.copytree(stack.folder, tmp_path / "changed")
        template = folder / "Transcription.template.json"
        assert old in template.read_text()
        template.write_text(template.read_text().replace(old, new))
        return folder

    return change


@pytest.mark.usefixtures("deployed")
def test_a_live_stack_with_the_same_network_may_be_deployed_again(stack: Assembly) -> None:
    preflight.main(stack.folder)
    assert scanned() == {"BASIC": [("SCAN_ON_PUSH", [OURS])]}


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize(
    ("setting", "old", "new"), [("vpc_cidr", "10.20.", "10.30."), ("egress", "10.20.128.0/18", "10.20.128.0/17")]
)
def test_another_network_of_a_live_stack_is_refused(
    changed: Callable[[str, str], Path], setting: str, old: str, new: str
) -> None:
    with pytest.raises(SystemExit, match=rf"Nothing was deployed. The setting {setting} differs from the live stack"):
        preflight.main(changed(old, new))
    assert scanned() == {"BASIC": []}


def test_a_stack_may_change_from_amazon_mwaa_to_on_demand_and_back(stack: Assembly, on_demand: Assembly) -> None:
    preflight.check_network(stack.template, on_demand.template)
    preflight.check_network(on_demand.template, stack.template)


def test_a_stack_without_amazon_mwaa_may_change_to_private_subnets(
    on_demand: Assembly, on_demand_large: Assembly
) -> None:
    preflight.check_network(on_demand.template, on_demand_large.template)
    preflight.check_network(on_demand_large.template, on_demand.template)


def test_children_with_amazon_mwaa_may_become_public(stack: Assembly, public: Assembly) -> None:
    preflight.check_network(stack.template, public.template)


def test_subnets_whose_addresses_overlap_live_ones_are_refused(closed: Assembly, on_demand: Assembly) -> None:
    """CloudFormation could not create them before it deletes the others."""
    with pytest.raises(preflight.CannotDeployError, match="the addresses of the new subnets overlap"):
        preflight.check_network(closed.template, on_demand.template)


@pytest.mark.usefixtures("account")
def test_the_images_are_scanned_in_their_common_repository(on_demand: Assembly) -> None:
    preflight.main(on_demand.folder)
    assert scanned() == {"BASIC": [("SCAN_ON_PUSH", [OURS])]}


def test_the_settings_egress_and_vpc_cidr_change_the_subnets(stack: Assembly, closed: Assembly) -> None:
    with pytest.raises(preflight.CannotDeployError, match="egress differs"):
        preflight.check_network(stack.template, closed.template)


@pytest.mark.usefixtures("account")
def test_buckets_of_a_failed_first_creation_are_named_before_the_cdk_forgets_them(
    stack: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudformation = boto3.client("cloudformation", region_name="us-east-1")
    bucket = {"Resources": {"StorageAirflowCode1": {"Type": "AWS::S3::Bucket", "Properties": {"BucketName": "left"}}}}
    cloudformation.create_stack(StackName="Transcription", TemplateBody=json.dumps(bucket))
    monkeypatch.setattr(preflight, "_status", lambda *_: "ROLLBACK_FAILED")  # moto rolls nothing back
    with pytest.raises(SystemExit, match=r"(?s)Nothing was deployed.*failed.*infra/leftovers.py delete left$"):
        preflight.main(stack.folder)
    boto3.client("s3", region_name="us-east-1").delete_bucket(Bucket="left")
    preflight.main(stack.folder)


# --- The region


class Zones:
    """A region's zones as EC2 describes them, because moto has no zones of real accounts."""

    def __init__(self, region: str, *ids: str) -> None:
        self.meta = type("Meta", (), {"region_name": region})
        self.ids = ids

    def describe_availability_zones(self, **_: Any) -> dict[str, Any]:
        zones = [{"ZoneName": f"z{letter}", "ZoneId": name} for letter, name in zip("abc", self.ids, strict=False)]
        return {"AvailabilityZones": zones[::-1]}


def test_a_zone_without_fargate_is_refused_if_the_stack_would_use_it() -> None:
    preflight.check_zones(Zones("ap-northeast-1", "apne1-az4", "apne1-az1", "apne1-az3"))
    preflight.check_zones(Zones("us-east-1", "use1-az3", "use1-az1"))
    with pytest.raises(preflight.CannotDeployError, match=r"zone zb \(apne1-az3\), and AWS Fargate is not offered"):
        preflight.check_zones(Zones("ap-northeast-1", "apne1-az4", "apne1-az3", "apne1-az1"))


@pytest.mark.usefixtures("account")
def test_the_region_is_the_settings_then_aws_region_then_aws_default_region(
    stack: Assembly, closed: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    def region(assembly: Assembly) -> str:
        from deployment_target import client, stack_of

        return client("s3", stack_of(assembly.folder)[1]).meta.region_name

    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert region(closed) == "eu-west-1"
    assert region(stack) == "eu-west-3"
    monkeypatch.delenv("AWS_REGION")
    assert region(stack) == "us-west-2"


@pytest.mark.usefixtures("account")
def test_an_error_of_aws_gives_a_message_of_one_line(stack: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(SystemExit, match=r"Nothing was deployed.*You must specify a region"):
        preflight.main(stack.folder)
