"""The CDK app's own template deploys to the local AWS unchanged, and is obeyed there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local_aws import deployment
from local_aws.cloudformation import Environment
from local_aws.containers import PROJECT
from local_aws.deployment import Stack
from local_aws.server import LocalAws

CLOUD_ASSEMBLY = PROJECT / "build" / "cdk.out"
TEMPLATE = CLOUD_ASSEMBLY / "Transcription.template.json"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    assert TEMPLATE.exists(), "Run `make synth` first."
    return json.loads(TEMPLATE.read_text())


@pytest.fixture(scope="module")
def stack(aws: LocalAws, template: dict[str, Any]) -> Stack:
    return deployment.deploy(aws, CLOUD_ASSEMBLY)


@pytest.fixture
def changed_assembly(tmp_path: Path) -> Path:
    """A copy of the cloud assembly that a test may change."""
    return shutil.copytree(CLOUD_ASSEMBLY, tmp_path / "cdk.out")


def test_every_resource_of_the_template_is_deployed(aws: LocalAws, stack: Stack, template: dict[str, Any]) -> None:
    assert stack.resources == len(template["Resources"])
    body = aws.client("cloudformation").get_template(StackName="Transcription")["TemplateBody"]
    assert json.loads(json.dumps(body)) == template


def test_airflow_gets_the_names_of_what_was_deployed(aws: LocalAws, stack: Stack) -> None:
    options = stack.airflow_options
    assert options["transcription.bucket"] == stack.outputs["BucketName"]
    batch = aws.client("batch")
    queue = batch.describe_job_queues(jobQueues=[options["transcription.job_queue"]])["jobQueues"][0]
    assert queue["state"] == "ENABLED"
    definition = options["transcription.job_definition"]
    assert batch.describe_job_definitions(jobDefinitionName=definition)["jobDefinitions"]


def test_the_audio_bucket_is_versioned_encrypted_and_closed_to_the_public(aws: LocalAws, stack: Stack) -> None:
    s3, bucket = aws.client("s3"), stack.outputs["BucketName"]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]


def test_a_tls_only_policy_stands_in_nobodys_way_and_a_plain_denial_does(aws: LocalAws, stack: Stack) -> None:
    s3, bucket = aws.client("s3"), stack.outputs["BucketName"]
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    assert any("aws:SecureTransport" in json.dumps(statement) for statement in policy["Statement"])
    s3.put_object(Bucket=bucket, Key="input/x.txt", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="input/x.txt")

    s3.create_bucket(Bucket="closed")
    denial = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::closed/*"}
    held = {**denial, "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
    for statement in (denial, held):
        s3.put_bucket_policy(Bucket="closed", Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        with pytest.raises(ClientError, match=r"AccessDenied|Forbidden"):
            s3.put_object(Bucket="closed", Key="x", Body=b"x")


def test_the_job_definition_keeps_its_retries_and_its_timeout(
    aws: LocalAws, stack: Stack, template: dict[str, Any]
) -> None:
    (planned,) = (
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Batch::JobDefinition"
    )
    name = stack.airflow_options["transcription.job_definition"]
    definition = aws.client("batch").describe_job_definitions(jobDefinitionName=name)["jobDefinitions"][-1]
    assert definition["timeout"]["attemptDurationSeconds"] == planned["Timeout"]["AttemptDurationSeconds"]
    assert definition["retryStrategy"]["attempts"] == planned["RetryStrategy"]["Attempts"]
    assert len(definition["retryStrategy"]["evaluateOnExit"]) == len(planned["RetryStrategy"]["EvaluateOnExit"])
    assert definition["platformCapabilities"] == ["FARGATE"]


def test_the_airflow_code_is_in_its_bucket(aws: LocalAws, stack: Stack, template: dict[str, Any]) -> None:
    (environment,) = (
        resource["Properties"]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::MWAA::Environment"
    )
    s3, bucket = aws.client("s3"), stack.outputs["AirflowCodeBucketName"]
    deployed = s3.get_object(Bucket=bucket, Key="dags/transcription.py")["Body"].read()
    assert deployed == (PROJECT / "dags" / "transcription.py").read_bytes()
    s3.head_object(Bucket=bucket, Key=environment["PluginsS3Path"])
    requirements = s3.get_object(Bucket=bucket, Key=environment["RequirementsS3Path"])["Body"].read()
    assert requirements == (PROJECT / "requirements.txt").read_bytes()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the CDK app is made from, which a test may change."""
    leave_out = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("infra", "dags", "plugins", "worker_image"):
        shutil.copytree(PROJECT / name, tmp_path / "project" / name, ignore=leave_out)
    shutil.copy(PROJECT / "requirements.txt", tmp_path / "project")
    return tmp_path / "project"


