"""Every knob of the stack, explained once and checked before anything is synthesised."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Network
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

# The memory (GB) that Fargate offers for a number of vCPUs:
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

# The DAG is written and tested for these alone. Another version needs new locks and constraints first.
MWAA_AIRFLOW_VERSIONS = ("3.3.1",)

# CloudWatch Logs keeps logs for these numbers of days and no others.
LOG_RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip

WEBSERVER_ACCESS = ("PUBLIC_ONLY", "PRIVATE_ONLY", "PUBLIC_AND_PRIVATE")

BATCH_ARRAY_LIMIT = 10_000

# What worker_image/Dockerfile can be told. Docker itself passes over an argument that it does not know.
IMAGE_BUILD_ARGS = ("PYTHON", "MODEL", "MODEL_SHA256", "SCORER_SHA256")

# Least and greatest number in each field of a schedule.
CRON_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


class InvalidSettingError(ValueError):
    """A setting that AWS would refuse, or that contradicts another one. Nothing was synthesised."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a deployment may choose. The defaults are a complete, small production set-up."""

    # --- Where and under which names -----------------------------------------------------------------

    # Name of the CloudFormation stack. Give a second deployment in one account and region another name.
    stack_name: str = "Transcription"

    # Name of the Airflow environment; it also names log groups, job definition, alarms and dashboard.
    environment_name: str = "transcription"

    # AWS region. None: the one that the AWS profile or AWS_REGION names at deployment.
    region: str | None = None

    # --- The bucket ----------------------------------------------------------------------------------

    # Days that an overwritten or deleted object can still be brought back.
    keep_old_versions_days: int = 30

    # Days after which manifests that a crashed run left under child_job_input/ are removed. Longer than
    # the longest run, so that a run never loses its own.
    keep_manifests_days: int = 14

    # Days that the bucket's access logs are kept.
    keep_access_logs_days: int = 90

    # True: `destroy` deletes the buckets with all audio and transcripts. False: it leaves them.
    delete_everything: bool = False

    # --- The network ---------------------------------------------------------------------------------

    # How private subnets reach AWS and, through NAT, the internet.
    # "nat": a NAT gateway, 37 USD a month with its address, plus 0.045 USD/GB (audio does not pass it: the S3 gateway
    # endpoint is free). "endpoints": no way out at all, but an interface endpoint for each AWS service
    # that is called, about 161 USD a month for eleven in two zones (us-east-1). docs/costs.md has the sums.
    egress: str = "nat"

    # NAT gateways: 1, or 2 to outlive the loss of a zone at twice the price. Ignored without NAT.
    nat_gateways: int = 1

    # Address range of the network, /16 to /24.
    vpc_cidr: str = "10.20.0.0/16"

    # --- Batch ---------------------------------------------------------------------------------------

    # Most vCPUs that run at once, over all children of all runs. 40 are 20 children of 2 vCPU. A new
    # account's Fargate quotas are lower: docs/deploy.md says which to raise.
    max_vcpus: int = 40

    # Fargate size of one child. The worker starts one engine process a vCPU.
    vcpus_per_child: float = 2
    memory_gb_per_child: float = 4

    # Part of max_vcpus that is Spot, which is filled first. The rest is on demand: it takes what Spot
    # has no room for, so that a run goes on when Spot capacity dries up. 0: no Spot. 1: Spot only.
    spot_share: float = 0.75

    # Scratch space of a child in GiB (21-200; AWS charges for what is above 20). It holds the file being
    # transcribed and the next ones as they were uploaded, and models from S3. A larger recording is rejected.
    scratch_gib: int = 30

    # Times that Batch starts a child before it gives up, the first included (1-10). Only causes that a
    # new start can cure are tried again.
    attempts: int = 3

    # Hours that one attempt may take. An attempt that is ended loses only the file at hand.
    attempt_timeout_hours: float = 12

    # Hours after which a child that cannot be placed (no capacity, impossible size) is cancelled.
    stuck_in_queue_hours: float = 4

    # --- The model -----------------------------------------------------------------------------------

    # Model and scorer that children use when a run names none: what the worker's MODEL and SCORER take
    # (the name of one in the image, or an s3:// URI). None: the image's own.
    model: str | None = None
    scorer: str | None = None

    # ARNs of other buckets whose objects may be read as models, e.g. "arn:aws:s3:::my-models". The
    # pipeline's own bucket needs no entry: models/ in it can always be read.
    model_buckets: tuple[str, ...] = ()

    # Arguments of the image's build (worker_image/Dockerfile), e.g. another model's URL.
    image_build_args: Mapping[str, str] | None = None

    # Scanning of the worker's image for known vulnerabilities. "BASIC": of Debian's packages, when an image is pushed,
    # free. "ENHANCED": of Python's too, and again whenever one becomes known, by Amazon Inspector, which costs. It is
    # the account's setting for all repositories of the region: `make deploy` stops rather than replace the rules of
    # others. "OFF" leaves what is there as it is.
    image_scanning: str = "BASIC"

    # --- Airflow -------------------------------------------------------------------------------------

    airflow_version: str = "3.3.1"

    # mw1.micro runs three tasks at once, which is enough: the task that waits for Batch is deferred and
    # holds no worker. It has one scheduler, one web server, one worker, and does not scale.
    airflow_class: str = "mw1.micro"

    # Most workers; classes above micro scale up to it. micro has one.
    airflow_max_workers: int = 1

    # PUBLIC_ONLY: the UI is reachable from the internet for who may sign in through IAM. PRIVATE_ONLY:
    # only from the VPC. PUBLIC_AND_PRIVATE: both ways, and Airflow's workers use the private one.
    airflow_ui: str = "PUBLIC_ONLY"

    # When the DAG runs (cron, UTC). For runs by hand only, leave it and pause the DAG.
    schedule: str = "0 1 * * *"

    # Week's time of AWS's maintenance (UTC), half-hours only. Not the time of the nightly run.
    maintenance_window: str = "SUN:12:00"

    # Most children of a run when the run itself does not say.
    max_instances: int = 20

    # Prices for the cost estimate in plan and report: Fargate on demand, Linux/x86, us-east-1, as of October 2026
    # (docs/costs.md says where from).
    usd_per_vcpu_hour: float = 0.04048
    usd_per_gb_hour: float = 0.004445

    # --- Logs and alarms -----------------------------------------------------------------------------

    # Days that the logs of Airflow, worker and network are kept.
    log_retention_days: int = 90

    # Address that gets alarms and run summaries. AWS sends it a confirmation link first. None: nobody.
    alarm_email: str | None = None

    # Rejected files of all files of a day from which on an alarm is raised (0-1).
    alarm_reject_share: float = 0.1

    # Hours that a file may wait in input/ before an alarm is raised.
    alarm_waiting_hours: float = 48

    def __post_init__(self) -> None:
        self._check_types()
        self._check_names()
        self._check_storage_and_network()
        self._check_batch()
        self._check_image()
        self._check_airflow()
        self._check_alarms()

    @property
    def spot_vcpus(self) -> int:
        """vCPUs of the Spot compute environment: whole children, so that none are paid for and idle."""
        children = round(self.max_vcpus * self.spot_share / self.vcpus_per_child)
        return int(children * self.vcpus_per_child)

    @property
    def on_demand_vcpus(self) -> int:
        return self.max_vcpus - self.spot_vcpus

    def _check_types(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if isinstance(value, list):
                value = tuple(value)  # TOML knows lists only
                object.__setattr__(self, name, value)
            if not _is_a(value, hint):
                raise InvalidSettingError(f"{name} = {value!r}: expected {_said(hint)}.")

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
        self._one_of("egress", ("nat", "endpoints"))
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
        self._one_of("vcpus_per_child", FARGATE_MEMORY_GB)
        memory = FARGATE_MEMORY_GB[self.vcpus_per_child]
        if self.memory_gb_per_child not in memory:
            raise InvalidSettingError(
                f"memory_gb_per_child = {self.memory_gb_per_child}: Fargate offers {self.vcpus_per_child} vCPU "
                f"with {', '.join(map(str, memory))} GB."
            )
        self._within("max_vcpus", max(1, self.vcpus_per_child), BATCH_ARRAY_LIMIT * self.vcpus_per_child)
        if self.max_vcpus % self.vcpus_per_child:
            raise InvalidSettingError(
                f"max_vcpus = {self.max_vcpus}: must be a multiple of vcpus_per_child = {self.vcpus_per_child:g}, "
                "for a child does not fit into less."
            )
        self._within("spot_share", 0, 1)
        self._within("scratch_gib", 21, 200)
        self._within("attempts", 1, 10)
        self._within("attempt_timeout_hours", 1 / 60, 14 * 24)  # Fargate ends a task after 14 days anyhow
        self._within("stuck_in_queue_hours", 1 / 6, 24)
        longest = self.attempts * self.attempt_timeout_hours + self.stuck_in_queue_hours
        if self.keep_manifests_days * 24 <= longest:
            raise InvalidSettingError(
                f"keep_manifests_days = {self.keep_manifests_days}: a child may take {longest:g} hours (attempts * "
                "attempt_timeout_hours + stuck_in_queue_hours), and a manifest must outlive it."
            )

    def _check_image(self) -> None:
        self._one_of("image_scanning", ("BASIC", "ENHANCED", "OFF"))
        for name in self.image_build_args or ():
            if name not in IMAGE_BUILD_ARGS:
                raise InvalidSettingError(
                    f"image_build_args: the image knows no {name!r}, but {', '.join(IMAGE_BUILD_ARGS)}."
                )
        for name in ("model", "scorer"):
            if getattr(self, name) is not None:
                self._matches(name, r"s3://[^/\s]{3,63}/.+|[\w.-]+", "a name or s3://bucket/key")
        for arn in self.model_buckets:
            if not re.fullmatch(r"arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", arn):
                raise InvalidSettingError(f"model_buckets: {arn!r} is no bucket ARN such as arn:aws:s3:::my-models.")

    def _check_airflow(self) -> None:
        self._one_of("airflow_version", MWAA_AIRFLOW_VERSIONS)
        self._one_of("airflow_class", MWAA_CLASSES)
        self._one_of("airflow_ui", WEBSERVER_ACCESS)
        if self.airflow_class == "mw1.micro" and self.airflow_max_workers != 1:
            raise InvalidSettingError(
                f"airflow_max_workers = {self.airflow_max_workers}: mw1.micro has exactly 1. "
                "Choose a larger airflow_class to have more."
            )
        self._within("airflow_max_workers", 1, 25)
        if self.egress == "endpoints" and self.airflow_ui == "PUBLIC_ONLY":
            raise InvalidSettingError(
                "airflow_ui = 'PUBLIC_ONLY': without NAT (egress = 'endpoints') Airflow's workers cannot reach a "
                "public web server. Choose PRIVATE_ONLY or PUBLIC_AND_PRIVATE."
            )
        self._check_schedule()
        self._matches(
            "maintenance_window", r"(MON|TUE|WED|THU|FRI|SAT|SUN):([01]\d|2[0-3]):(00|30)", "e.g. SUN:12:00 (UTC)"
        )
        self._within("max_instances", 1, BATCH_ARRAY_LIMIT)
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

    def _check_alarms(self) -> None:
        self._one_of("log_retention_days", LOG_RETENTION_DAYS)
        if self.alarm_email is not None:
            self._matches("alarm_email", r"[^@\s]+@[^@\s]+\.[^@\s.]+", "an e-mail address")
        self._within("alarm_reject_share", 0, 1)
        self._within("alarm_waiting_hours", 1, 24 * 365)

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
    """The settings in a TOML file; what it does not name keeps its default.

    Raises:
        InvalidSettingError: there is no such file, an unknown name, or a value that AWS would refuse.
    """
    try:
        chosen = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidSettingError(f"{path}: there is no such file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingError(f"{path} cannot be read: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettingError(f"{path}: {error}.") from None
    known = [field.name for field in fields(Settings)]
    for name in chosen:
        if name not in known:
            raise InvalidSettingError(f"{name}: there is no such setting. There are {', '.join(known)}.")
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


def _said(hint: Any) -> str:
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "nothing"}
    return " or ".join(
        words.get(part) or ("a list of texts" if get_origin(part) is tuple else "a table of texts") for part in parts
    )
