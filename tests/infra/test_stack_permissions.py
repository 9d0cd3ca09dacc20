"""Each role has the permissions that it needs and no others: a table of permissions, and single requests."""

from collections.abc import Callable
from typing import Any

import pytest

from local_aws.iam import allowed
from tests.infra.stack_template import Assembly, as_list

AUDIO = "<StorageAudio.Arn>"
CODE = "<StorageAirflowCode.Arn>"
HERE = "<AWS::Region>:<AWS::AccountId>"
ARN = "arn:<AWS::Partition>"
ASSETS = f"{ARN}:s3:::cdk-hnb659fds-assets-<AWS::AccountId>-<AWS::Region>/*"

# What the DAG's tasks need, whoever runs them: resource, actions.
TASKS: dict[str, set[str]] = {
    AUDIO: {"s3:ListBucket"},
    f"{AUDIO}/input/*": {"s3:GetObject", "s3:GetObjectVersion"},
    f"{AUDIO}/processed/*": {"s3:GetObject", "s3:GetObjectVersion"},
    f"{AUDIO}/output/*": {"s3:GetObject", "s3:GetObjectVersion"},
    f"{AUDIO}/failed/*": {"s3:GetObject", "s3:GetObjectVersion"},
    f"{AUDIO}/runs/*": {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"},
    f"{AUDIO}/tables/recordings/*": {"s3:PutObject"},
    f"{AUDIO}/child_job_input/*": {"s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject"},
    f"{AUDIO}/models/*": {"s3:GetObject"},
    "<BatchQueue.JobQueueArn>": {"batch:SubmitJob"},
    f"{ARN}:batch:{HERE}:job-definition/transcription-worker": {"batch:SubmitJob"},
    f"{ARN}:batch:{HERE}:job-definition/transcription-worker:*": {"batch:SubmitJob"},
    f"{ARN}:batch:{HERE}:job/*": {"batch:TerminateJob"},
    "<BatchLogs.Arn>": {"logs:GetLogEvents"},
    "<NotificationsTopic>": {"sns:Publish"},
    f"{ARN}:events:{HERE}:event-bus/default": {"events:PutEvents"},
}
# Actions that AWS offers only for the whole account:
# https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
TASKS_ANYWHERE = {"batch:DescribeJobs", "batch:ListJobs", "batch:DescribeJobDefinitions", "cloudwatch:PutMetricData"}

PULL = {
    "*": {"ecr:GetAuthorizationToken"},
    f"{ARN}:ecr:{HERE}:repository/cdk-hnb659fds-container-assets-<AWS::AccountId>-<AWS::Region>": {
        "ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage",
    },
}  # fmt: skip

# All permissions of the roles of every deployment: role, resource, actions.
COMMON: dict[str, dict[str, set[str]]] = {
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
    "BatchStartRole": {**PULL, "<BatchLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents"}},
    "NetworkFlowLogRole": {
        "<NetworkFlowLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"},
    },
}  # fmt: skip

MWAA: dict[str, dict[str, set[str]]] = {
    "AirflowRole": {
        **TASKS,
        # The Transcripts page.
        f"{AUDIO}/corrections/*": {"s3:GetObject", "s3:PutObject"},
        f"{AUDIO}/input/*": TASKS[f"{AUDIO}/input/*"] | {"s3:PutObject", "s3:PutObjectTagging"},
        f"{AUDIO}/failed/*": TASKS[f"{AUDIO}/failed/*"] | {"s3:GetObjectTagging"},
        f"{ARN}:airflow:{HERE}:environment/transcription": {"airflow:PublishMetrics"},
        CODE: {
            "s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketLocation", "s3:GetBucketVersioning",
            "s3:GetBucketPublicAccessBlock", "s3:GetEncryptionConfiguration",
        },
        f"{CODE}/*": {"s3:GetObject", "s3:GetObjectVersion"},
        f"{ARN}:logs:{HERE}:log-group:airflow-transcription-*": {
            "logs:CreateLogStream", "logs:CreateLogGroup", "logs:PutLogEvents", "logs:GetLogEvents",
            "logs:GetLogRecord", "logs:GetLogGroupFields", "logs:GetQueryResults", "logs:DescribeLogStreams",
        },
        f"{ARN}:sqs:<AWS::Region>:*:airflow-celery-*": {
            "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
            "sqs:ReceiveMessage", "sqs:SendMessage",
        },
        "<EncryptionKey.Arn>": {"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"},
        "*": {*TASKS_ANYWHERE, "s3:GetAccountPublicAccessBlock", "logs:DescribeLogGroups"},
    },
    "AirflowCodeRole": {
        ASSETS: {"s3:GetObject"},
        CODE: {"s3:ListBucket"},
        f"{CODE}/*": {"s3:PutObject", "s3:DeleteObject"},
        "<AirflowCodeLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents"},
    },
}  # fmt: skip