def synthesise(project: Path, settings: str = "") -> Path:
    """What `make synth` does with the project."""
    (project / "settings.toml").write_text(settings)
    subprocess.run(
        [PROJECT / ".venv" / "infra" / "bin" / "python", project / "infra" / "app.py"],
        env={**os.environ, "CDK_OUTDIR": str(project / "cdk.out"), "SETTINGS": str(project / "settings.toml")},
        check=True,
    )
    return project / "cdk.out"


def environment_properties() -> dict[str, Any]:
    (environment,) = Environment.by_name.values()
    return dict(environment.properties)


def test_an_update_brings_new_dags_and_plugins_and_drops_the_dags_that_are_gone(
    aws: LocalAws, stack: Stack, project: Path
) -> None:
    before = environment_properties()
    (project / "dags" / "transcription.py").rename(project / "dags" / "renamed.py")
    with (project / "plugins" / "transcription" / "layout.py").open("a") as code:
        code.write("# changed\n")

    updated = deployment.deploy(aws, synthesise(project))

    s3, bucket = aws.client("s3"), stack.outputs["AirflowCodeBucketName"]
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="dags/")["Contents"]
    assert [item["Key"] for item in listed] == ["dags/renamed.py"]
    after = environment_properties()
    assert after["PluginsS3Path"] != before["PluginsS3Path"]
    for properties in (before, after):  # the old one stays for a roll-back
        s3.head_object(Bucket=bucket, Key=properties["PluginsS3Path"])
    assert after["RequirementsS3Path"] == before["RequirementsS3Path"]
    assert updated.outputs["BucketName"] == stack.outputs["BucketName"]  # nothing in it is lost


def test_an_update_to_more_cpus_and_another_model_takes_effect_and_leaves_airflow_alone(
    aws: LocalAws, stack: Stack, project: Path
) -> None:
    deployment.deploy(aws, synthesise(project))
    airflow = environment_properties()
    batch, name = aws.client("batch"), stack.airflow_options["transcription.job_definition"]
    before = batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]

    updated = deployment.deploy(aws, synthesise(project, 'max_vcpus = 80\nmodel = "s3://my-models/m.tflite"\n'))

    after = batch.describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    assert len(after) == len(before) + 1
    newest = max(after, key=lambda definition: definition["revision"])
    [container] = newest["ecsProperties"]["taskProperties"][0]["containers"]
    assert {"name": "MODEL", "value": "s3://my-models/m.tflite"} in container["environment"]
    assert updated.outputs["JobDefinitionArn"] == newest["jobDefinitionArn"]
    environments = batch.describe_compute_environments()["computeEnvironments"]
    ours = [item for item in environments if "Transcription" in item["computeEnvironmentName"]]
    assert {item["computeResources"]["type"]: item["computeResources"]["maxvCpus"] for item in ours} == {
        "FARGATE_SPOT": 60,
        "FARGATE": 20,
    }
    assert environment_properties() == airflow  # an update of Airflow would take half an hour


def test_an_environment_whose_plugins_are_not_in_the_bucket_is_refused(aws: LocalAws, changed_assembly: Path) -> None:
    template_file = changed_assembly / "Transcription.template.json"
    template = json.loads(template_file.read_text())
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::MWAA::Environment":
            resource["Properties"]["PluginsS3Path"] = "no-such.zip"
    template_file.write_text(json.dumps(template))
    with pytest.raises(Exception, match=r"PluginsS3Path|500"):
        deployment.deploy(aws, changed_assembly, stack="Transcription")
