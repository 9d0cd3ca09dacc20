"""The network: subnets in two zones, with access to AWS services."""

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from constructs import Construct, DependencyGroup

from .logs import log_group
from .stack_settings import Settings

# The AWS services that Airflow and the children call. They need endpoints if there is no NAT gateway. S3 always has a
# gateway endpoint.
# https://docs.aws.amazon.com/mwaa/latest/userguide/vpc-vpe-create-access.html
ENDPOINT_SERVICES = {
    "AirflowApi": ec2.InterfaceVpcEndpointAwsService("airflow.api"),
    "AirflowEnv": ec2.InterfaceVpcEndpointAwsService("airflow.env"),
    "AirflowOps": ec2.InterfaceVpcEndpointAwsService("airflow.ops"),
    "Batch": ec2.InterfaceVpcEndpointAwsService.BATCH,
    "EcrApi": ec2.InterfaceVpcEndpointAwsService.ECR,
    "EcrDocker": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Events": ec2.InterfaceVpcEndpointAwsService.EVENTBRIDGE,
    "Kms": ec2.InterfaceVpcEndpointAwsService.KMS,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Monitoring": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_MONITORING,
    "Sns": ec2.InterfaceVpcEndpointAwsService.SNS,
    "Sqs": ec2.InterfaceVpcEndpointAwsService.SQS,
}

# Batch's containers call none of these.
ONLY_FOR_MWAA = ("AirflowApi", "AirflowEnv", "AirflowOps", "Kms", "Sqs")


class Network(Construct):
    """A VPC with subnets in two zones: for Batch's containers, and private ones for Amazon MWAA, which needs them."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, key: kms.IKey) -> None:
        super().__init__(scope, construct_id)
        by_nat = settings.has_nat
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(settings.vpc_cidr),
            max_azs=2,
            nat_gateways=settings.nat_gateways if by_nat else 0,
            subnet_configuration=_subnets(settings),
            gateway_endpoints={"S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)},
            # Nothing uses the default security group. To restrict it, the CDK would add a Lambda function.
            restrict_default_security_group=False,
        )
        private = self.vpc.private_subnets if by_nat else self.vpc.isolated_subnets
        self.airflow_subnets = [] if settings.runs_on_demand else private
        self.containers_are_public = settings.egress == "public"
        self.container_subnets = self.vpc.public_subnets if self.containers_are_public else private
        # The routes and endpoints that must exist before anything runs in the subnets.
        self.ways_out = DependencyGroup()
        for subnet in {*self.airflow_subnets, *self.container_subnets}:
            self.ways_out.add(subnet.internet_connectivity_established)
        self._flow_logs(settings=settings, key=key)
        if settings.egress == "endpoints":
            self._interface_endpoints(settings)

    def containers_group(self, scope: Construct, construct_id: str, description: str) -> ec2.SecurityGroup:
        """A security group for containers: HTTPS to any address, nothing inbound."""
        group = ec2.SecurityGroup(scope, construct_id, vpc=self.vpc, description=description, allow_all_outbound=False)
        group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "S3, ECR and CloudWatch Logs")
        return group

    @property
    def assign_public_ip(self) -> str:
        """Whether a container gets a public address for as long as it runs, as Batch's job definitions say it."""
        return "ENABLED" if self.containers_are_public else "DISABLED"

    def _flow_logs(self, *, settings: Settings, key: kms.IKey) -> None:
        # Other accounts' flow logs could use the CDK's default role. This role has a condition on the account.
        # https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-iam-role.html
        ours = {"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
        role = iam.Role(
            self,
            "FlowLogRole",
            description="VPC flow logs: writes rejected connections",
            assumed_by=iam.ServicePrincipal("vpc-flow-logs.amazonaws.com", conditions=ours),
        )
        self.vpc.add_flow_log(
            "FlowLog",
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(
                log_group(
                    self,
                    "FlowLogs",
                    name=f"/transcription/{settings.environment_name}/network",
                    settings=settings,
                    key=key,
                ),
                role,
            ),
            traffic_type=ec2.FlowLogTrafficType.REJECT,
        )

    def _interface_endpoints(self, settings: Settings) -> None:
        group = ec2.SecurityGroup(
            self,
            "Endpoints",
            vpc=self.vpc,
            description="Interface endpoints: HTTPS from inside the VPC",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(ec2.Peer.ipv4(settings.vpc_cidr), ec2.Port.tcp(443), "HTTPS from the VPC")
        for name, service in ENDPOINT_SERVICES.items():
            if settings.runs_on_demand and name in ONLY_FOR_MWAA:
                continue
            endpoint = self.vpc.add_interface_endpoint(
                name,
                service=service,
                subnets=ec2.SubnetSelection(subnets=self.container_subnets),
                security_groups=[group],
                open=False,
            )
            self.ways_out.add(endpoint)


def _subnets(settings: Settings) -> list[ec2.SubnetConfiguration]:
    """The subnets. The same subnet has the same addresses in every choice that has a way to the internet.

    CloudFormation creates a subnet before it deletes the one that it replaces, and their addresses must not overlap.
    """
    if settings.egress == "endpoints":
        return [ec2.SubnetConfiguration(name="Private", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)]
    if settings.has_nat:
        private = ec2.SubnetConfiguration(name="Private", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS)
    else:
        private = ec2.SubnetConfiguration(name="Private", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, reserved=True)
    public = ec2.SubnetConfiguration(name="Public", subnet_type=ec2.SubnetType.PUBLIC, map_public_ip_on_launch=False)
    return [private, public]
