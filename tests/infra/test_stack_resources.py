"""Properties of buckets, network, Batch, Airflow and alarms that a linter does not check."""

import json

import pytest

from local_aws import batch
from tests.infra.stack_template import PROJECT, Assembly, as_list, plain
from transcription_stack.image import content_of
from transcription_stack.stack_settings import FARGATE_MEMORY_GB

BUCKETS = ("StorageAudio", "StorageAirflowCode", "StorageAccessLogs")


# --- Buckets


@pytest.mark.parametrize("bucket", BUCKETS)
def test_a_bucket_is_private_and_encrypted(stack: Assembly, bucket: str) -> None:
    properties = stack.all("AWS::S3::Bucket")[bucket]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    [rule] = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


@pytest.mark.parametrize(("bucket", "prefix"), [("StorageAudio", "audio/"), ("StorageAirflowCode", "airflow-code/")])
def test_audio_and_code_are_versioned_and_every_access_is_logged(stack: Assembly, bucket: str, prefix: str) -> None:
    properties = stack.all("AWS::S3::Bucket")[bucket]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["LoggingConfiguration"] == {
        "DestinationBucketName": "<StorageAccessLogs>",
        "LogFilePrefix": prefix,
    }


def test_only_old_versions_aborted_uploads_left_manifests_and_query_results_expire(stack: Assembly) -> None:
    rules = stack.all("AWS::S3::Bucket")["StorageAudio"]["LifecycleConfiguration"]["Rules"]
    assert [rule for rule in rules if "Prefix" not in rule] == [
        {
            "Id": "OldVersionsAndAbortedUploads",
            "Status": "Enabled",
            "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
            "ExpiredObjectDeleteMarker": True,
        }
    ]
    assert [rule for rule in rules if "Prefix" in rule] == [
        {"Id": "LeftManifests", "Status": "Enabled", "Prefix": "child_job_input/", "ExpirationInDays": 14},
        {
            "Id": "QueryResults",
            "Status": "Enabled",
            "Prefix": "query_results/",
            "ExpirationInDays": 7,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1},
        },
    ]


def test_audio_and_transcripts_expire_if_the_settings_say_so_and_failed_recordings_never(closed: Assembly) -> None:
    rules = closed.all("AWS::S3::Bucket")["StorageAudio"]["LifecycleConfiguration"]["Rules"]
    expirations = {rule["Prefix"]: rule["ExpirationInDays"] for rule in rules if "Prefix" in rule}
    assert expirations == {"child_job_input/": 14, "query_results/": 7, "processed/": 7, "output/": 365}


@pytest.mark.parametrize("bucket", BUCKETS)
def test_destroying_the_stack_keeps_the_buckets(stack: Assembly, bucket: str) -> None:
    resource = stack.resource(bucket)
    # A first creation that fails deletes them.
    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert not stack.all("Custom::S3AutoDeleteObjects")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_destroying_the_stack_deletes_the_buckets_if_delete_everything_is_set(closed: Assembly, bucket: str) -> None:
    assert closed.resource(bucket)["DeletionPolicy"] == "Delete"
    emptied = {deletion["BucketName"] for deletion in closed.all("Custom::S3AutoDeleteObjects").values()}
    assert f"<{bucket}>" in emptied


# --- Network


def test_airflow_has_two_private_subnets_in_two_zones(stack: Assembly) -> None:
    subnets = stack.all("AWS::EC2::Subnet")
    chosen = [name.strip("<>") for name in stack.environment()["NetworkConfiguration"]["SubnetIds"]]
    assert len(chosen) == 2
    assert {subnets[name]["AvailabilityZone"] for name in chosen} == {"<zones>[0]", "<zones>[1]"}
    assert not any(subnets[name]["MapPublicIpOnLaunch"] for name in subnets)
    gateways = {
        route["SubnetId"]: route["RouteTableId"]
        for route in stack.all("AWS::EC2::SubnetRouteTableAssociation").values()
    }
    for name in chosen:
        [default] = [
            route
            for route in stack.all("AWS::EC2::Route").values()
            if route["RouteTableId"] == gateways[f"<{name}>"] and route.get("DestinationCidrBlock") == "0.0.0.0/0"
        ]
        assert "NatGatewayId" in default