STARTS = {
    "<OrchestratorQueue.JobQueueArn>": {"batch:SubmitJob"},
    f"{ARN}:batch:{HERE}:job-definition/transcription-run": {"batch:SubmitJob"},
    f"{ARN}:batch:{HERE}:job-definition/transcription-run:*": {"batch:SubmitJob"},
}
ON_DEMAND: dict[str, dict[str, set[str]]] = {
    "OrchestratorRole": {
        **TASKS,
        "<EncryptionKey.Arn>": {"kms:Decrypt", "kms:GenerateDataKey"},
        "*": TASKS_ANYWHERE,
    },
    "OrchestratorStartRole": {**PULL, "<OrchestratorLogs.Arn>": {"logs:CreateLogStream", "logs:PutLogEvents"}},
    "OrchestratorScheduleRole": {**STARTS, "<OrchestratorNotStarted.Arn>": {"sqs:SendMessage"}},
}

PERMISSIONS = {"stack": COMMON | MWAA, "on_demand": COMMON | ON_DEMAND}
ROLES = [(deployment, role) for deployment, roles in PERMISSIONS.items() for role in roles]

# The services that may assume each role.
TRUST = {
    "BatchWorkerRole": {"ecs-tasks.amazonaws.com"},
    "BatchStartRole": {"ecs-tasks.amazonaws.com"},
    "AirflowRole": {"airflow.amazonaws.com", "airflow-env.amazonaws.com"},
    "AirflowCodeRole": {"lambda.amazonaws.com"},
    "NetworkFlowLogRole": {"vpc-flow-logs.amazonaws.com"},
    "OrchestratorRole": {"ecs-tasks.amazonaws.com"},
    "OrchestratorStartRole": {"ecs-tasks.amazonaws.com"},
    "OrchestratorScheduleRole": {"scheduler.amazonaws.com"},
}


@pytest.fixture
def deployed(request: pytest.FixtureRequest) -> Callable[[str], Assembly]:
    """The assembly of a deployment, by its name in `PERMISSIONS`."""
    return lambda deployment: request.getfixturevalue(deployment)


@pytest.mark.parametrize("deployment", PERMISSIONS)
def test_a_stack_has_exactly_the_roles_in_the_table(deployed: Any, deployment: str) -> None:
    assert set(deployed(deployment).all("AWS::IAM::Role")) == set(PERMISSIONS[deployment]) <= set(TRUST)


@pytest.mark.parametrize(("deployment", "role"), ROLES)
def test_a_role_has_exactly_the_permissions_in_the_table(deployed: Any, deployment: str, role: str) -> None:
    found: dict[str, set[str]] = {}
    for statement in deployed(deployment).statements(role):
        assert statement["Effect"] == "Allow"
        for resource in as_list(statement["Resource"]):
            found.setdefault(resource, set()).update(as_list(statement["Action"]))
    assert found == PERMISSIONS[deployment][role]


@pytest.mark.parametrize(("deployment", "role"), ROLES)
def test_no_action_of_a_role_has_a_wildcard(deployed: Any, deployment: str, role: str) -> None:
    statements = deployed(deployment).statements(role)
    actions = [action for statement in statements for action in as_list(statement["Action"])]
    assert actions
    assert not [action for action in actions if "*" in action]


@pytest.mark.parametrize(("deployment", "role"), ROLES)
def test_a_role_has_no_managed_policy_and_only_its_service_can_assume_it(
    deployed: Any, deployment: str, role: str
) -> None:
    properties = deployed(deployment).all("AWS::IAM::Role")[role]
    assert "ManagedPolicyArns" not in properties
    statements = properties["AssumeRolePolicyDocument"]["Statement"]
    assert {statement["Principal"]["Service"] for statement in statements} == TRUST[role]
    assert {statement["Action"] for statement in statements} == {"sts:AssumeRole"}


@pytest.mark.parametrize("deployment", PERMISSIONS)
def test_every_policy_belongs_to_a_role_of_the_table(deployed: Any, deployment: str) -> None:
    for policy in deployed(deployment).all("AWS::IAM::Policy").values():
        assert set(policy) == {"PolicyDocument", "PolicyName", "Roles"}
        assert {name.strip("<>") for name in policy["Roles"]} <= set(PERMISSIONS[deployment])
    kinds = {resource["Type"] for resource in deployed(deployment).resources.values()}
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


RUN = f"{ARN}:batch:{HERE}:job-definition/transcription-run:3"
SNS = {"kms:ViaService": "sns.<AWS::Region>.<AWS::URLSuffix>"}

ON_DEMAND_CAN = [
    ("OrchestratorRole", "batch:SubmitJob", DEFINITION, {}),
    ("OrchestratorRole", "batch:SubmitJob", "<BatchQueue.JobQueueArn>", {}),
    ("OrchestratorRole", "batch:ListJobs", "*", {}),
    ("OrchestratorRole", "s3:GetObject", f"{AUDIO}/runs/run/plan.json", {}),
    ("OrchestratorRole", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "Transcription"}),
    ("OrchestratorRole", "kms:GenerateDataKey", "<EncryptionKey.Arn>", SNS),
    ("OrchestratorScheduleRole", "batch:SubmitJob", RUN, {}),
    ("OrchestratorScheduleRole", "batch:SubmitJob", "<OrchestratorQueue.JobQueueArn>", {}),
]

