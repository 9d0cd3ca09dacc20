"""Each role has the permissions that it needs and no others: a table of permissions, and single requests."""

from typing import Any

import pytest

from local_aws.iam import allowed
from tests.infra.stack_template import Assembly, as_list

AUDIO = "<StorageAudio.Arn>"
CODE = "<StorageAirflowCode.Arn>"
HERE = "<AWS::Region>:<AWS::AccountId>"
ARN = "arn:<AWS::Partition>"
ASSETS = f"{ARN}:s3:::cdk-hnb659fds-assets-<AWS::AccountId>-<AWS::Region>/*"

# All permissions of the stack's roles: role, resource, actions.
PERMISSIONS: dict[str, dict[str, set[str]]] = {
    "BatchWorkerRole": {
        AUDIO: {"s3:ListBucket"},
        f"{AUDIO}/input/*": {"s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging", "s3:DeleteObject"},
        f"{AUDIO}/processed/*": {
            "s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectTagging",
            "s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload",
        },
        f"{AUDIO}/failed/*": {
            "s3:GetObject",
            "s3:PutObject",
            "s3:PutObjectTagging",
            "s3:AbortMultipartUpload",
            "s3:DeleteObject",
        },
        f"{AUDIO}/output/*": {"s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"},
        f"{AUDIO}/child_job_input/*": {"s3:GetObject", "s3:GetObjectVersion"},
        f"{AUDIO}/models/*": {"s3:GetObject", "s3:GetObjectVersion"},
    },
    "BatchStartRole": {
        "*": {"ecr:GetAuthorizationToken"},
        f"{ARN}:ecr:{HERE}:repository/cdk-hnb659fds-container-assets-<AWS::AccountId>-<AWS::Region>": {
            "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage",
        },
        "<BatchLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents"},
    },
    "AirflowRole": {
        f"{ARN}:airflow:{HERE}:environment/transcription": {"airflow:PublishMetrics"},
        CODE: {
            "s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketLocation", "s3:GetBucketVersioning",
            "s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration",
        },
        f"{CODE}/*": {"s3:GetObject", "s3:GetObjectVersion"},
        AUDIO: {"s3:ListBucket"},
        f"{AUDIO}/input/*": {"s3:GetObject", "s3:GetObjectVersion"},
        f"{AUDIO}/processed/*": {"s3:GetObject", "s3:GetObjectVersion"},
        f"{AUDIO}/output/*": {"s3:GetObject", "s3:GetObjectVersion"},
        f"{AUDIO}/failed/*": {"s3:GetObject", "s3:GetObjectVersion"},
        f"{AUDIO}/runs/*": {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"},
        f"{AUDIO}/child_job_input/*": {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"},
        f"{AUDIO}/models/*": {"s3:GetObject"},
        "<BatchQueue.JobQueueArn>": {"batch:SubmitJob"},
        f"{ARN}:batch:{HERE}:job-definition/transcription-worker": {"batch:SubmitJob"},
        f"{ARN}:batch:{HERE}:job-definition/transcription-worker:*": {"batch:SubmitJob"},
        f"{ARN}:batch:{HERE}:job/*": {"batch:TerminateJob"},
        "<BatchLogs.Arn>": {"logs:GetLogEvents"},
        f"{ARN}:logs:{HERE}:log-group:airflow-transcription-*": {
            "logs:CreateLogStream", "logs:CreateLogGroup", "logs:PutLogEvents", "logs:GetLogEvents",
            "logs:GetLogRecord", "logs:GetLogGroupFields", "logs:GetQueryResults", "logs:DescribeLogStreams",
        },
        f"{ARN}:sqs:<AWS::Region>:*:airflow-celery-*": {
            "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
            "sqs:ReceiveMessage", "sqs:SendMessage",
        },
        "<EncryptionKey.Arn>": {"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"},
        "<NotificationsTopic>": {"sns:Publish"},
        f"{ARN}:events:{HERE}:event-bus/default": {"events:PutEvents"},
        # Actions that AWS offers only for the whole account:
        # https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
        "*": {
            "s3:GetAccountPublicAccessBlock", "logs:DescribeLogGroups", "batch:DescribeJobs", "batch:ListJobs",
            "batch:DescribeJobDefinitions", "cloudwatch:PutMetricData",
        },
    },
    "AirflowCodeRole": {
        ASSETS: {"s3:GetObject"},
        CODE: {"s3:ListBucket"},
        f"{CODE}/*": {"s3:PutObject", "s3:DeleteObject"},
        "<AirflowCodeLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents"},
    },
    "NetworkFlowLogRole": {
        "<NetworkFlowLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"},
    },
}  # fmt: skip

