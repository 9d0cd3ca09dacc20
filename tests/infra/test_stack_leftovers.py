"""leftovers.py lists the buckets of a destroyed stack, and deletes them with all versions."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import deployment_target
import leftovers
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.infra.stack_template import Assembly


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
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
def test_a_bucket_is_deleted_with_all_pages_of_versions_and_delete_markers(capsys: pytest.CaptureFixture[str]) -> None:
    s3 = boto3.client("s3", region_name="us-east-1")
    _versioned_bucket(s3, objects=1001)
    leftovers.main(["delete", "audio"])
    assert capsys.readouterr().out == "audio: 1003 versions deleted, and the bucket\n"
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="audio")


@pytest.mark.usefixtures("aws")
def test_the_kept_buckets_are_listed_with_the_command_that_deletes_them(
    stack: Assembly, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = {name: r for name, r in stack.template["Resources"].items() if r["Type"] == "AWS::S3::Bucket"}
    plain = {name: {"Type": r["Type"], "Properties": {}} for name, r in kept.items()}
    boto3.client("cloudformation", region_name="us-east-1").create_stack(
        StackName="Transcription", TemplateBody=json.dumps({"Resources": plain})
    )
    names = [bucket["Name"] for bucket in boto3.client("s3", region_name="us-east-1").list_buckets()["Buckets"]]
    assert len(names) == 3
    leftovers.main(["list", str(stack.folder)])
    output = capsys.readouterr().out
    for name in names:
        assert output.count(name) == 2  # in the list and in the command
    for content in ("audio and transcripts", "Airflow's code", "access logs"):
        assert f"({content})\n" in output


@pytest.mark.usefixtures("aws")
def test_an_error_of_aws_gives_a_message_of_one_line(stack: Assembly, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"AWS could not be asked: .*NoSuchBucket"):
        leftovers.main(["delete", "audio"])
    monkeypatch.delenv("AWS_REGION")
    with pytest.raises(SystemExit, match="AWS could not be asked: You must specify a region"):
        leftovers.main(["list", str(stack.folder)])


@pytest.mark.usefixtures("aws")
def test_a_stack_that_does_not_exist_has_no_leftovers(stack: Assembly, capsys: pytest.CaptureFixture[str]) -> None:
    leftovers.main(["list", str(stack.folder)])
    assert capsys.readouterr().out == "The stack Transcription does not exist in this account and region.\n"


def test_the_stacks_name_and_region_are_those_of_the_settings(
    stack: Assembly, closed: Assembly, large: Assembly
) -> None:
    assert deployment_target.stack_of(stack.folder) == ("Transcription", None)
    assert deployment_target.stack_of(closed.folder) == ("Transcription", "eu-west-1")
    assert deployment_target.stack_of(large.folder) == ("Team-B", None)
