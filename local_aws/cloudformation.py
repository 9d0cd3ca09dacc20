"""CloudFormation on moto 5.2.5: adds what moto lacks to deploy the CDK template and to apply its properties.

Each class or function corrects one resource type. Its docstring describes the behaviour of the real service.
"""

from __future__ import annotations

import io
import json
import mimetypes
import zipfile
from typing import Any, ClassVar

from moto.batch import models as batch
from moto.cloudformation import models as stacks
from moto.cloudformation import parsing
from moto.cloudwatch import models as cloudwatch
from moto.core.common_models import CloudFormationModel
from moto.ec2.models import ec2_backends
from moto.ec2.models.route_tables import RouteTable
from moto.iam.models import iam_backends
from moto.kms import models as kms
from moto.s3 import models as s3
from moto.utilities.utils import get_partition

from local_aws.batch import only_container


class Environment(CloudFormationModel):
    """AWS::MWAA::Environment, which moto lacks. This class stores the properties for the local Airflow.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-mwaa-environment.html
    """

    live: ClassVar[dict[tuple[str, str], Environment]] = {}
    """By region and name."""

    def __init__(self, name: str, properties: dict[str, Any], arn: str) -> None:
        self.name = name
        self.properties = properties
        self.arn = arn

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return "Name"

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::MWAA::Environment"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> Environment:
        properties = cloudformation_json["Properties"]
        code_bucket = properties["SourceBucketArn"].rpartition(":")[2]
        bucket = s3.s3_backends[account_id][get_partition(region_name)].buckets[code_bucket]
        for setting in ("PluginsS3Path", "RequirementsS3Path"):
            if setting in properties and properties[setting] not in bucket.keys:
                raise ValueError(f"{setting}: the bucket {code_bucket} has no object {properties[setting]!r}.")
        arn = f"arn:aws:airflow:{region_name}:{account_id}:environment/{resource_name}"
        cls.live[region_name, resource_name] = cls(resource_name, properties, arn)
        return cls.live[region_name, resource_name]

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Environment,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Environment:
        return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        cls.live.pop((region_name, resource_name), None)

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in ("Arn", "WebserverUrl")

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return {"Arn": self.arn, "WebserverUrl": "127.0.0.1:8080"}[attribute_name]


class BucketPolicy(CloudFormationModel):
    """AWS::S3::BucketPolicy, which moto lacks.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucketpolicy.html
    """

    def __init__(self, bucket: str) -> None:
        self.physical_resource_id = bucket

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::S3::BucketPolicy"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> BucketPolicy:
        properties = cloudformation_json["Properties"]
        backend = s3.s3_backends[account_id][get_partition(region_name)]
        backend.put_bucket_policy(properties["Bucket"], json.dumps(properties["PolicyDocument"]).encode())
        return cls(properties["Bucket"])

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: BucketPolicy,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> BucketPolicy:
        return cls.create_from_cloudformation_json(new_resource_name, cloudformation_json, account_id, region_name)


class Described(CloudFormationModel):
    """A resource of a type that moto lacks and the local pipeline does not use. It has only a name and an ARN."""

    def __init__(self, name: str, arn: str) -> None:
        self.physical_resource_id = name
        self.arn = arn

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return ""

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> Described:
        service, kind = cloudformation_json["Type"].lower().split("::")[1:]
        return cls(resource_name, f"arn:aws:{service}:{region_name}:{account_id}:{kind}/{resource_name}")

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Described,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Described:
        return original_resource

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Arn"

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.arn