def test_airflows_security_group_accepts_connections_only_from_itself(stack: Assembly) -> None:
    [group] = stack.environment()["NetworkConfiguration"]["SecurityGroupIds"]
    assert group == "<AirflowSecurityGroup.GroupId>"
    assert "SecurityGroupIngress" not in stack.all("AWS::EC2::SecurityGroup")["AirflowSecurityGroup"]
    rule = stack.one("AWS::EC2::SecurityGroupIngress")
    assert (rule["GroupId"], rule["SourceSecurityGroupId"], rule["IpProtocol"]) == (group, group, "-1")


def test_children_accept_no_connections_and_open_only_https_connections(stack: Assembly) -> None:
    group = stack.all("AWS::EC2::SecurityGroup")["BatchChildren"]
    assert "SecurityGroupIngress" not in group
    [egress] = group["SecurityGroupEgress"]
    assert (egress["IpProtocol"], egress["FromPort"], egress["ToPort"]) == ("tcp", 443, 443)
    for environment in stack.all("AWS::Batch::ComputeEnvironment").values():
        assert environment["ComputeResources"]["SecurityGroupIds"] == ["<BatchChildren.GroupId>"]


def test_audio_reaches_children_through_the_free_gateway_endpoint(stack: Assembly) -> None:
    endpoint = stack.one("AWS::EC2::VPCEndpoint")
    assert endpoint["VpcEndpointType"] == "Gateway"
    assert endpoint["ServiceName"] == "com.amazonaws.<AWS::Region>.s3"
    tables = {a["RouteTableId"] for a in stack.all("AWS::EC2::SubnetRouteTableAssociation").values()}
    private = {
        a["RouteTableId"]
        for a in stack.all("AWS::EC2::SubnetRouteTableAssociation").values()
        if "Private" in a["SubnetId"]
    }
    assert private <= set(endpoint["RouteTableIds"]) <= tables


def test_the_number_of_nat_gateways_is_that_of_the_setting(stack: Assembly, large: Assembly) -> None:
    assert len(stack.all("AWS::EC2::NatGateway")) == 1
    assert len(large.all("AWS::EC2::NatGateway")) == 2


def test_without_nat_there_is_no_internet_access_and_every_service_has_an_endpoint(closed: Assembly) -> None:
    kinds = {resource["Type"] for resource in closed.resources.values()}
    assert not kinds & {"AWS::EC2::NatGateway", "AWS::EC2::InternetGateway", "AWS::EC2::EIP"}
    interface = [e for e in closed.all("AWS::EC2::VPCEndpoint").values() if e["VpcEndpointType"] == "Interface"]
    services = {e["ServiceName"].removeprefix("com.amazonaws.eu-west-1.") for e in interface}
    assert services == {
        "airflow.api", "airflow.env", "airflow.ops", "batch", "ecr.api", "ecr.dkr", "events", "kms", "logs",
        "monitoring", "sns", "sqs",
    }  # fmt: skip
    assert all(e["PrivateDnsEnabled"] for e in interface)
    assert "RequirementsS3Path" not in closed.environment()  # PyPI is not reachable


# --- Batch


def test_batch_uses_spot_first_and_on_demand_second(stack: Assembly) -> None:
    environments = stack.all("AWS::Batch::ComputeEnvironment")
    order = sorted(stack.one("AWS::Batch::JobQueue")["ComputeEnvironmentOrder"], key=lambda entry: entry["Order"])
    kinds = [
        environments[entry["ComputeEnvironment"].strip("<>").split(".")[0]]["ComputeResources"]["Type"]
        for entry in order
    ]
    assert kinds == ["FARGATE_SPOT", "FARGATE"]


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        ("stack", {"FARGATE_SPOT": 30, "FARGATE": 10}),
        ("closed", {"FARGATE_SPOT": 40}),
        ("large", {"FARGATE": 400}),
    ],
)
def test_the_vcpus_of_the_compute_environments_add_up_to_max_vcpus(
    request: pytest.FixtureRequest, deployment: str, expected: dict[str, int]
) -> None:
    assembly: Assembly = request.getfixturevalue(deployment)
    resources = [e["ComputeResources"] for e in assembly.all("AWS::Batch::ComputeEnvironment").values()]
    assert {r["Type"]: r["MaxvCpus"] for r in resources} == expected


def test_children_run_in_private_subnets_without_a_public_address(stack: Assembly) -> None:
    for environment in stack.all("AWS::Batch::ComputeEnvironment").values():
        subnets = environment["ComputeResources"]["Subnets"]
        assert len(subnets) == 2
        assert all("Private" in subnet for subnet in subnets)
    assert stack.task()["NetworkConfiguration"] == {"AssignPublicIp": "DISABLED"}