# The services that may assume each role.
TRUST = {
    "BatchWorkerRole": {"ecs-tasks.amazonaws.com"},
    "BatchStartRole": {"ecs-tasks.amazonaws.com"},
    "AirflowRole": {"airflow.amazonaws.com", "airflow-env.amazonaws.com"},
    "AirflowCodeRole": {"lambda.amazonaws.com"},
    "NetworkFlowLogRole": {"vpc-flow-logs.amazonaws.com"},
}


def test_the_stack_has_exactly_the_roles_in_the_table(stack: Assembly) -> None:
    assert set(stack.all("AWS::IAM::Role")) == set(PERMISSIONS) == set(TRUST)


@pytest.mark.parametrize("role", PERMISSIONS)
def test_a_role_has_exactly_the_permissions_in_the_table(stack: Assembly, role: str) -> None:
    found: dict[str, set[str]] = {}
    for statement in stack.statements(role):
        assert statement["Effect"] == "Allow"
        for resource in as_list(statement["Resource"]):
            found.setdefault(resource, set()).update(as_list(statement["Action"]))
    assert found == PERMISSIONS[role]


@pytest.mark.parametrize("role", PERMISSIONS)
def test_no_action_of_a_role_has_a_wildcard(stack: Assembly, role: str) -> None:
    actions = [action for statement in stack.statements(role) for action in as_list(statement["Action"])]
    assert actions
    assert not [action for action in actions if "*" in action]


@pytest.mark.parametrize("role", PERMISSIONS)
def test_a_role_has_no_managed_policy_and_only_its_service_can_assume_it(stack: Assembly, role: str) -> None:
    properties = stack.all("AWS::IAM::Role")[role]
    assert "ManagedPolicyArns" not in properties
    statements = properties["AssumeRolePolicyDocument"]["Statement"]
    assert {statement["Principal"]["Service"] for statement in statements} == TRUST[role]
    assert {statement["Action"] for statement in statements} == {"sts:AssumeRole"}


def test_every_policy_belongs_to_a_role_of_the_table(stack: Assembly) -> None:
    for policy in stack.all("AWS::IAM::Policy").values():
        assert set(policy) == {"PolicyDocument", "PolicyName", "Roles"}
        assert {name.strip("<>") for name in policy["Roles"]} <= set(PERMISSIONS)
    kinds = {resource["Type"] for resource in stack.resources.values()}
    assert not kinds & {"AWS::IAM::ManagedPolicy", "AWS::IAM::User", "AWS::IAM::Group", "AWS::IAM::RolePolicy"}


JOB = f"{ARN}:batch:{HERE}:job/1234"
DEFINITION = f"{ARN}:batch:{HERE}:job-definition/transcription-worker:7"