class BucketDeployment(CloudFormationModel):
    """Custom::CDKBucketDeployment: a Lambda function unpacks asset archives into a bucket.

    moto would run the function in a container. This class does the function's work: it unpacks or copies each source
    under the prefix. If `Prune` is set, it deletes other objects under the prefix.
    https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.aws_s3_deployment-readme.html
    """

    def __init__(self, name: str, object_keys: list[str], bucket_arn: str) -> None:
        self.name = name
        self.attributes = {"SourceObjectKeys": object_keys, "DestinationBucketArn": bucket_arn}

    @property
    def physical_resource_id(self) -> str:
        return self.name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "Custom::CDKBucketDeployment"

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
    ) -> BucketDeployment:
        properties = cloudformation_json["Properties"]
        backend = s3.s3_backends[account_id][get_partition(region_name)]
        target = properties["DestinationBucketName"]
        prefix = properties.get("DestinationBucketKeyPrefix", "").strip("/")
        written: set[str] = set()
        for bucket, key in zip(properties["SourceBucketNames"], properties["SourceObjectKeys"], strict=True):
            body = backend.get_object(bucket, key).value
            members = {key: body} if str(properties.get("Extract", True)).lower() == "false" else _unpack(body)
            for name, content in members.items():
                written.add(f"{prefix}/{name}" if prefix else name)
                stored = backend.put_object(target, f"{prefix}/{name}" if prefix else name, content)
                stored.set_metadata({"Content-Type": mimetypes.guess_type(name)[0] or "binary/octet-stream"})
        if str(properties.get("Prune", True)).lower() == "true":
            for name in [name for name in backend.buckets[target].keys if name.startswith(f"{prefix}/")]:
                if name not in written:
                    backend.delete_object(target, name)
        return cls(resource_name, properties["SourceObjectKeys"], backend.buckets[target].arn)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: BucketDeployment,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> BucketDeployment:
        return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        """Keep the files (`RetainOnDelete` is the construct's default)."""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr in ("SourceObjectKeys", "DestinationBucketArn")

    def get_cfn_attribute(self, attribute_name: str) -> Any:
        return self.attributes[attribute_name]


def _unpack(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as members:
        return {item.filename: members.read(item) for item in members.infolist() if not item.is_dir()}


def _create_compute_environment(
    _: Any, /, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **__: Any
) -> Any:
    """`ServiceRole` is optional: Batch's default is its service-linked role. `Type` is not case-sensitive.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-batch-computeenvironment.html
    """
    properties = cloudformation_json["Properties"]
    iam = iam_backends[account_id][get_partition(region_name)]
    linked = next((role for role in iam.get_roles() if role.name == "AWSServiceRoleForBatch"), None)
    if linked is None:
        linked = iam.create_role("AWSServiceRoleForBatch", "{}", "/aws-service-role/", None, "", [], "3600")
    return batch.batch_backends[account_id][region_name].create_compute_environment(
        resource_name,
        properties["Type"].upper(),
        properties.get("State", "ENABLED").upper(),
        batch.lowercase_first_key(properties["ComputeResources"]),
        properties.get("ServiceRole") or linked.arn,
    )


def _create_job_definition(
    _: Any, /, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str, **__: Any
) -> Any:
    """The retry strategy is optional. Timeout and platform are stored. Log options keep their names.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-batch-jobdefinition.html
    """
    properties = cloudformation_json["Properties"]
    if "EcsProperties" in properties:
        container = only_container(batch.lowercase_first_key(properties["EcsProperties"]))
    else:
        container = batch.lowercase_first_key(properties["ContainerProperties"])
    return batch.batch_backends[account_id][region_name].register_job_definition(
        def_name=resource_name,
        parameters=properties.get("Parameters", {}),
        _type=properties["Type"],
        tags=properties.get("Tags", {}),
        retry_strategy=batch.lowercase_first_key(properties.get("RetryStrategy", {"Attempts": 1})),
        container_properties=container,
        node_properties=None,
        eks_properties=None,
        timeout=batch.lowercase_first_key(properties.get("Timeout", {})),
        platform_capabilities=properties.get("PlatformCapabilities", ["EC2"]),
        propagate_tags=properties.get("PropagateTags", False),
    )


def _update_compute_environment(_: Any, /, original_resource: Any, cloudformation_json: Any, **__: Any) -> Any:
    """An update changes size, network and state of a compute environment in place."""
    properties = cloudformation_json["Properties"]
    original_resource.compute_resources = batch.lowercase_first_key(properties["ComputeResources"])
    original_resource.state = properties.get("State", "ENABLED").upper()
    return original_resource


def _update_job_queue(_: Any, /, original_resource: Any, cloudformation_json: Any, **__: Any) -> Any:
    """An update changes compute environments, their order, priority and state of a job queue in place."""
    properties = cloudformation_json["Properties"]
    order = [batch.lowercase_first_key(item) for item in properties["ComputeEnvironmentOrder"]]
    backend = original_resource.backend
    backend.update_job_queue(original_resource.name, properties["Priority"], properties.get("State"), order, None)
    return original_resource


def _update_job_definition(
    cls: Any, /, original_resource: Any, cloudformation_json: Any, account_id: str, region_name: str, **_: Any
) -> Any:
    """An update registers a new revision with the same name, and deregisters the earlier one unless that is retained.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-batch-jobdefinition-resourceretentionpolicy.html
    """
    retention = cloudformation_json["Properties"].get("ResourceRetentionPolicy", {})
    if str(retention.get("SkipDeregisterOnUpdate", False)).lower() != "true":
        original_resource.deregister()
    return cls.create_from_cloudformation_json(original_resource.name, cloudformation_json, account_id, region_name)


def _give_arn(model: Any, attribute: str) -> None:
    """Make `Fn::GetAtt` return the ARN for this attribute, as in the resource's page of the template reference."""

    def get_cfn_attribute(self: Any, attribute_name: str) -> str:
        if attribute_name != attribute:
            raise parsing.UnformattedGetAttTemplateException
        return str(self.arn)

    model.has_cfn_attr = classmethod(lambda _, attr: attr == attribute)
    model.get_cfn_attribute = get_cfn_attribute


def _create_key(cls: Any, resource_name: str, cloudformation_json: Any, *args: Any, **kwargs: Any) -> Any:
    """In templates a tag of a KMS key has the fields `Key` and `Value`. KMS's API calls them `TagKey` and `TagValue`.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-kms-key.html
    """
    properties = dict(cloudformation_json["Properties"])
    properties["Tags"] = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in properties.get("Tags", ())]
    return _moto_create_key(cls, resource_name, {**cloudformation_json, "Properties": properties}, *args, **kwargs)