def test_the_compute_environments_depend_on_the_default_route(stack: Assembly) -> None:
    for name in ("BatchSpot", "BatchOnDemand"):
        assert any("DefaultRoute" in needed for needed in stack.resource(name)["DependsOn"])


def test_a_child_runs_the_worker_with_two_vcpus_and_four_gigabytes(stack: Assembly) -> None:
    container = stack.container()
    assert container["Command"] == ["python", "-m", "transcriber"]
    assert container["Environment"] == [{"Name": "S3_BUCKET_NAME", "Value": "<StorageAudio>"}]
    needs = {need["Type"]: need["Value"] for need in container["ResourceRequirements"]}
    assert needs == {"VCPU": "2", "MEMORY": "4096"}
    assert float(needs["MEMORY"]) / 1024 in FARGATE_MEMORY_GB[float(needs["VCPU"])]
    assert stack.task()["TaskRoleArn"] == "<BatchWorkerRole.Arn>"
    assert stack.task()["ExecutionRoleArn"] == "<BatchStartRole.Arn>"


def test_the_job_definition_lists_the_models_of_the_image(stack: Assembly) -> None:
    parameters = stack.one("AWS::Batch::JobDefinition")["Parameters"]
    assert parameters["image_model"] == "deepspeech-0.9.3-en"
    demo = PROJECT / "worker_image" / "models" / "asterisk-en"
    assert json.loads(parameters["built_in_models"]) == {
        "asterisk-en": ["tflite", (demo / "asterisk-en.tflite").stat().st_size, "en"],
        "asterisk-en-pbmm": ["pbmm", (demo / "asterisk-en.pbmm").stat().st_size, "en"],
        "deepspeech-0.9.3-en": ["tflite", 47331784, "en"],
    }


def test_the_job_definition_lists_the_engines_of_the_image_with_what_they_can(stack: Assembly) -> None:
    engines = json.loads(stack.one("AWS::Batch::JobDefinition")["Parameters"]["engines"])
    assert engines.keys() == {"deepspeech-batched"}
    assert engines["deepspeech-batched"]["models"] == ["pb", "pbmm", "tflite"]
    assert "beam_width" in engines["deepspeech-batched"]["options"]


def test_the_models_and_engines_depend_on_the_build_arguments() -> None:
    demo = {"asterisk-en", "asterisk-en-pbmm"}
    image = PROJECT / "worker_image"
    assert content_of(image, {"MODEL": "asterisk-en"}).models.keys() == demo
    assert content_of(image, {"MODEL": "deepspeech-0.9.3-en-pbmm"}).models.keys() == {*demo, "deepspeech-0.9.3-en-pbmm"}
    both = content_of(
        image, {"MODEL": "asterisk-en", "MORE_MODELS": "whisper-base", "ENGINES": "deepspeech-tflite whisper"}
    )
    assert both.model == "asterisk-en"
    assert both.models.keys() == {*demo, "whisper-base"}
    whisper = content_of(image, {"MODEL": "whisper-small", "ENGINES": "whisper"})
    assert whisper.models["whisper-small"].size == 483546902
    assert [*whisper.engines] == ["whisper"]