CAN = [
    # The worker's requests for one file
    ("BatchWorkerRole", "s3:GetObject", f"{AUDIO}/child_job_input/manual__2026-01-01/0", {}),
    ("BatchWorkerRole", "s3:GetObject", f"{AUDIO}/models/fine-tuned.scorer", {}),
    ("BatchWorkerRole", "s3:GetObject", f"{AUDIO}/input/interviews/a talk.wav", {}),
    ("BatchWorkerRole", "s3:PutObject", f"{AUDIO}/output/interviews/a talk", {}),
    ("BatchWorkerRole", "s3:GetObject", f"{AUDIO}/output/interviews/a talk", {}),
    ("BatchWorkerRole", "s3:PutObject", f"{AUDIO}/processed/interviews/a talk.wav", {}),
    ("BatchWorkerRole", "s3:DeleteObject", f"{AUDIO}/input/interviews/a talk.wav", {}),
    ("BatchWorkerRole", "s3:PutObject", f"{AUDIO}/failed/broken.mp3.error.json", {}),
    ("BatchWorkerRole", "s3:GetObject", f"{AUDIO}/failed/broken.mp3.error.json", {}),
    ("BatchWorkerRole", "s3:DeleteObject", f"{AUDIO}/failed/broken.mp3.error.json", {}),
    ("BatchWorkerRole", "s3:DeleteObject", f"{AUDIO}/output/interviews/a talk.srt", {}),
    ("BatchWorkerRole", "s3:ListBucket", AUDIO, {}),
    # The five tasks of the DAG
    ("AirflowRole", "s3:ListBucket", AUDIO, {}),
    ("AirflowRole", "s3:PutObject", f"{AUDIO}/child_job_input/run/0", {}),
    ("AirflowRole", "s3:PutObject", f"{AUDIO}/child_job_input/plan.lock", {}),
    ("AirflowRole", "s3:GetObject", f"{AUDIO}/child_job_input/plan.lock", {}),
    ("AirflowRole", "s3:DeleteObject", f"{AUDIO}/child_job_input/plan.lock", {}),
    ("AirflowRole", "s3:GetObject", f"{AUDIO}/models/fr/model.pbmm", {}),
    ("AirflowRole", "batch:DescribeJobDefinitions", "*", {}),
    ("AirflowRole", "batch:SubmitJob", DEFINITION, {}),
    ("AirflowRole", "batch:SubmitJob", "<BatchQueue.JobQueueArn>", {}),
    ("AirflowRole", "batch:ListJobs", "*", {}),
    ("AirflowRole", "batch:DescribeJobs", "*", {}),
    ("AirflowRole", "batch:TerminateJob", JOB, {}),
    ("AirflowRole", "s3:GetObject", f"{AUDIO}/failed/broken.mp3.error.json", {}),
    ("AirflowRole", "s3:PutObject", f"{AUDIO}/runs/run/report.json", {}),
    ("AirflowRole", "s3:DeleteObject", f"{AUDIO}/child_job_input/run/0", {}),
    ("AirflowRole", "sns:Publish", "<NotificationsTopic>", {}),
    ("AirflowRole", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Transcription"}),
    # Amazon MWAA itself
    ("AirflowRole", "s3:GetObject", f"{CODE}/dags/transcription.py", {}),
    ("AirflowRole", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AmazonMWAA"}),
    ("AirflowRole", "sqs:SendMessage", f"{ARN}:sqs:<AWS::Region>:999999999999:airflow-celery-1", {}),
    ("AirflowRole", "logs:PutLogEvents", f"{ARN}:logs:{HERE}:log-group:airflow-transcription-Task:log-stream:x", {}),
    # The UI finds the triggerer's log of `wait`
    ("AirflowRole", "logs:DescribeLogStreams", f"{ARN}:logs:{HERE}:log-group:airflow-transcription-Task", {}),
    (
        "AirflowRole", "kms:GenerateDataKey", "<EncryptionKey.Arn>",
        {"kms:ViaService": "sqs.<AWS::Region>.<AWS::URLSuffix>"},
    ),
    ("AirflowCodeRole", "s3:PutObject", f"{CODE}/dags/transcription.py", {}),
    ("AirflowCodeRole", "s3:DeleteObject", f"{CODE}/dags/old.py", {}),
]  # fmt: skip

CANNOT = [
    # An attacker in the worker cannot destroy the versions of results, change Airflow's code or read other data
    ("BatchWorkerRole", "s3:DeleteObjectVersion", f"{AUDIO}/output/a talk", {}),
    ("BatchWorkerRole", "s3:DeleteObject", f"{AUDIO}/processed/a talk.wav", {}),
    ("BatchWorkerRole", "s3:DeleteObjectVersion", f"{AUDIO}/input/a talk.wav", {}),
    ("BatchWorkerRole", "s3:PutObject", f"{AUDIO}/input/a talk.wav", {}),
    ("BatchWorkerRole", "s3:PutObject", f"{AUDIO}/models/fine-tuned.scorer", {}),
    ("BatchWorkerRole", "s3:PutObject", f"{AUDIO}/child_job_input/run/0", {}),
    ("BatchWorkerRole", "s3:PutObject", f"{CODE}/dags/transcription.py", {}),
    ("BatchWorkerRole", "s3:GetObject", "arn:aws:s3:::somebody-elses/file", {}),
    ("BatchWorkerRole", "s3:PutBucketPolicy", AUDIO, {}),
    ("BatchWorkerRole", "batch:SubmitJob", DEFINITION, {}),
    ("BatchWorkerRole", "iam:PassRole", "*", {}),
    # Airflow's tasks cannot change audio or transcripts, and cannot submit to other queues
    ("AirflowRole", "s3:DeleteObject", f"{AUDIO}/input/a talk.wav", {}),
    ("AirflowRole", "s3:PutObject", f"{AUDIO}/output/a talk", {}),
    ("AirflowRole", "s3:PutObject", f"{AUDIO}/models/fr/model.pbmm", {}),
    ("AirflowRole", "s3:GetObject", "arn:aws:s3:::somebody-elses/file", {}),
    ("AirflowRole", "s3:PutObject", f"{CODE}/dags/transcription.py", {}),
    ("AirflowRole", "batch:SubmitJob", f"{ARN}:batch:{HERE}:job-queue/somebody-elses", {}),
    ("AirflowRole", "batch:SubmitJob", f"{ARN}:batch:{HERE}:job-definition/transcription-worker2:1", {}),
    ("AirflowRole", "batch:RegisterJobDefinition", "*", {}),
    ("AirflowRole", "iam:PassRole", "*", {}),
    ("AirflowRole", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AWS/Billing"}),
    ("AirflowRole", "cloudwatch:PutMetricData", "*", {}),
    ("AirflowRole", "kms:Decrypt", "<EncryptionKey.Arn>", {}),
    ("AirflowRole", "kms:Decrypt", f"{ARN}:kms:<AWS::Region>:999999999999:key/other",
     {"kms:ViaService": "sqs.<AWS::Region>.<AWS::URLSuffix>"}),
    ("AirflowRole", "sns:Publish", f"{ARN}:sns:{HERE}:other", {}),
    ("BatchStartRole", "s3:GetObject", f"{AUDIO}/input/a talk.wav", {}),
    ("BatchStartRole", "ecr:PutImage", "*", {}),
    ("AirflowCodeRole", "s3:GetObject", f"{AUDIO}/input/a talk.wav", {}),
    ("AirflowCodeRole", "s3:PutObject", f"{AUDIO}/input/a talk.wav", {}),
]  # fmt: skip


@pytest.mark.parametrize(("role", "action", "resource", "context"), CAN)
def test_a_role_can_do_its_work(
    stack: Assembly, role: str, action: str, resource: str, context: dict[str, str]
) -> None:
    assert allowed(stack.statements(role), action, resource, context)


@pytest.mark.parametrize(("role", "action", "resource", "context"), CANNOT)
def test_a_role_cannot_make_requests_that_it_does_not_need(
    stack: Assembly, role: str, action: str, resource: str, context: dict[str, str]
) -> None:
    assert not allowed(stack.statements(role), action, resource, context)


def test_a_service_cannot_assume_a_role_for_another_account(stack: Assembly) -> None:
    for role in ("BatchWorkerRole", "BatchStartRole", "AirflowRole", "NetworkFlowLogRole"):
        for statement in stack.all("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]:
            assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "<AWS::AccountId>"}


def test_another_airflow_environment_cannot_assume_this_environments_role(stack: Assembly) -> None:
    for statement in stack.all("AWS::IAM::Role")["AirflowRole"]["AssumeRolePolicyDocument"]["Statement"]:
        assert statement["Condition"]["ArnLike"] == {"aws:SourceArn": f"{ARN}:airflow:{HERE}:environment/transcription"}


def _bucket_policy(stack: Assembly, bucket: str) -> list[dict[str, Any]]:
    [policy] = [p for p in stack.all("AWS::S3::BucketPolicy").values() if p["Bucket"] == f"<{bucket}>"]
    statements: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return statements


@pytest.mark.parametrize("bucket", ["StorageAudio", "StorageAirflowCode", "StorageAccessLogs"])
def test_a_bucket_refuses_requests_without_tls_1_2(stack: Assembly, bucket: str) -> None:
    # The caller's policy allows everything, so the bucket policy decides.
    anything = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    statements = [anything, *_bucket_policy(stack, bucket)]
    key = f"<{bucket}.Arn>/input/a talk.wav"
    assert allowed(statements, "s3:GetObject", key, {"aws:SecureTransport": "true", "s3:TlsVersion": "1.2"})
    assert not allowed(statements, "s3:GetObject", key, {"aws:SecureTransport": "false"})
    assert not allowed(statements, "s3:GetObject", key, {"aws:SecureTransport": "true", "s3:TlsVersion": "1.1"})


@pytest.mark.parametrize("bucket", ["StorageAudio", "StorageAirflowCode"])
def test_a_bucket_policy_only_denies(stack: Assembly, bucket: str) -> None:
    assert {statement["Effect"] for statement in _bucket_policy(stack, bucket)} == {"Deny"}


def test_the_topic_policy_allows_only_alarms_of_this_account_and_requires_tls(stack: Assembly) -> None:
    statements = stack.one("AWS::SNS::TopicPolicy")["PolicyDocument"]["Statement"]
    [alarms] = [statement for statement in statements if statement["Effect"] == "Allow"]
    assert alarms["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert alarms["Condition"] == {"StringEquals": {"aws:SourceAccount": "<AWS::AccountId>"}}
    [tls] = [statement for statement in statements if statement["Effect"] == "Deny"]
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_of_all_services_only_alarms_and_log_groups_can_use_the_key(stack: Assembly) -> None:
    statements = stack.one("AWS::KMS::Key")["KeyPolicy"]["Statement"]
    services = {s["Principal"]["Service"]: as_list(s["Action"]) for s in statements if "Service" in s["Principal"]}
    assert services == {
        "logs.<AWS::Region>.<AWS::URLSuffix>": [
            "kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:GenerateDataKey",
            "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey",
        ],
        "cloudwatch.amazonaws.com": ["kms:Decrypt", "kms:GenerateDataKey"],
    }  # fmt: skip
    [account] = [s for s in statements if "AWS" in s["Principal"]]
    assert account["Principal"] == {"AWS": f"{ARN}:iam::<AWS::AccountId>:root"}


def test_models_in_another_bucket_are_readable_if_a_setting_names_the_bucket(large: Assembly) -> None:
    for role in ("BatchWorkerRole", "AirflowRole"):
        statements = large.statements(role)
        assert allowed(statements, "s3:GetObject", "arn:aws:s3:::my-models/a.tflite")
        assert not allowed(statements, "s3:PutObject", "arn:aws:s3:::my-models/a.tflite")
    assert {"Name": "MODEL", "Value": "s3://my-models/a.tflite"} in large.container()["Environment"]