def _create_dashboard(cls: Any, resource_name: str, cloudformation_json: Any, *args: Any, **kwargs: Any) -> Any:
    """The names of dashboards are unique in an account, across all regions.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-cloudwatch-dashboard.html
    """
    name = cloudformation_json["Properties"].get("DashboardName")
    if any(name in backend.dashboards for backend in cloudwatch.cloudwatch_backends[args[0]].values()):
        raise ValueError(f"DashboardName: the dashboard {name} already exists in this account.")
    return _moto_create_dashboard(cls, resource_name, cloudformation_json, *args, **kwargs)


def _delete_bucket(cls: Any, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str) -> None:
    """CloudFormation deletes only a bucket without any version of an object.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/troubleshooting.html
    """
    backend = s3.s3_backends[account_id][get_partition(region_name)]
    if backend.delete_bucket(resource_name) is None:
        raise ValueError(f"The bucket {resource_name} is not empty.")


def _delete_route_table(_: Any, /, resource_name: str, __: Any, account_id: str, region_name: str) -> None:
    """A stack's route table is deleted with its associations. moto keeps it, and then refuses to delete the VPC.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-ec2-routetable.html
    """
    backend = ec2_backends[account_id][region_name]
    backend.route_tables[resource_name].associations.clear()
    backend.delete_route_table(resource_name)


def _create_resources(self: Any) -> None:
    """A stack whose creation fails is rolled back: its resources are deleted, apart from those to be retained.

    The status is then ROLLBACK_COMPLETE, or ROLLBACK_FAILED if a resource cannot be deleted. moto only raises.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/stack-failure-options.html
    """
    try:
        _moto_create_resources(self)
    except Exception as error:
        self.status, self.stack_status_reason = "ROLLBACK_COMPLETE", str(error)
        if _roll_back(self.resource_map):
            self.status = "ROLLBACK_FAILED"
        self.template_dict = {**self.template_dict, "Outputs": {}}
        self.output_map = self._create_output_map()


def _roll_back(resources: Any) -> list[str]:
    """Delete the created resources. Return those that cannot be deleted.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html
    """
    created = [name for name in resources._parsed_resources if name in resources._resource_json_map]
    failed = []
    for name in reversed(created):
        definition = resources._resource_json_map[name]
        if definition.get("DeletionPolicy") != "Retain":
            try:
                resources._delete_resource(resources._parsed_resources[name], definition)
            except Exception:
                failed.append(name)
                continue
        del resources._parsed_resources[name]
    resources._resource_json_map = {name: resources._resource_json_map[name] for name in failed}
    return failed


def _delete_resources(self: Any) -> None:
    """The deletion of a stack keeps what has `RetainExceptOnCreate`, which moto does not know.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html
    """
    for definition in self._resource_json_map.values():
        if definition.get("DeletionPolicy") == "RetainExceptOnCreate":
            definition["DeletionPolicy"] = "Retain"
    _moto_delete_resources(self)


def _update_resources(self: Any, template: dict[str, Any], parameters: Any = None) -> None:
    """An update deletes what the new template lacks, after all changes, and what depends on others first.

    What has a policy to retain stays. moto deletes before it creates, in the order of the template.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-update-behaviors.html
    """
    old = self._resource_json_map
    removed = [name for name in self._parsed_resources if name in old and name not in template["Resources"]]
    gone = [(self._parsed_resources.pop(name), old[name]) for name in removed]
    self._resource_json_map = {name: part for name, part in old.items() if name in template["Resources"]}
    _moto_update_resources(self, template, parameters)
    for resource, definition in reversed(gone):
        if definition.get("DeletionPolicy") not in ("Retain", "RetainExceptOnCreate"):
            self._delete_resource(resource, definition)