@pytest.mark.parametrize(
    ("build_args", "reason"),
    [
        ({"MODEL": "whisper-smal"}, "MODEL and MORE_MODELS have 'whisper-smal'; it must be one of asterisk-en, "),
        ({"ENGINES": "deepspeech vosk"}, "ENGINES has vosk, but there is no engines/vosk/engine.toml"),
        ({"MORE_MODELS": "whisper-base"}, "no engine for a Whisper model .*; it has deepspeech-batched"),
    ],
)
def test_an_image_whose_model_has_no_engine_is_not_deployed(build_args: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        content_of(PROJECT / "worker_image", build_args)


def test_a_child_has_two_minutes_to_stop_at_a_spot_interruption(stack: Assembly) -> None:
    assert stack.container()["StopTimeout"] == 120
    assert stack.container()["Essential"] is True


def test_a_child_can_write_only_to_its_scratch_volume_and_is_not_root(stack: Assembly) -> None:
    container = stack.container()
    assert container["ReadonlyRootFilesystem"] is True
    assert stack.task()["Volumes"] == [{"Name": "scratch"}]
    assert container["MountPoints"] == [{"SourceVolume": "scratch", "ContainerPath": "/tmp", "ReadOnly": False}]  # noqa: S108
    assert stack.task()["EphemeralStorage"] == {"SizeInGiB": 30}
    user, group = container["User"].split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert "Privileged" not in container  # Fargate rejects the property


def _dockerfile(instruction: str) -> list[str]:
    """The arguments of an instruction in the last stage of the worker's Dockerfile."""
    lines = (PROJECT / "worker_image" / "Dockerfile").read_text().splitlines()
    last = max(number for number, line in enumerate(lines) if line.startswith("FROM "))
    return [line.partition(" ")[2] for line in lines[last:] if line.startswith(f"{instruction} ")]


def test_the_image_has_the_user_and_the_command_of_the_job_definition(stack: Assembly) -> None:
    assert _dockerfile("USER") == [stack.container()["User"]]
    assert json.loads(_dockerfile("CMD")[0]) == stack.container()["Command"]


def test_the_image_declares_the_scratch_volume_so_that_its_user_can_write_there(stack: Assembly) -> None:
    # A Fargate volume belongs to root, unless the image declares a volume at this path: then Fargate copies its mode.
    # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/bind-mounts.html
    [mount] = stack.container()["MountPoints"]
    assert mount["ContainerPath"] in [path.strip('[]"') for path in _dockerfile("VOLUME")]


def test_a_child_runs_on_x86_with_an_init_process(stack: Assembly) -> None:
    assert stack.one("AWS::Batch::JobDefinition")["PlatformCapabilities"] == ["FARGATE"]
    assert stack.task()["RuntimePlatform"] == {"CpuArchitecture": "X86_64", "OperatingSystemFamily": "LINUX"}
    assert stack.task()["PlatformVersion"] == "1.4.0"
    assert stack.container()["LinuxParameters"] == {"InitProcessEnabled": True}


def test_the_image_is_built_for_x86(stack: Assembly) -> None:
    assets = json.loads((stack.folder / "Transcription.assets.json").read_text())
    [image] = assets["dockerImages"].values()
    assert image["source"]["platform"] == "linux/amd64"


@pytest.mark.parametrize(("settings", "scanning"), [("stack", "BASIC"), ("closed", "ENHANCED"), ("large", "OFF")])
def test_the_scanning_of_the_whole_registry_is_not_in_the_stack(
    request: pytest.FixtureRequest, settings: str, scanning: str
) -> None:
    deployed: Assembly = request.getfixturevalue(settings)
    assert not deployed.all("AWS::ECR::RegistryScanningConfiguration")  # the next stack's creation would fail
    assert deployed.template["Metadata"] == {"ImageScanning": scanning}


def test_children_have_a_separate_log_group(stack: Assembly) -> None:
    log = stack.container()["LogConfiguration"]
    assert log["LogDriver"] == "awslogs"
    assert log["Options"]["awslogs-group"] == "<BatchLogs>"
    assert stack.all("AWS::Logs::LogGroup")["BatchLogs"]["LogGroupName"] == "/transcription/transcription/worker"


@pytest.mark.parametrize(
    ("attempt", "retried"),
    [
        ({"onStatusReason": "Your Spot Task was interrupted.", "onExitCode": "137"}, True),
        ({"onStatusReason": "Your Spot Task was interrupted."}, True),
        ({"onStatusReason": "ResourceInitializationError: unable to pull secrets or registry auth"}, True),
        ({"onStatusReason": "Timeout waiting for network interface provisioning to complete."}, True),
        ({"onStatusReason": "Timeout waiting for EphemeralStorage provisioning to complete."}, True),
        (
            {
                "onStatusReason": "Task failed to start",
                "onReason": "CannotPullContainerError: failed to copy: httpReadSeeker: dial tcp: i/o timeout",
            },
            True,
        ),
        ({"onExitCode": "75"}, True),
        ({"onReason": "OutOfMemoryError: Container killed due to memory usage", "onExitCode": "137"}, True),
        ({"onExitCode": "143"}, True),  # SIGTERM before the worker's handler is set
        ({"onExitCode": "1"}, True),
        ({"onExitCode": "78"}, False),
        ({}, True),
    ],
)
def test_batch_retries_all_but_the_workers_permanent_failures(
    stack: Assembly, attempt: dict[str, str], retried: bool
) -> None:
    strategy = stack.one("AWS::Batch::JobDefinition")["RetryStrategy"]
    assert strategy["Attempts"] == 3
    assert len(strategy["EvaluateOnExit"]) <= 5  # Batch's limit
    conditions = [{key[0].lower() + key[1:]: part for key, part in c.items()} for c in strategy["EvaluateOnExit"]]
    seen = {"onExitCode": "", "onReason": "", "onStatusReason": "Essential container in task exited", **attempt}
    assert batch.is_retried(conditions, seen) is retried


def test_waiting_children_keep_the_revision_of_their_submission(stack: Assembly) -> None:
    assert stack.one("AWS::Batch::JobDefinition")["ResourceRetentionPolicy"] == {"SkipDeregisterOnUpdate": True}


def test_the_deadline_of_a_run_is_later_than_the_last_attempt_of_a_child(stack: Assembly) -> None:
    hours = float(stack.environment()["AirflowConfigurationOptions"]["transcription.deadline_hours"])
    definition, queue = stack.one("AWS::Batch::JobDefinition"), stack.one("AWS::Batch::JobQueue")
    attempts = definition["RetryStrategy"]["Attempts"] * definition["Timeout"]["AttemptDurationSeconds"]
    stuck = max(action["MaxTimeSeconds"] for action in queue["JobStateTimeLimitActions"])
    assert hours * 3600 >= attempts + stuck


def test_an_attempt_and_the_wait_in_the_queue_have_a_time_limit(stack: Assembly) -> None:
    assert stack.one("AWS::Batch::JobDefinition")["Timeout"] == {"AttemptDurationSeconds": 12 * 3600}
    actions = stack.one("AWS::Batch::JobQueue")["JobStateTimeLimitActions"]
    assert {action["Reason"] for action in actions} == {
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
        "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
        "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
    }
    for action in actions:
        assert (action["State"], action["Action"], action["MaxTimeSeconds"]) == ("RUNNABLE", "CANCEL", 4 * 3600)


# --- Airflow


def test_airflow_is_the_supported_version_in_the_smallest_class(stack: Assembly) -> None:
    environment = stack.environment()
    assert environment["AirflowVersion"] == "3.3.1"
    assert environment["EnvironmentClass"] == "mw1.micro"
    numbers = ("Schedulers", "MinWebservers", "MaxWebservers", "MinWorkers", "MaxWorkers")
    assert [environment[name] for name in numbers] == [1, 1, 1, 1, 1]  # the only numbers that mw1.micro accepts


def test_a_larger_class_has_two_schedulers_and_the_configured_number_of_workers(large: Assembly) -> None:
    environment = large.environment()
    numbers = ("Schedulers", "MinWebservers", "MaxWebservers", "MinWorkers", "MaxWorkers")
    assert [environment[name] for name in numbers] == [2, 2, 2, 1, 3]
    assert environment["WebserverAccessMode"] == "PUBLIC_AND_PRIVATE"


def test_airflows_configuration_names_bucket_queue_and_job_definition(stack: Assembly) -> None:
    assert stack.environment()["AirflowConfigurationOptions"] == {
        "transcription.bucket": "<StorageAudio>",
        "transcription.job_queue": "<BatchQueue.JobQueueArn>",
        "transcription.job_definition": "transcription-worker",
        "transcription.vcpus_per_child": "2",
        "transcription.memory_gb_per_child": "4",
        "transcription.max_instances_default": "20",
        "transcription.max_usd": "0",
        "transcription.built_in_models": "asterisk-en asterisk-en-pbmm deepspeech-0.9.3-en",
        "transcription.engines": "deepspeech-batched",
        "transcription.usd_per_vcpu_hour": "0.04048",
        "transcription.usd_per_gb_hour": "0.004445",
        "transcription.notification_topic_arn": "<NotificationsTopic>",
        "transcription.metrics_namespace": "Transcription",
        "transcription.schedule": "0 1 * * *",
        "transcription.deadline_hours": "48",
        "transcription.event_source": "transcription.transcription",
    }


def test_the_pipeline_reads_every_configuration_option(stack: Assembly) -> None:
    declared = (PROJECT / "plugins" / "transcription" / "configuration.py").read_text()
    for option in stack.environment()["AirflowConfigurationOptions"]:
        assert f"    {option.removeprefix('transcription.')}: " in declared, option


def test_the_dags_schedule_is_that_of_the_setting(large: Assembly) -> None:
    assert large.environment()["AirflowConfigurationOptions"]["transcription.schedule"] == "30 3 * * 1-5"


def test_uploads_start_runs_only_if_the_setting_says_so(stack: Assembly, large: Assembly) -> None:
    assert not stack.all("AWS::SQS::Queue")
    options = large.environment()["AirflowConfigurationOptions"]
    assert options["transcription.upload_queue_url"] == "<UploadsQueue>"
    assert options["transcription.quiet_minutes"] == "5"


def test_each_new_object_of_input_and_nothing_else_is_a_message_of_the_queue(large: Assembly) -> None:
    [rule] = [rule for rule in large.all("AWS::Events::Rule").values() if rule["EventPattern"]["source"] == ["aws.s3"]]
    assert rule["EventPattern"] == {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": ["<StorageAudio>"]}, "object": {"key": [{"prefix": "input/"}]}},
    }
    assert [target["Arn"] for target in rule["Targets"]] == ["<UploadsQueue.Arn>"]


def test_only_this_rule_may_write_to_the_queue_and_only_airflow_may_read_it(large: Assembly) -> None:
    policy = large.one("AWS::SQS::QueuePolicy")
    assert policy["Queues"] == ["<UploadsQueue>"]
    [allow] = [statement for statement in policy["PolicyDocument"]["Statement"] if statement["Effect"] == "Allow"]
    assert allow["Principal"] == {"Service": "events.amazonaws.com"}
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": "<UploadsRule.Arn>"}}
    [ours] = [s for s in large.statements("AirflowRole") if s["Resource"] == "<UploadsQueue.Arn>"]
    assert set(ours["Action"]) == {"sqs:ReceiveMessage", "sqs:DeleteMessage"}


def test_the_bucket_tells_eventbridge_of_its_objects(stack: Assembly) -> None:
    notifications = stack.resource("StorageAudio")["Properties"]["NotificationConfiguration"]
    assert notifications == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}


