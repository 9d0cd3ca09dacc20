"""The deployment without Amazon MWAA: what starts a run, the container that runs it, its network and its alarms."""

import json
from typing import Any

import pytest

from local_aws import batch
from tests.infra.stack_template import Assembly
from transcription_contract import deployment
from transcription_stack.stack_settings import FARGATE_MEMORY_GB

ORCHESTRATOR = deployment.ORCHESTRATOR_CONTAINER


def schedule(assembly: Assembly) -> Any:
    return assembly.one("AWS::Scheduler::Schedule")


# --- What is there


def test_nothing_is_made_that_only_amazon_mwaa_needs(on_demand: Assembly) -> None:
    kinds = {resource["Type"] for resource in on_demand.resources.values()}
    assert not kinds & {
        "AWS::MWAA::Environment", "AWS::EC2::NatGateway", "AWS::EC2::EIP", "AWS::Lambda::Function",
        "Custom::CDKBucketDeployment", "AWS::CloudWatch::Dashboard",
    }  # fmt: skip
    assert set(on_demand.all("AWS::S3::Bucket")) == {"StorageAudio", "StorageAccessLogs"}


def test_what_both_ways_have_keeps_its_logical_id_so_that_a_stack_can_change_its_way(
    stack: Assembly, on_demand: Assembly
) -> None:
    """CloudFormation replaces what has another logical id: a bucket would be a new and empty one."""
    kept = ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::SNS::Topic", "AWS::Batch::JobQueue", "AWS::Batch::JobDefinition")
    mine = {name: item for name, item in on_demand.resources.items() if item["Type"] in kept}
    common = {name for name in mine if not name.startswith("Orchestrator")}
    assert len(common) == 6
    assert common <= set(stack.resources)
    [audio] = [name for name in common if name.startswith("StorageAudio")]
    assert on_demand.resources[audio] == stack.resources[audio]
    for name in common:
        if mine[name]["Type"] == "AWS::S3::Bucket":
            assert mine[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert on_demand.template["Outputs"]["BucketName"] == stack.template["Outputs"]["BucketName"]


def test_the_outputs_say_what_starts_a_run_and_where_its_log_is(on_demand: Assembly) -> None:
    assert set(on_demand.template["Outputs"]) == {
        "BucketName", "AccessLogsBucketName", "JobQueueArn", "JobDefinitionArn", "JobDefinitionName",
        "WorkerLogGroupName", "NotificationTopicArn", "RunQueueArn", "RunDefinitionName", "RunLogGroupName",
        "ScheduleName", "SqlWorkGroup",
    }  # fmt: skip


def test_a_second_deployment_in_the_account_shares_no_name_with_the_first(
    on_demand: Assembly, on_demand_large: Assembly
) -> None:
    def names(assembly: Assembly) -> set[str]:
        keys = ("LogGroupName", "JobDefinitionName", "AlarmName", "DashboardName", "Name", "PolicyName")
        return {
            resource["Properties"][key]
            for resource in assembly.resources.values()
            if resource["Type"] not in ("AWS::IAM::Policy", "AWS::Athena::NamedQuery")
            for key in keys
            if isinstance(resource.get("Properties", {}).get(key), str)
        }

    assert not names(on_demand) & names(on_demand_large)


# --- What starts a run


def test_the_schedule_starts_the_container_at_the_time_of_the_setting(
    on_demand: Assembly, on_demand_large: Assembly
) -> None:
    assert schedule(on_demand)["ScheduleExpression"] == "cron(0 1 * * ? *)"
    assert schedule(on_demand_large)["ScheduleExpression"] == "cron(30 3 ? * 2,3,4,5,6 *)"
    for found in (schedule(on_demand), schedule(on_demand_large)):
        assert found["ScheduleExpressionTimezone"] == "UTC"
        assert found["FlexibleTimeWindow"] == {"Mode": "OFF"}


def test_the_schedule_submits_one_job_that_knows_the_scheduled_time(on_demand: Assembly) -> None:
    target = schedule(on_demand)["Target"]
    assert target["Arn"] == "arn:<AWS::Partition>:scheduler:::aws-sdk:batch:submitJob"
    assert json.loads(target["Input"]) == {
        "JobName": "transcription-run",
        "JobQueue": "<OrchestratorQueue.JobQueueArn>",
        "JobDefinition": on_demand.job_definition(ORCHESTRATOR)["JobDefinitionName"],
        "Parameters": {"time": "<aws.scheduler.scheduled-time>"},
    }


def test_a_start_that_batch_does_not_accept_is_noted_and_raises_an_alarm(on_demand: Assembly) -> None:
    assert schedule(on_demand)["Target"]["DeadLetterConfig"] == {"Arn": "<OrchestratorNotStarted.Arn>"}
    alarm = on_demand.all("AWS::CloudWatch::Alarm")["ObservabilityNotStarted"]
    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": "<OrchestratorNotStarted.QueueName>"}]


# --- The container


def test_the_container_waits_in_another_queue_than_its_children(on_demand: Assembly) -> None:
    queues = on_demand.all("AWS::Batch::JobQueue")
    assert set(queues) == {"BatchQueue", "OrchestratorQueue"}
    used = {
        name: {entry["ComputeEnvironment"] for entry in queue["ComputeEnvironmentOrder"]}
        for name, queue in queues.items()
    }
    assert not used["BatchQueue"] & used["OrchestratorQueue"]


def test_the_container_has_a_quarter_of_a_vcpu_by_default(on_demand: Assembly, on_demand_large: Assembly) -> None:
    sizes = {"on_demand": ("0.25", "1024"), "large": ("1", "4096")}
    for name, assembly in (("on_demand", on_demand), ("large", on_demand_large)):
        needs = {need["Type"]: need["Value"] for need in assembly.container(ORCHESTRATOR)["ResourceRequirements"]}
        assert (needs["VCPU"], needs["MEMORY"]) == sizes[name]
        assert float(needs["MEMORY"]) / 1024 in FARGATE_MEMORY_GB[float(needs["VCPU"])]


def test_the_container_is_confined_like_a_child(on_demand: Assembly) -> None:
    child, container = on_demand.container(), on_demand.container(ORCHESTRATOR)
    for name in ("User", "ReadonlyRootFilesystem", "MountPoints", "LinuxParameters", "Essential"):
        assert container[name] == child[name], name
    assert on_demand.task(ORCHESTRATOR)["TaskRoleArn"] == "<OrchestratorRole.Arn>"
    assert on_demand.task(ORCHESTRATOR)["PlatformVersion"] == "1.4.0"


def test_the_container_has_the_options_that_amazon_mwaa_would_have(stack: Assembly, on_demand: Assembly) -> None:
    variables = {item["Name"]: item["Value"] for item in on_demand.container(ORCHESTRATOR)["Environment"]}
    options = stack.environment()["AirflowConfigurationOptions"]
    assert variables.pop("AWS_DEFAULT_REGION") == "<AWS::Region>"
    assert variables == {f"AIRFLOW__{name.replace('.', '__').upper()}": value for name, value in options.items()}


def test_the_container_gets_the_runs_time_and_params_as_arguments(on_demand: Assembly) -> None:
    definition = on_demand.job_definition(ORCHESTRATOR)
    assert on_demand.container(ORCHESTRATOR)["Command"] == [
        "python", "-m", "orchestrator", "Ref::time", "Ref::conf",
    ]  # fmt: skip
    assert definition["Parameters"] == {"time": "submission", "conf": "{}"}


@pytest.mark.parametrize(
    ("attempt", "retried"),
    [
        ({"onExitCode": "0"}, False),
        ({"onExitCode": "1"}, False),  # the run failed
        ({"onExitCode": "143"}, True),
        ({"onExitCode": "137"}, True),
        ({"onExitCode": "75"}, True),
        ({"onReason": "OutOfMemoryError: Container killed due to memory usage", "onExitCode": "137"}, True),
        ({"onStatusReason": "Timeout waiting for network interface provisioning to complete."}, True),
        ({}, True),
    ],
)
def test_batch_starts_the_container_again_after_all_but_a_result(
    on_demand: Assembly, attempt: dict[str, str], retried: bool
) -> None:
    strategy = on_demand.job_definition(ORCHESTRATOR)["RetryStrategy"]
    assert strategy["Attempts"] == 5
    conditions = [{key[0].lower() + key[1:]: part for key, part in c.items()} for c in strategy["EvaluateOnExit"]]
    seen = {"onExitCode": "", "onReason": "", "onStatusReason": "Essential container in task exited", **attempt}
    assert batch.is_retried(conditions, seen) is retried


def test_an_attempt_may_take_longer_than_the_runs_deadline(on_demand: Assembly) -> None:
    definition = on_demand.job_definition(ORCHESTRATOR)
    variables = {item["Name"]: item["Value"] for item in on_demand.container(ORCHESTRATOR)["Environment"]}
    deadline = float(variables["AIRFLOW__TRANSCRIPTION__DEADLINE_HOURS"])
    assert definition["Timeout"]["AttemptDurationSeconds"] > deadline * 3600


# --- The network


def test_containers_have_a_public_address_while_they_run_and_accept_no_connection(on_demand: Assembly) -> None:
    for container in ("worker", ORCHESTRATOR):
        assert on_demand.task(container)["NetworkConfiguration"] == {"AssignPublicIp": "ENABLED"}
    for group in on_demand.all("AWS::EC2::SecurityGroup").values():
        assert "SecurityGroupIngress" not in group
        [egress] = group["SecurityGroupEgress"]
        assert (egress["IpProtocol"], egress["FromPort"], egress["ToPort"]) == ("tcp", 443, 443)
    assert not on_demand.all("AWS::EC2::SecurityGroupIngress")
    for environment in on_demand.all("AWS::Batch::ComputeEnvironment").values():
        assert all("Public" in subnet for subnet in environment["ComputeResources"]["Subnets"])


def test_a_public_subnet_gives_no_address_by_itself_and_reaches_s3_by_the_free_endpoint(on_demand: Assembly) -> None:
    assert not any(subnet["MapPublicIpOnLaunch"] for subnet in on_demand.all("AWS::EC2::Subnet").values())
    endpoint = on_demand.one("AWS::EC2::VPCEndpoint")
    assert (endpoint["VpcEndpointType"], endpoint["ServiceName"]) == ("Gateway", "com.amazonaws.<AWS::Region>.s3")
    tables = {item["RouteTableId"] for item in on_demand.all("AWS::EC2::SubnetRouteTableAssociation").values()}
    assert tables == set(endpoint["RouteTableIds"])


def test_with_amazon_mwaa_only_the_children_are_public_because_airflow_must_be_private(public: Assembly) -> None:
    assert public.task()["NetworkConfiguration"] == {"AssignPublicIp": "ENABLED"}
    for environment in public.all("AWS::Batch::ComputeEnvironment").values():
        assert all("Public" in subnet for subnet in environment["ComputeResources"]["Subnets"])
    assert all("Private" in subnet for subnet in public.environment()["NetworkConfiguration"]["SubnetIds"])
    assert len(public.all("AWS::EC2::NatGateway")) == 1


def test_private_containers_have_no_public_address(on_demand_large: Assembly) -> None:
    for container in ("worker", ORCHESTRATOR):
        assert on_demand_large.task(container)["NetworkConfiguration"] == {"AssignPublicIp": "DISABLED"}
    for environment in on_demand_large.all("AWS::Batch::ComputeEnvironment").values():
        assert all("Private" in subnet for subnet in environment["ComputeResources"]["Subnets"])


def test_without_internet_access_there_are_endpoints_for_what_containers_call(run_app: Any) -> None:
    done, folder = run_app({"orchestration": "on_demand", "egress": "endpoints"})
    assert done.returncode == 0, done.stderr
    endpoints = Assembly(folder).all("AWS::EC2::VPCEndpoint").values()
    services = {item["ServiceName"].split(".", 3)[3] for item in endpoints if item["VpcEndpointType"] == "Interface"}
    assert services == {"batch", "ecr.api", "ecr.dkr", "events", "logs", "monitoring", "sns"}


# --- Uploads


def alarm(assembly: Assembly, name: str) -> Any:
    return assembly.all("AWS::CloudWatch::Alarm")[f"StartAfterUploads{name}"]


def alarm_states(found: Any, uploads: set[int], minutes: int) -> list[str]:
    """The alarm's state at the end of each minute, by CloudWatch's rules for M of N points, none of them missing.

    Args:
        found: The alarm's properties.
        uploads: The minutes in which something was uploaded.
        minutes: For how many minutes.
    """
    [period] = {item["MetricStat"]["Period"] // 60 for item in found["Metrics"] if "MetricStat" in item}
    states = []
    for now in range(1, minutes + 1):
        points = [
            sum(minute in uploads for minute in range(now - (number + 1) * period, now - number * period))
            for number in range(found["EvaluationPeriods"])
        ]
        breaching = sum(point >= found["Threshold"] for point in points)
        states.append("ALARM" if breaching >= found["DatapointsToAlarm"] else "OK")
    return states


def starts(assembly: Assembly, uploads: set[int], minutes: int) -> list[int]:
    """The minutes in which the alarms' changes start a run, by the patterns of the rules."""
    rules = assembly.all("AWS::Events::Rule")
    found = set()
    for rule, name in (("Rest", "UploadsActive"), ("NoRest", "UploadsEndless")):
        detail = rules[f"StartAfterUploads{rule}"]["EventPattern"]["detail"]
        states = alarm_states(alarm(assembly, name), uploads, minutes)
        for minute, (before, after) in enumerate(zip(["OK", *states], states, strict=False), start=1):
            wanted = [after in detail["state"]["value"]]
            wanted.append(before in detail.get("previousState", {"value": [before]})["value"])
            if before != after and all(wanted):
                found.add(minute)
    return sorted(found)


def test_a_run_starts_once_when_nothing_was_uploaded_for_the_quiet_time(on_demand_large: Assembly) -> None:
    quiet = 15
    for uploads in ({3}, {3, 4, 5, 17}, set(range(3, 40, 14))):
        assert starts(on_demand_large, uploads, 200) == [max(uploads) + quiet + 1]
    assert starts(on_demand_large, set(), 200) == []
    assert len(starts(on_demand_large, {3, 60}, 200)) == 2


def test_uploads_that_never_rest_start_a_run_after_six_quiet_times(on_demand_large: Assembly) -> None:
    [first, *_] = starts(on_demand_large, set(range(0, 1000, 10)), 500)
    assert 5 * 15 < first <= 6 * 15


def test_a_rule_starts_the_container_with_the_time_of_the_event(on_demand_large: Assembly) -> None:
    for name in ("Rest", "NoRest"):
        rule = on_demand_large.all("AWS::Events::Rule")[f"StartAfterUploads{name}"]
        [target] = rule["Targets"]
        assert target["Arn"] == "<OrchestratorQueue.JobQueueArn>"
        assert target["BatchParameters"] == {"JobDefinition": "team_c-run", "JobName": "transcription-run"}
        assert target["InputTransformer"] == {
            "InputPathsMap": {"time": "$.time"},
            "InputTemplate": '{"Parameters": {"time": <time>}}',
        }
        assert rule["EventPattern"]["detail-type"] == ["CloudWatch Alarm State Change"]


def test_the_alarms_count_the_objects_of_input_and_notify_nobody(on_demand_large: Assembly) -> None:
    for name in ("UploadsActive", "UploadsEndless"):
        found = alarm(on_demand_large, name)
        assert "AlarmActions" not in found
        [metric] = [item["MetricStat"]["Metric"] for item in found["Metrics"] if "MetricStat" in item]
        assert metric["Dimensions"] == [{"Name": "RuleName", "Value": "<UploadsRule>"}]
        [expression] = [item["Expression"] for item in found["Metrics"] if "Expression" in item]
        assert expression == "FILL(uploads, 0)"


def test_uploads_start_nothing_by_default(on_demand: Assembly) -> None:
    assert not [name for name in on_demand.all("AWS::Events::Rule") if name.startswith(("Uploads", "StartAfter"))]


# --- Alarms


def test_there_is_an_alarm_for_each_kind_of_failure_without_airflows_own_metrics(on_demand: Assembly) -> None:
    alarms = on_demand.all("AWS::CloudWatch::Alarm")
    assert {name.removeprefix("Observability") for name in alarms} == {
        "RunFailed", "NotStarted", "NoRun", "RunTooLong", "ChildrenFailed", "ManyRejected", "AudioWaits",
    }  # fmt: skip
    assert "AmazonMWAA" not in json.dumps(alarms)
    for found in alarms.values():
        assert found["AlarmActions"] == ["<NotificationsTopic>"]


def test_a_run_failed_if_its_job_failed_and_the_job_is_logged(on_demand: Assembly) -> None:
    rule = on_demand.all("AWS::Events::Rule")["ObservabilityRunJobFailed"]
    assert rule["EventPattern"]["detail"] == {
        "status": ["FAILED"],
        "jobQueue": ["<OrchestratorQueue.JobQueueArn>"],
    }
    assert rule["Targets"][0]["Arn"].endswith(":log-group:<ObservabilityFailedJobs>")
    found = on_demand.all("AWS::CloudWatch::Alarm")["ObservabilityRunFailed"]
    assert found["Dimensions"] == [{"Name": "RuleName", "Value": "<ObservabilityRunJobFailed>"}]


def test_a_night_without_a_run_and_a_run_that_takes_too_long_raise_alarms(on_demand: Assembly) -> None:
    alarms = on_demand.all("AWS::CloudWatch::Alarm")
    none, long = alarms["ObservabilityNoRun"], alarms["ObservabilityRunTooLong"]
    assert (none["MetricName"], none["TreatMissingData"]) == (deployment.METRIC_RUNS, "breaching")
    assert none["Period"] * none["EvaluationPeriods"] == 26 * 3600
    assert (long["MetricName"], long["Statistic"], long["Threshold"]) == (deployment.METRIC_RUN_HOURS, "Maximum", 24)


def test_every_log_group_is_encrypted_and_its_logs_expire(on_demand: Assembly) -> None:
    groups = on_demand.all("AWS::Logs::LogGroup").values()
    assert {group["LogGroupName"] for group in groups} == {
        *(f"/transcription/transcription/{name}" for name in ("worker", "network", "orchestrator")),
        "/aws/events/transcription/failed-jobs",
    }
    assert {(group["RetentionInDays"], group["KmsKeyId"]) for group in groups} == {(90, "<EncryptionKey.Arn>")}


def test_the_dashboard_is_made_if_the_setting_says_so(on_demand_large: Assembly) -> None:
    body = on_demand_large.one("AWS::CloudWatch::Dashboard")["DashboardBody"]
    for shown in ("FilesTranscribed", "OldestWaitingHours", "TriggeredRules", "<ObservabilityRunFailed.Arn>"):
        assert shown in body, shown