ON_DEMAND_CANNOT = [
    # The container that runs the DAG cannot start another one like it, or change audio
    ("OrchestratorRole", "batch:SubmitJob", RUN, {}),
    ("OrchestratorRole", "batch:SubmitJob", "<OrchestratorQueue.JobQueueArn>", {}),
    ("OrchestratorRole", "s3:DeleteObject", f"{AUDIO}/input/a talk.wav", {}),
    ("OrchestratorRole", "s3:PutObject", f"{AUDIO}/output/a talk", {}),
    ("OrchestratorRole", "cloudwatch:PutMetricData", "*", {"cloudwatch:namespace": "AmazonMWAA"}),
    ("OrchestratorRole", "kms:Decrypt", "<EncryptionKey.Arn>", {}),
    ("OrchestratorRole", "iam:PassRole", "*", {}),
    # The schedule starts nothing else
    ("OrchestratorScheduleRole", "batch:SubmitJob", "<BatchQueue.JobQueueArn>", {}),
    ("OrchestratorScheduleRole", "batch:SubmitJob", DEFINITION, {}),
    ("OrchestratorScheduleRole", "iam:PassRole", "*", {}),
    ("OrchestratorStartRole", "s3:GetObject", f"{AUDIO}/input/a talk.wav", {}),
]


@pytest.mark.parametrize(("role", "action", "resource", "context"), ON_DEMAND_CAN)
def test_a_role_can_do_its_work_without_amazon_mwaa(
    on_demand: Assembly, role: str, action: str, resource: str, context: dict[str, str]
) -> None:
    assert allowed(on_demand.statements(role), action, resource, context)


@pytest.mark.parametrize(("role", "action", "resource", "context"), ON_DEMAND_CANNOT)
def test_a_role_cannot_make_requests_that_it_does_not_need_without_amazon_mwaa(
    on_demand: Assembly, role: str, action: str, resource: str, context: dict[str, str]
) -> None:
    assert not allowed(on_demand.statements(role), action, resource, context)


def test_the_tasks_have_the_same_permissions_with_and_without_amazon_mwaa(stack: Assembly, on_demand: Assembly) -> None:
    def tasks(assembly: Assembly, role: str) -> list[dict[str, Any]]:
        # The services, the namespaces and the page that only Amazon MWAA has.
        own = ("Key", "PublishMetrics", "Upload", "PutBack")
        found = assembly.statements(role)
        first = [statement["Sid"] for statement in found].index("ListAudio")
        return [statement for statement in found[first:] if statement["Sid"] not in own]

    assert tasks(stack, "AirflowRole") == tasks(on_demand, "OrchestratorRole")


def test_uploads_can_start_the_container_and_nothing_else(on_demand_large: Assembly) -> None:
    [statement] = on_demand_large.statements("StartAfterUploadsRole")
    definition = f"{ARN}:batch:{HERE}:job-definition/team_c-run"
    assert statement["Action"] == "batch:SubmitJob"
    assert statement["Resource"] == ["<OrchestratorQueue.JobQueueArn>", definition, f"{definition}:*"]


def test_only_our_rules_may_note_what_did_not_start(on_demand_large: Assembly) -> None:
    policies = on_demand_large.all("AWS::SQS::QueuePolicy").values()
    [policy] = [policy for policy in policies if policy["Queues"] == ["<OrchestratorNotStarted>"]]
    allows = [item for item in policy["PolicyDocument"]["Statement"] if item["Effect"] == "Allow"]
    assert {item["Condition"]["ArnEquals"]["aws:SourceArn"] for item in allows} == {
        "<StartAfterUploadsRest.Arn>", "<StartAfterUploadsNoRest.Arn>",
    }  # fmt: skip
    assert {item["Action"] for item in allows} == {"sqs:SendMessage"}


@pytest.mark.parametrize("deployment", PERMISSIONS)
def test_a_service_cannot_assume_a_role_for_another_account(deployed: Any, deployment: str) -> None:
    for role, properties in deployed(deployment).all("AWS::IAM::Role").items():
        if role != "AirflowCodeRole":  # the CDK's function assumes it
            for statement in properties["AssumeRolePolicyDocument"]["Statement"]:
                assert statement["Condition"]["StringEquals"]["aws:SourceAccount"] == "<AWS::AccountId>"


def test_another_schedule_group_cannot_use_the_schedules_role(on_demand: Assembly) -> None:
    [statement] = on_demand.all("AWS::IAM::Role")["OrchestratorScheduleRole"]["AssumeRolePolicyDocument"]["Statement"]
    group = f"{ARN}:scheduler:{HERE}:schedule-group/default"
    assert statement["Condition"]["StringEquals"]["aws:SourceArn"] == group


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
