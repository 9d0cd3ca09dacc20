"""The local AWS deploys the CDK app's unchanged template and applies its properties."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import leftovers
import preflight
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


def change(assembly: Path, kind: str, **properties: Any) -> None:
    """Change properties of the only resource of a type in an assembly's template."""
    file = assembly / "Transcription.template.json"
    template = json.loads(file.read_text())
    [resource] = [resource for resource in template["Resources"].values() if resource["Type"] == kind]
    resource["Properties"] |= properties
    file.write_text(json.dumps(template))


def test_every_resource_of_the_template_is_deployed(aws: LocalAws, stack: Stack, template: dict[str, Any]) -> None:
    assert stack.resources == len(template["Resources"])
    body = aws.client("cloudformation").get_template(StackName="Transcription")["TemplateBody"]
    assert json.loads(json.dumps(body)) == template


def test_airflows_options_name_the_deployed_bucket_queue_and_job_definition(aws: LocalAws, stack: Stack) -> None:
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


def test_a_tls_only_policy_allows_requests_and_other_denials_apply(aws: LocalAws, stack: Stack) -> None:
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


def test_the_job_definition_has_the_templates_retries_and_timeout(
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
    """A copy of the CDK app's source files that a test may change."""
    leave_out = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in ("infra", "dags", "plugins", "worker_image"):
        shutil.copytree(PROJECT / name, tmp_path / "project" / name, ignore=leave_out)
    shutil.copy(PROJECT / "requirements.txt", tmp_path / "project")
    return tmp_path / "project"


def synthesise(project: Path, settings: str = "") -> Path:
    """Synthesise the project, as `make synth` does. Return the output folder."""
    (project / "settings.toml").write_text(settings)
    subprocess.run(
        [PROJECT / ".venv" / "infra" / "bin" / "python", project / "infra" / "app.py"],
        env={**os.environ, "CDK_OUTDIR": str(project / "cdk.out"), "SETTINGS": str(project / "settings.toml")},
        check=True,
    )
    return project / "cdk.out"


def environment_properties() -> dict[str, Any]:
    environment = Environment.live["us-east-1", "transcription"]
    return dict(environment.properties)


def test_an_update_uploads_new_dags_and_plugins_and_deletes_removed_dags(
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
    for properties in (before, after):  # the old plugins stay for a rollback
        s3.head_object(Bucket=bucket, Key=properties["PluginsS3Path"])
    assert after["RequirementsS3Path"] == before["RequirementsS3Path"]
    assert updated.outputs["BucketName"] == stack.outputs["BucketName"]  # the bucket was not replaced


def test_an_update_of_cpus_and_model_changes_batch_but_not_airflow(aws: LocalAws, stack: Stack, project: Path) -> None:
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


def test_an_environment_without_its_plugins_in_the_bucket_is_rejected(aws: LocalAws, changed_assembly: Path) -> None:
    change(changed_assembly, "AWS::MWAA::Environment", PluginsS3Path="no-such.zip")
    with pytest.raises(Exception, match=r"PluginsS3Path|500"):
        deployment.deploy(aws, changed_assembly, stack="Transcription")


def buckets(aws: LocalAws) -> set[str]:
    return {bucket["Name"] for bucket in aws.client("s3").list_buckets()["Buckets"] if "storage" in bucket["Name"]}


def test_a_second_region_has_its_own_stack_in_the_same_account(aws: LocalAws, stack: Stack) -> None:
    second = deployment.deploy(aws, CLOUD_ASSEMBLY, region="eu-central-1")
    assert second.resources == stack.resources
    assert second.outputs["BucketName"] != stack.outputs["BucketName"]
    assert second.airflow_role != stack.airflow_role
    dashboards = [
        entry["DashboardName"]
        for region in ("us-east-1", "eu-central-1")
        for entry in aws.client("cloudwatch", region).list_dashboards()["DashboardEntries"]
    ]
    assert dashboards == ["transcription-us-east-1", "transcription-eu-central-1"]


def test_a_dashboard_of_the_same_name_fails_in_another_region(
    aws: LocalAws, stack: Stack, changed_assembly: Path
) -> None:
    change(changed_assembly, "AWS::CloudWatch::Dashboard", DashboardName="transcription-us-east-1")
    with pytest.raises(RuntimeError, match="transcription-us-east-1 already exists in this account"):
        deployment.deploy(aws, changed_assembly, region="eu-north-1")


def test_a_failed_first_creation_leaves_only_buckets_that_are_not_empty_and_names_them(
    aws: LocalAws, stack: Stack, changed_assembly: Path
) -> None:
    before = buckets(aws)
    change(changed_assembly, "AWS::MWAA::Environment", RequirementsS3Path="no-such.txt")
    with pytest.raises(RuntimeError, match="is ROLLBACK_FAILED: RequirementsS3Path"):
        deployment.deploy(aws, changed_assembly, region="ap-south-1")

    left = buckets(aws) - before
    cloudformation, s3 = aws.client("cloudformation", "ap-south-1"), aws.client("s3")
    assert leftovers.buckets_of("Transcription", cloudformation) == dict.fromkeys(left, "Airflow's code")
    with pytest.raises(preflight.CannotDeployError, match=re.escape(leftovers.deletion_of(left))):
        preflight.check_failed_creation("Transcription", cloudformation, s3)

    for name in left:
        leftovers.delete_bucket(name, s3)
    preflight.check_failed_creation("Transcription", cloudformation, s3)
    deployment.deploy(aws, CLOUD_ASSEMBLY, region="ap-south-1")
    assert len(buckets(aws) - before) == 3


def test_a_deleted_stack_leaves_its_buckets(aws: LocalAws) -> None:
    before = buckets(aws)
    deployment.deploy(aws, CLOUD_ASSEMBLY, region="sa-east-1")
    aws.client("cloudformation", "sa-east-1").delete_stack(StackName="Transcription")
    assert len(buckets(aws) - before) == 3


def test_children_that_wait_during_an_update_keep_their_revision(aws: LocalAws, stack: Stack) -> None:
    name = stack.airflow_options["transcription.job_definition"]
    definitions = aws.client("batch").describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    assert len(definitions) > 1  # an earlier test updated it
    assert {definition["status"] for definition in definitions} == {"ACTIVE"}