def test_browsers_may_only_upload_and_only_from_amazon_mwaas_ui_or_this_machine(stack: Assembly) -> None:
    [rule] = stack.resource("StorageAudio")["Properties"]["CorsConfiguration"]["CorsRules"]
    assert rule["AllowedMethods"] == ["PUT"]
    assert rule["AllowedHeaders"] == ["content-type", "if-none-match"]
    assert rule["AllowedOrigins"] == [
        "https://*.airflow.<AWS::Region>.on.aws",
        "https://*.<AWS::Region>.airflow.<AWS::URLSuffix>",
        "http://127.0.0.1:*",
    ]


def test_airflow_can_send_events_only_as_its_own_environment(large: Assembly) -> None:
    [statement] = [s for s in large.statements("AirflowRole") if s["Action"] == "events:PutEvents"]
    source = large.environment()["AirflowConfigurationOptions"]["transcription.event_source"]
    assert statement["Condition"] == {"StringEquals": {"events:source": source}}
    assert source == "transcription.team_b"


def test_a_new_revision_of_the_worker_does_not_change_the_airflow_environment(stack: Assembly) -> None:
    environment = json.dumps(stack.resource("AirflowEnvironment"))
    assert stack.resource("BatchWorker")["Type"] == "AWS::Batch::JobDefinition"
    assert "<BatchWorker>" not in environment


