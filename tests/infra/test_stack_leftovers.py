"""What a destroyed stack leaves is named, and can be deleted with all its versions."""

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.infra.stack_template import PROJECT, Assembly

_spec = importlib.util.spec_from_file_location("leftovers", PROJECT / "infra" / "leftovers.py")
assert _spec
assert _spec.loader
leftovers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(leftovers)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield


def _versioned_bucket(s3: Any, *, objects: int) -> None:
    s3.create_bucket(Bucket="audio")
    s3.put_bucket_versioning(Bucket="audio", VersioningConfiguration={"Status": "Enabled"})
    for number in range(objects):
        s3.put_object(Bucket="audio", Key=f"input/{number}", Body=b"")
    s3.put_object(Bucket="audio", Key="input/0", Body=b"again")
    s3.delete_object(Bucket="audio", Key="input/0")


@pytest.mark.usefixtures("aws")
def test_a_bucket_is_deleted_with_every_version_and_marker_page_after_page(capsys: pytest.CaptureFixture[str]) -> None:
    s3 = boto3.client("s3")
    _versioned_bucket(s3, objects=1001)
    leftovers.main(["delete", "audio"])
    assert capsys.readouterr().out == "audio: 1003 objects and versions deleted, and the bucket\n"
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="audio")


@pytest.mark.usefixtures("aws")
def test_the_buckets_that_stay_are_named_with_the_command_that_deletes_them(
    stack: Assembly, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(leftovers.OUTPUTS) <= set(stack.template["Outputs"])
    kept = {name: r for name, r in stack.template["Resources"].items() if r["Type"] == "AWS::S3::Bucket"}
    plain = {name: {"Type": r["Type"], "Properties": {}} for name, r in kept.items()}
    outputs = {name: stack.template["Outputs"][name] for name in leftovers.OUTPUTS}
    boto3.client("cloudformation").create_stack(
        StackName="Transcription", TemplateBody=json.dumps({"Resources": plain, "Outputs": outputs})
    )
    names = [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]
    assert len(names) == 3
    leftovers.main(["list", str(stack.folder)])
    said = capsys.readouterr().out
    for name in names:
        assert said.count(name) == 2  # named, and in the command


@pytest.mark.usefixtures("aws")
def test_a_stack_that_is_not_there_leaves_nothing(stack: Assembly, capsys: pytest.CaptureFixture[str]) -> None:
    leftovers.main(["list", str(stack.folder)])
    assert capsys.readouterr().out == "There is no stack Transcription in this account and region.\n"


def test_the_stack_is_the_one_that_the_settings_name(stack: Assembly, closed: Assembly, large: Assembly) -> None:
    assert leftovers.stack_of(stack.folder) == ("Transcription", None)
    assert leftovers.stack_of(closed.folder) == ("Transcription", "eu-west-1")
    assert leftovers.stack_of(large.folder) == ("Team-B", None)