def _resource_class(resource_type: str) -> Any:
    """The class for a resource type: moto's, or `Described` for a type that moto lacks."""
    if resource_type in parsing.NULL_MODELS:
        return None
    return parsing.get_model_map().get(resource_type, Described)


_moto_create_dashboard = cloudwatch.Dashboard.create_from_cloudformation_json.__func__
_moto_delete_resources = parsing.ResourceMap.delete
_moto_update_resources = parsing.ResourceMap.update
_moto_create_resources = stacks.Stack.create_resources
_moto_create_key = kms.Key.create_from_cloudformation_json.__func__
_moto_create_bucket = s3.FakeBucket.create_from_cloudformation_json.__func__
_moto_update_bucket = s3.FakeBucket.update_from_cloudformation_json.__func__


def _create_bucket(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A new bucket gets the versioning, the public access block, the CORS rules and the events of its properties.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-s3-bucket.html
    """
    return _obey_bucket_properties(_moto_create_bucket(cls, *args, **kwargs), args[1])


def _update_bucket(cls: Any, *args: Any, **kwargs: Any) -> Any:
    return _obey_bucket_properties(_moto_update_bucket(cls, *args, **kwargs), kwargs["cloudformation_json"])


def _obey_bucket_properties(bucket: Any, cloudformation_json: Any) -> Any:
    properties = cloudformation_json.get("Properties", {})
    bucket.versioning_status = properties.get("VersioningConfiguration", {}).get("Status", bucket.versioning_status)
    to_event_bridge = properties.get("NotificationConfiguration", {}).get("EventBridgeConfiguration", {})
    if to_event_bridge.get("EventBridgeEnabled"):
        bucket.notification_configuration = s3.NotificationConfiguration(event_bridge={})
    if "CorsConfiguration" in properties:
        bucket.set_cors([_cors_rule(rule) for rule in properties["CorsConfiguration"]["CorsRules"]])
    if "PublicAccessBlockConfiguration" in properties:
        bucket.public_access_block = s3.PublicAccessBlock(
            *(
                str(properties["PublicAccessBlockConfiguration"].get(setting, False)).lower()
                for setting in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
            )
        )
    return bucket


def _cors_rule(rule: dict[str, Any]) -> dict[str, Any]:
    """A rule of CloudFormation as S3's API takes it."""
    lists = {f"{name}s": name for name in ("AllowedMethod", "AllowedOrigin", "AllowedHeader")}
    return {
        **{name: rule[plural] for plural, name in lists.items() if plural in rule},
        "MaxAgeSeconds": str(rule.get("MaxAge", 0)),
    }


def install() -> None:
    """Replace moto's functions with those of this module."""
    for cached in (parsing.get_model_list, parsing.get_model_map, parsing.get_name_type_map):
        cached.cache_clear()
    parsing.resource_class_from_type = _resource_class
    batch.ComputeEnvironment.create_from_cloudformation_json = classmethod(_create_compute_environment)
    batch.JobDefinition.create_from_cloudformation_json = classmethod(_create_job_definition)
    batch.ComputeEnvironment.update_from_cloudformation_json = classmethod(_update_compute_environment)
    batch.JobQueue.update_from_cloudformation_json = classmethod(_update_job_queue)
    batch.JobDefinition.update_from_cloudformation_json = classmethod(_update_job_definition)
    kms.Key.create_from_cloudformation_json = classmethod(_create_key)
    cloudwatch.Dashboard.create_from_cloudformation_json = classmethod(_create_dashboard)
    stacks.Stack.create_resources = _create_resources
    parsing.ResourceMap.delete = _delete_resources
    parsing.ResourceMap.update = _update_resources
    RouteTable.delete_from_cloudformation_json = classmethod(_delete_route_table)
    s3.FakeBucket.delete_from_cloudformation_json = classmethod(_delete_bucket)
    _give_arn(batch.ComputeEnvironment, "ComputeEnvironmentArn")
    _give_arn(batch.JobQueue, "JobQueueArn")
    _give_arn(batch.JobDefinition, "JobDefinitionArn")
    s3.FakeBucket.create_from_cloudformation_json = classmethod(_create_bucket)
    s3.FakeBucket.update_from_cloudformation_json = classmethod(_update_bucket)