def test_the_job_definition_has_the_name_in_airflows_configuration(stack: Assembly) -> None:
    configured = stack.environment()["AirflowConfigurationOptions"]["transcription.job_definition"]
    assert stack.one("AWS::Batch::JobDefinition")["JobDefinitionName"] == configured


def test_airflow_logs_warnings_and_tasks_also_log_info(stack: Assembly) -> None:
    levels = {k: (v["Enabled"], v["LogLevel"]) for k, v in stack.environment()["LoggingConfiguration"].items()}
    assert levels == {
        "DagProcessingLogs": (True, "WARNING"),
        "SchedulerLogs": (True, "WARNING"),
        "WebserverLogs": (True, "WARNING"),
        "WorkerLogs": (True, "WARNING"),
        "TaskLogs": (True, "INFO"),
    }


def test_every_log_group_is_encrypted_and_its_logs_expire(stack: Assembly) -> None:
    groups = stack.all("AWS::Logs::LogGroup").values()
    assert {group["LogGroupName"] for group in groups} == {
        *(f"airflow-transcription-{kind}" for kind in ("DAGProcessing", "Scheduler", "Task", "WebServer", "Worker")),
        *(f"/transcription/transcription/{name}" for name in ("worker", "network", "deployment")),
        "/aws/events/transcription/failed-jobs",
    }
    assert {(group["RetentionInDays"], group["KmsKeyId"]) for group in groups} == {(90, "<EncryptionKey.Arn>")}


