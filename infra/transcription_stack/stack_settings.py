"""All settings of the stack, with explanations. They are checked before the synthesis."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from .schedule_expression import CRON_FIELDS, scheduler_expression

# The memory sizes (GB) that Fargate offers for each number of vCPUs:
# https://docs.aws.amazon.com/batch/latest/APIReference/API_ResourceRequirement.html
FARGATE_MEMORY_GB: dict[float, tuple[float, ...]] = {
    0.25: (0.5, 1, 2),
    0.5: (1, 2, 3, 4),
    1: tuple(range(2, 9)),
    2: tuple(range(4, 17)),
    4: tuple(range(8, 31)),
    8: tuple(range(16, 61, 4)),
    16: tuple(range(32, 121, 8)),
}

MWAA_CLASSES = ("mw1.micro", "mw1.small", "mw1.medium", "mw1.large", "mw1.xlarge", "mw1.2xlarge")

# The DAG is tested with these versions only. Another version needs new lock files and constraints first.
MWAA_AIRFLOW_VERSIONS = ("3.3.1",)

# CloudWatch Logs accepts only these numbers of days.
LOG_RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip

ORCHESTRATIONS = ("mwaa", "on_demand")

WEBSERVER_ACCESS = ("PUBLIC_ONLY", "PRIVATE_ONLY", "PUBLIC_AND_PRIVATE")

BATCH_ARRAY_LIMIT = 10_000

# The build arguments of worker_image/Dockerfile. Docker itself ignores an unknown argument.
IMAGE_BUILD_ARGS = ("PYTHON", "ENGINES_PYTHON", "ENGINES", "MODEL", "MODEL_SHA256", "SCORER_SHA256", "MORE_MODELS")


class InvalidSettingError(ValueError):
    """AWS would reject a setting, or two settings contradict each other. Nothing was synthesised."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of a deployment. The defaults give a complete, small production set-up."""

    # --- Names and region ----------------------------------------------------------------------------

    # Name of the CloudFormation stack. A second deployment in the same account and region needs another name.
    stack_name: str = "Transcription"

    # Name of the Airflow environment. The names of log groups, job definition, alarms and dashboard contain it.
    environment_name: str = "transcription"

    # AWS region. None: the AWS profile or AWS_REGION chooses the region at deployment.
    region: str | None = None

    # --- What runs the DAG ---------------------------------------------------------------------------

    # "mwaa": Amazon MWAA, with Airflow's UI and backfills; 212 USD a month. "on_demand": a schedule starts one small
    # container that runs the DAG once and ends; it costs nothing while it waits for the night. docs/on-demand.md
    # compares them. The settings under "Airflow" that name Amazon MWAA have no effect there.
    orchestration: str = "mwaa"

    # Fargate size of the container that runs the DAG, for "on_demand". It holds an ordinary run; `plan` needs about
    # half a GB more for a million recordings.
    orchestrator_vcpus: float = 0.25
    orchestrator_memory_gb: float = 1

    # --- The bucket ----------------------------------------------------------------------------------

    # Days for which an overwritten or deleted object can be restored.
    keep_old_versions_days: int = 30

    # Days after which S3 deletes manifests under child_job_input/ that a crashed run left. It must be longer
    # than the longest run (deadline_hours), so that no run loses its manifests.
    keep_manifests_days: int = 14

    # Days for which the audio of finished recordings is kept in processed/, and everything in output/: transcripts,
    # captions and what else is there. None: until you delete it. Afterwards it can be restored for
    # keep_old_versions_days. Audio in failed/ is never deleted, because it has no transcript.
    keep_processed_days: int | None = None
    keep_transcripts_days: int | None = None

    # Most that one SQL query of Amazon Athena may read, in GB; Athena stops a query above it. A GB costs about half a
    # cent, and a million transcripts of a minute are about 0.5 GB.
    max_gb_per_query: float = 10

    # Days for which the bucket's access logs are kept.
    keep_access_logs_days: int = 90

    # True: `destroy` deletes the buckets with all audio and transcripts. False: `destroy` keeps the buckets.
    delete_everything: bool = False

    # --- The network ---------------------------------------------------------------------------------

    # How Batch's containers and Airflow reach AWS. Audio takes the free S3 gateway endpoint in each case.
    # "nat": from private subnets through a NAT gateway, 37 USD a month with its address, plus 0.045 USD/GB.
    # "endpoints": no access to the internet, and one interface endpoint for each AWS service in use, about 15 USD a
    # month for each in two zones (us-east-1); twelve with Amazon MWAA, seven without.
    # "public": containers run in public subnets and have a public address while they run, at 0.005 USD an hour. Nothing
    # reaches them from outside, because their security group accepts no connection. Amazon MWAA runs in private
    # subnets only, so it keeps its NAT gateway.
    # None: "nat" with Amazon MWAA, "public" with on_demand. docs/costs.md explains the prices, docs/security.md the
    # difference.
    egress: str | None = None

    # Number of NAT gateways: 1, or 2 to survive the loss of a zone at twice the price. Ignored without NAT.
    nat_gateways: int = 1

    # Address range of the network, /16 to /24.
    vpc_cidr: str = "10.20.0.0/16"

    # --- Batch ---------------------------------------------------------------------------------------

    # Maximum number of vCPUs in use at the same time, for all children of all runs. 40 vCPUs are 20 children with
    # 2 vCPUs each. A new account has lower Fargate quotas: docs/deploy.md says which quotas to raise.
    max_vcpus: int = 40

    # Fargate size of one child. The worker starts one engine process for each vCPU.
    vcpus_per_child: float = 2
    memory_gb_per_child: float = 4

    # Share of max_vcpus that is Spot capacity. Batch uses Spot first and on-demand capacity second, so a run
    # continues when AWS has no Spot capacity. 0: no Spot. 1: Spot only.
    spot_share: float = 0.75

    # Scratch space of a child in GiB (21-200; AWS charges for the space above 20). It holds the current recording,
    # the next recordings and models from S3. The worker rejects a recording that is larger than the space.
    scratch_gib: int = 30

    # Maximum number of starts of a child, including the first (1-10). Batch starts a child again only after a
    # failure that a new start can fix.
    attempts: int = 3

    # Maximum duration of one attempt in hours. A stopped attempt loses only the current recording.
    attempt_timeout_hours: float = 12

    # Hours after which Batch cancels the child at the head of the queue that it cannot place. It does so only for the
    # reasons that Batch detects; on Fargate a low quota is most likely none of them, and deadline_hours ends the run.
    stuck_in_queue_hours: float = 4

    # Hours after which `wait` stops a run's job. The next run continues with what is left. It must be at least
    # attempts * attempt_timeout_hours + stuck_in_queue_hours, so that a large backlog is not stopped in its middle.
    deadline_hours: float = 48

    # --- The model -----------------------------------------------------------------------------------

    # Model and scorer for runs that choose no model or scorer: the name of a model in the image, or an s3:// URI,
    # as for the worker's MODEL and SCORER. None: the image's default.
    model: str | None = None
    scorer: str | None = None

    # ARNs of other buckets from which the pipeline may read models, e.g. "arn:aws:s3:::my-models". The pipeline's
    # own bucket needs no entry: the pipeline can always read models/ there.
    model_buckets: tuple[str, ...] = ()

    # Build arguments of the image (worker_image/Dockerfile), e.g. another MODEL.
    image_build_args: Mapping[str, str] | None = None

    # Scanning of the worker's image for known vulnerabilities. "BASIC": scans Debian packages when an image is pushed;
    # free. "ENHANCED": Amazon Inspector also scans Python packages, and scans again when a new vulnerability is
    # published; AWS charges for it. The scanning configuration is shared by all repositories of the account and region:
    # `make deploy` adds a rule, and stops if other rules have the other type. "OFF": does not change the configuration.
    image_scanning: str = "BASIC"

    # --- Airflow -------------------------------------------------------------------------------------

    airflow_version: str = "3.3.1"

    # mw1.micro runs three tasks at the same time. This is enough, because the task that waits for Batch is deferred
    # and uses no worker. mw1.micro has one scheduler, one web server and one worker, and does not scale.
    airflow_class: str = "mw1.micro"

    # Maximum number of Airflow workers. mw1.micro has exactly one; larger classes scale up to this number.
    airflow_max_workers: int = 1

    # PUBLIC_ONLY: the UI is reachable from the internet, with an IAM sign-in. PRIVATE_ONLY: the UI is reachable
    # from the VPC only. PUBLIC_AND_PRIVATE: both; Airflow's workers use the private address.
    airflow_ui: str = "PUBLIC_ONLY"

    # Schedule of the DAG (cron, UTC). If you want manual runs only, pause the DAG.
    schedule: str = "0 1 * * *"

    # True: a run starts when uploads have come to rest, in addition to the schedule. False: only the schedule and you
    # start runs.
    start_on_upload: bool = False

    # Minutes without an upload after which such a run starts, so that a thousand uploads are one run. If uploads never
    # rest, it starts six times as long after the first one.
    quiet_minutes: float = 10

    # Start of the weekly AWS maintenance (UTC, at :00 or :30). Choose another time than the nightly run's.
    maintenance_window: str = "SUN:12:00"

    # Maximum number of children of a run that does not set its own maximum.
    max_instances: int = 20

    # Most that the containers of a run may cost by the plan's estimate, in US dollars, unless the run sets its own
    # maximum. A run above it fails before it starts anything. 0: no limit.
    max_usd: float = 0

    # Prices for the cost estimate in plan and report: Fargate on demand, Linux/x86, us-east-1, as of October 2026
    # (docs/costs.md names the source).
    usd_per_vcpu_hour: float = 0.04048
    usd_per_gb_hour: float = 0.004445

    # --- Logs and alarms -----------------------------------------------------------------------------

    # Days for which the logs of Airflow, worker and network are kept.
    log_retention_days: int = 90

    # E-mail address for alarms and run summaries. AWS first sends a confirmation link. None: no e-mail.
    alarm_email: str | None = None

    # The alarm starts when at least this share of a day's files is rejected (0-1).
    alarm_reject_share: float = 0.1

    # The alarm starts when a run finds a file that has waited in input/ for this number of hours.
    alarm_waiting_hours: float = 48

    # The alarm starts when no run has started for this number of hours (1-168, a week), for example because the DAG is
    # paused. Raise it if the schedule leaves out days.
    alarm_no_run_hours: int = 26

    # The alarm starts when a run's Batch job has taken this number of hours.
    alarm_run_hours: float = 24

    # Whether to make the dashboard, 3 USD a month (the first three of an account are free). None: with Amazon MWAA
    # yes, with on_demand no, where it would cost more than all the rest that idles.
    dashboard: bool | None = None

    def __post_init__(self) -> None:
        self._check_types()
        self._one_of("orchestration", ORCHESTRATIONS)
        if self.egress is None:
            object.__setattr__(self, "egress", "public" if self.runs_on_demand else "nat")
        self._check_names()
        self._check_storage_and_network()
        self._check_batch()
        self._check_image()
        self._check_airflow()
        self._check_alarms()

    @property
    def runs_on_demand(self) -> bool:
        """Whether a container runs the DAG, and not Amazon MWAA."""
        return self.orchestration == "on_demand"

    @property
    def has_nat(self) -> bool:
        """Whether something runs in private subnets with a way to the internet."""
        return self.egress == "nat" or (self.egress == "public" and not self.runs_on_demand)

    @property
    def has_dashboard(self) -> bool:
        return not self.runs_on_demand if self.dashboard is None else self.dashboard

    @property
    def spot_vcpus(self) -> int:
        """vCPUs of the Spot compute environment, rounded to whole children so that no vCPU stays unusable."""
        children = round(self.max_vcpus * self.spot_share / self.vcpus_per_child)
        return int(children * self.vcpus_per_child)

    @property
    def on_demand_vcpus(self) -> int:
        return self.max_vcpus - self.spot_vcpus

    def _check_types(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, list):
                value = tuple(value)  # TOML has lists but no tuples
                object.__setattr__(self, name, value)
            if not _is_a(value, hint):
                raise InvalidSettingError(f"{name} = {value!r}: expected {_type_name(hint)}.")

    def _check_names(self) -> None:
        self._matches("stack_name", r"[A-Za-z][A-Za-z0-9-]{0,127}", "letters, digits and hyphens, a letter first")
        self._matches(
            "environment_name", r"[a-zA-Z][0-9a-zA-Z_-]{0,79}", "1-80 letters, digits, - and _, a letter first"
        )
        if self.region is not None:
            self._matches("region", r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as us-east-1")

    def _check_storage_and_network(self) -> None:
        for name in ("keep_old_versions_days", "keep_manifests_days", "keep_access_logs_days"):
            self._within(name, 1, 3650)
        for name in ("keep_processed_days", "keep_transcripts_days"):
            if getattr(self, name) is not None:
                self._within(name, 1, 3650)
        self._within("max_gb_per_query", 0.01, 7000)
        self._one_of("egress", ("nat", "endpoints", "public"))
        self._within("nat_gateways", 1, 2)
        try:
            network = IPv4Network(self.vpc_cidr)
        except ValueError as error:
            raise InvalidSettingError(f"vpc_cidr = {self.vpc_cidr!r}: {error}.") from None
        if not (16 <= network.prefixlen <= 24 and network.is_private):
            raise InvalidSettingError(
                f"vpc_cidr = {self.vpc_cidr!r}: must be a private range of /16 to /24, e.g. 10.20.0.0/16."
            )

    def _check_batch(self) -> None:
        self._check_fargate_size("vcpus_per_child", "memory_gb_per_child")
        self._check_fargate_size("orchestrator_vcpus", "orchestrator_memory_gb")
        self._within("max_vcpus", max(1, self.vcpus_per_child), BATCH_ARRAY_LIMIT * self.vcpus_per_child)
        if self.max_vcpus % self.vcpus_per_child:
            raise InvalidSettingError(
                f"max_vcpus = {self.max_vcpus}: must be a multiple of vcpus_per_child = {self.vcpus_per_child:g}, "
                "because a child needs that many."
            )
        self._within("spot_share", 0, 1)
        self._within("scratch_gib", 21, 200)
        self._within("attempts", 1, 10)
        self._within("attempt_timeout_hours", 1 / 60, 14 * 24)  # Fargate stops every task after 14 days
        self._within("stuck_in_queue_hours", 1 / 6, 24)
        longest = self.attempts * self.attempt_timeout_hours + self.stuck_in_queue_hours
        if self.deadline_hours < longest:
            raise InvalidSettingError(
                f"deadline_hours = {self.deadline_hours:g}: must be at least what a child may take, which is "
                f"{longest:g} hours (attempts * attempt_timeout_hours + stuck_in_queue_hours)."
            )
        if self.keep_manifests_days * 24 <= self.deadline_hours:
            raise InvalidSettingError(
                f"keep_manifests_days = {self.keep_manifests_days}: must be longer than a run may take, which is "
                f"{self.deadline_hours:g} hours (deadline_hours)."
            )

    def _check_fargate_size(self, vcpus_name: str, memory_name: str) -> None:
        self._one_of(vcpus_name, FARGATE_MEMORY_GB)
        vcpus, memory = getattr(self, vcpus_name), getattr(self, memory_name)
        offered = FARGATE_MEMORY_GB[vcpus]
        if memory not in offered:
            raise InvalidSettingError(
                f"{memory_name} = {memory}: Fargate offers {vcpus} vCPU with {', '.join(map(str, offered))} GB."
            )

    def _check_image(self) -> None:
        self._one_of("image_scanning", ("BASIC", "ENHANCED", "OFF"))
        for name in self.image_build_args or ():
            if name not in IMAGE_BUILD_ARGS:
                raise InvalidSettingError(
                    f"image_build_args: {name!r} is not a build argument. Use one of {', '.join(IMAGE_BUILD_ARGS)}."
                )
        for name in ("model", "scorer"):
            if getattr(self, name) is not None:
                self._matches(name, r"s3://[^/\s]{3,63}/.+|[\w.-]+", "a name or s3://bucket/key")
        for arn in self.model_buckets:
            if not re.fullmatch(r"arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", arn):
                raise InvalidSettingError(f"model_buckets: {arn!r} is not a bucket ARN such as arn:aws:s3:::my-models.")

    def _check_airflow(self) -> None:
        self._one_of("airflow_version", MWAA_AIRFLOW_VERSIONS)
        self._one_of("airflow_class", MWAA_CLASSES)
        self._one_of("airflow_ui", WEBSERVER_ACCESS)
        if self.airflow_class == "mw1.micro" and self.airflow_max_workers != 1:
            raise InvalidSettingError(
                f"airflow_max_workers = {self.airflow_max_workers}: mw1.micro has exactly 1. "
                "Choose a larger airflow_class to have more workers."
            )
        self._within("airflow_max_workers", 1, 25)
        if self.egress == "endpoints" and self.airflow_ui == "PUBLIC_ONLY" and not self.runs_on_demand:
            raise InvalidSettingError(
                "airflow_ui = 'PUBLIC_ONLY': without NAT (egress = 'endpoints') Airflow's workers cannot reach a "
                "public web server. Choose PRIVATE_ONLY or PUBLIC_AND_PRIVATE."
            )
        self._check_schedule()
        self._matches(
            "maintenance_window",
            r"(MON|TUE|WED|THU|FRI|SAT|SUN):([01]\d|2[0-3]):(00|30)",
            "a day and a half-hour such as SUN:12:00 (UTC)",
        )
        self._within("quiet_minutes", 0.1, 60)
        if self.runs_on_demand and self.start_on_upload and self.quiet_minutes not in range(5, 61):
            raise InvalidSettingError(
                f"quiet_minutes = {self.quiet_minutes:g}: with orchestration = 'on_demand' it must be a whole number "
                "between 5 and 60, because CloudWatch counts uploads by the minute and some minutes late."
            )
        self._within("max_instances", 1, BATCH_ARRAY_LIMIT)
        self._within("max_usd", 0, 1_000_000)
        self._within("usd_per_vcpu_hour", 0, 10)
        self._within("usd_per_gb_hour", 0, 10)

    def _check_schedule(self) -> None:
        self._matches("schedule", r"[\w*/,#-]+( [\w*/,#-]+){4}", "five cron fields such as '0 1 * * *'")
        for field, (name, (least, greatest)) in zip(self.schedule.split(), CRON_FIELDS.items(), strict=True):
            for number in re.findall(r"(?<![/#\d])\d+", field):
                if not least <= int(number) <= greatest:
                    raise InvalidSettingError(
                        f"schedule = {self.schedule!r}: the {name} {number} is not between {least} and {greatest}."
                    )
        if self.runs_on_demand:
            try:
                scheduler_expression(self.schedule)
            except ValueError as error:
                raise InvalidSettingError(f"schedule = {self.schedule!r}: {error}") from None

    def _check_alarms(self) -> None:
        self._one_of("log_retention_days", LOG_RETENTION_DAYS)
        if self.alarm_email is not None:
            self._matches("alarm_email", r"[^@\s]+@[^@\s]+\.[^@\s.]+", "an e-mail address")
        self._within("alarm_reject_share", 0, 1)
        self._within("alarm_waiting_hours", 1, 24 * 365)
        # CloudWatch's longest evaluation, seven days:
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
        self._within("alarm_no_run_hours", 1, 7 * 24)
        self._within("alarm_run_hours", 0.1, 14 * 24)

    def _within(self, name: str, lowest: float, highest: float) -> None:
        value = getattr(self, name)
        if not lowest <= value <= highest:
            raise InvalidSettingError(f"{name} = {value}: must be between {lowest:g} and {highest:g}.")

    def _one_of(self, name: str, allowed: Collection[Any]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            raise InvalidSettingError(f"{name} = {value!r}: must be one of {', '.join(map(str, allowed))}.")

    def _matches(self, name: str, pattern: str, meaning: str) -> None:
        value = getattr(self, name)
        if not re.fullmatch(pattern, value):
            raise InvalidSettingError(f"{name} = {value!r}: must be {meaning}.")


def read_settings(path: Path) -> Settings:
    """Read the settings from a TOML file. A setting that is not in the file has its default.

    Raises:
        InvalidSettingError: the file does not exist or is not TOML, a setting is unknown, or AWS would reject a value.
    """
    try:
        chosen = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidSettingError(f"{path}: this file does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingError(f"{path} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettingError(f"{path}: {error}.") from None
    known = [field.name for field in fields(Settings)]
    for name in chosen:
        if name not in known:
            raise InvalidSettingError(f"{name}: this setting does not exist. The settings are {', '.join(known)}.")
    return Settings(**chosen)


def _is_a(value: Any, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_is_a(value, part) for part in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float)
    kind, parts = get_origin(hint), get_args(hint)
    if kind is tuple:
        return isinstance(value, tuple) and all(isinstance(part, str) for part in value)
    if kind is Mapping:
        return isinstance(value, Mapping) and all(isinstance(part, parts[1]) for part in value.values())
    return isinstance(value, hint)


def _type_name(hint: Any) -> str:
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "nothing"}
    return " or ".join(
        words.get(part) or ("a list of texts" if get_origin(part) is tuple else "a table of texts") for part in parts
    )