def test_the_airflow_environment_depends_on_its_code_permissions_and_log_groups(stack: Assembly) -> None:
    needed = stack.resource("AirflowEnvironment")["DependsOn"]
    for name in (
        "AirflowCodePluginsCustomResource",
        "AirflowCodeDagsCustomResource",
        "AirflowRoleDefaultPolicy",
        "AirflowTaskLogs",
        "DefaultRoute",
        "AirflowSecurityGroupfrom",  # the rule that lets its parts talk to each other
    ):
        assert any(name in other for other in needed), name


def test_airflow_and_notifications_are_encrypted_with_a_rotating_key(stack: Assembly) -> None:
    assert stack.one("AWS::KMS::Key")["EnableKeyRotation"] is True
    assert stack.environment()["KmsKey"] == "<EncryptionKey.Arn>"
    assert stack.one("AWS::SNS::Topic")["KmsMasterKeyId"] == "<EncryptionKey.Arn>"


def test_the_ui_is_public_unless_set_otherwise(stack: Assembly, closed: Assembly) -> None:
    assert stack.environment()["WebserverAccessMode"] == "PUBLIC_ONLY"
    assert closed.environment()["WebserverAccessMode"] == "PRIVATE_ONLY"


# --- Observability


def test_there_is_an_alarm_for_each_kind_of_failure(stack: Assembly) -> None:
    alarms = stack.all("AWS::CloudWatch::Alarm")
    conditions = {
        name.removeprefix("Observability"): (alarm["Threshold"], alarm["ComparisonOperator"], alarm["TreatMissingData"])
        for name, alarm in alarms.items()
    }
    at_least, quiet = "GreaterThanOrEqualToThreshold", "notBreaching"
    assert conditions == {
        "RunFailed": (1, at_least, quiet),
        "ChildrenFailed": (1, at_least, quiet),
        "ManyRejected": (0.1, at_least, quiet),
        "AudioWaits": (48, at_least, quiet),
        "RunTooLong": (24, at_least, quiet),
        "SchedulerSilent": (1, "LessThanThreshold", "breaching"),
        "NoRun": (1, "LessThanThreshold", "breaching"),
    }
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == ["<NotificationsTopic>"]


def test_the_run_alarm_watches_our_dag_in_our_environment(stack: Assembly) -> None:
    alarm = stack.all("AWS::CloudWatch::Alarm")["ObservabilityRunFailed"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == (
        "AmazonMWAA", "DAGDurationFailed", "SampleCount",
    )  # fmt: skip
    dimensions = {dimension["Name"]: dimension["Value"] for dimension in alarm["Dimensions"]}
    assert dimensions == {"DAG": "transcription", "Environment": "transcription"}


def test_an_alarm_fires_if_no_run_has_started_for_26_hours_also_with_the_dag_paused(stack: Assembly) -> None:
    alarm = stack.all("AWS::CloudWatch::Alarm")["ObservabilityNoRun"]
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("Transcription", "RunsStarted", "Sum")
    assert "DatapointsToAlarm" not in alarm  # all periods
    assert (alarm["Period"], alarm["EvaluationPeriods"]) == (3600, 26)


def test_no_alarm_evaluates_more_than_cloudwatch_allows(stack: Assembly) -> None:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    for alarm in stack.all("AWS::CloudWatch::Alarm").values():
        periods = {metric["MetricStat"]["Period"] for metric in alarm.get("Metrics", ()) if "MetricStat" in metric}
        for period in periods or {alarm["Period"]}:
            assert period * alarm["EvaluationPeriods"] <= (604_800 if period >= 3600 else 86_400)


def test_the_alarms_read_the_metrics_that_airflow_may_publish(stack: Assembly) -> None:
    [publish] = [s for s in stack.statements("AirflowRole") if s.get("Sid") == "PublishMetrics"]
    namespaces = set(as_list(publish["Condition"]["StringEquals"]["cloudwatch:namespace"]))
    waits = stack.all("AWS::CloudWatch::Alarm")["ObservabilityAudioWaits"]
    assert (waits["Namespace"], waits["MetricName"], waits["Statistic"]) == (
        "Transcription", "OldestWaitingHours", "Maximum",
    )  # fmt: skip
    assert waits["Namespace"] in namespaces
    assert stack.environment()["AirflowConfigurationOptions"]["transcription.metrics_namespace"] in namespaces


def test_a_failed_job_of_our_queue_is_counted_and_logged(stack: Assembly) -> None:
    rule = stack.one("AWS::Events::Rule")
    assert rule["EventPattern"] == {
        "source": ["aws.batch"],
        "detail-type": ["Batch Job State Change"],
        "detail": {"status": ["FAILED"], "jobQueue": ["<BatchQueue.JobQueueArn>"]},
    }
    [target] = rule["Targets"]
    assert target["Arn"].endswith(":log-group:<ObservabilityFailedJobs>")
    policy = stack.one("AWS::Logs::ResourcePolicy")["PolicyDocument"]
    assert "events.amazonaws.com" in policy
    assert "<ObservabilityFailedJobs.Arn>" in policy
    alarm = stack.all("AWS::CloudWatch::Alarm")["ObservabilityChildrenFailed"]
    assert alarm["Dimensions"] == [{"Name": "RuleName", "Value": "<ObservabilityJobFailed>"}]


def test_the_dashboard_shows_files_hours_cost_waiting_and_failures(stack: Assembly) -> None:
    body = stack.one("AWS::CloudWatch::Dashboard")["DashboardBody"]
    for shown in (
        "FilesTranscribed", "FilesRejected", "FilesMissing", "AudioHours", "CostEstimateUsd", "OldestWaitingHours",
        "TriggeredRules", "DAGDurationFailed", "<ObservabilityFailedJobs>",
    ):  # fmt: skip
        assert shown in body, shown


def test_the_dashboards_name_has_the_region_because_all_regions_share_the_names(
    stack: Assembly, closed: Assembly
) -> None:
    assert stack.one("AWS::CloudWatch::Dashboard")["DashboardName"] == "transcription-<AWS::Region>"
    assert closed.one("AWS::CloudWatch::Dashboard")["DashboardName"] == "transcription-eu-west-1"


def test_e_mail_goes_to_the_configured_address_and_by_default_there_is_none(stack: Assembly, large: Assembly) -> None:
    assert not stack.all("AWS::SNS::Subscription")
    subscription = large.one("AWS::SNS::Subscription")
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("email", "team@example.com")


# --- The whole


def test_a_second_deployment_in_the_account_shares_no_name_with_the_first(stack: Assembly, large: Assembly) -> None:

    def names(assembly: Assembly) -> set[str]:
        keys = ("LogGroupName", "JobDefinitionName", "AlarmName", "DashboardName", "Name", "PolicyName", "Namespace")
        return {
            properties[key]
            for resource in assembly.resources.values()
            # Unique within their role, and their workgroup.
            if resource["Type"] not in ("AWS::IAM::Policy", "AWS::Athena::NamedQuery")
            for properties in [resource.get("Properties", {})]
            for key in keys
            if isinstance(properties.get(key), str)
        }

    assert names(stack) & names(large) == {"AmazonMWAA", "AWS/Events"}
    manifest = json.loads((large.folder / "manifest.json").read_text())
    assert manifest["artifacts"]["Transcription"]["properties"]["stackName"] == "Team-B"


def test_the_stack_has_the_outputs_that_a_user_needs(stack: Assembly) -> None:
    outputs = stack.template["Outputs"]
    assert set(outputs) == {
        "BucketName", "AirflowUrl", "AirflowEnvironmentName", "AirflowCodeBucketName", "AccessLogsBucketName",
        "JobQueueArn", "JobDefinitionArn", "JobDefinitionName", "WorkerLogGroupName", "NotificationTopicArn",
        "SqlWorkGroup",
    }  # fmt: skip
    assert all(output["Description"] for output in outputs.values())
    assert plain(outputs["JobDefinitionArn"]["Value"]) == "<BatchWorker.JobDefinitionArn>"


def test_the_template_depends_on_no_account_and_no_region(stack: Assembly) -> None:
    manifest = json.loads((stack.folder / "manifest.json").read_text())
    assert manifest["artifacts"]["Transcription"]["environment"] == "aws://unknown-account/unknown-region"
    assert "missing" not in manifest  # the synthesis looked up nothing in an account
    assert "us-east-1" not in stack.template_file.read_text()
