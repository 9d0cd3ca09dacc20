"""DAGs, plugins and requirements on their way to Airflow's bucket."""

import hashlib
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

from aws_cdk import Fn, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_deployment as s3_deployment
from constructs import Construct

from .logs import log_group
from .settings import Settings

NOT_CODE = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store")

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes, whenever and wherever it is zipped


@dataclass(frozen=True, kw_only=True)
class CodeKeys:
    """Where Airflow finds its code in the bucket."""

    dags: str
    plugins: str
    requirements: str


class AirflowCode(Construct):
    """Uploads Airflow's code.

    Plugins and requirements carry the hash of their content in their name. Amazon MWAA reads both only when
    its environment is updated, and CloudFormation updates it only when a property changes: a new content is
    a new name is a changed property, while the same name with new content would never reach the workers. The
    files of earlier deployments stay, so that a roll-back finds its own. DAGs are read anew every half-minute
    and keep their names; DAGs that the project no longer has are deleted.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        bucket: s3.IBucket,
        key: kms.IKey,
        dags: Path,
        plugins: Path,
        requirements: Path,
        staging: Path,
    ) -> None:
        super().__init__(scope, construct_id)
        self.keys = stage(plugins=plugins, requirements=requirements, staging=staging)
        logs = log_group(
            self, "Logs", name=f"/transcription/{settings.environment_name}/deployment", settings=settings, key=key
        )
        role = iam.Role(
            self,
            "Role",
            description="Deployment: copies Airflow's code from the CDK's assets to Airflow's bucket",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
        )
        # The CDK would grant s3:GetObject*, s3:List* and the like. The function needs these.
        exactly_this = role.without_policy_updates()

        self.plugins = s3_deployment.BucketDeployment(
            self,
            "Plugins",
            sources=[s3_deployment.Source.asset(str(staging))],
            destination_bucket=bucket,
            prune=False,
            role=exactly_this,
            log_group=logs,
        )
        self.dags = s3_deployment.BucketDeployment(
            self,
            "Dags",
            sources=[s3_deployment.Source.asset(str(dags), exclude=[f"**/{name}" for name in NOT_CODE])],
            destination_bucket=bucket,
            destination_key_prefix=self.keys.dags,
            prune=True,
            role=exactly_this,
            log_group=logs,
        )
        for sid, actions, resources in (
            ("ReadAssets", ["s3:GetObject"], [f"{_assets_arn(self)}/*"]),
            ("CompareCode", ["s3:ListBucket"], [bucket.bucket_arn]),
            ("WriteCode", ["s3:PutObject", "s3:DeleteObject"], [bucket.arn_for_objects("*")]),
            ("WriteLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [logs.log_group_arn]),
        ):
            role.add_to_policy(iam.PolicyStatement(sid=sid, actions=actions, resources=resources))
        rights = role.node.find_child("DefaultPolicy")
        for deployment in (self.plugins, self.dags):
            deployment.node.add_dependency(rights)


def stage(*, plugins: Path, requirements: Path, staging: Path) -> CodeKeys:
    """Writes plugins-<hash>.zip and requirements-<hash>.txt into a new staging folder."""
    staging.mkdir(parents=True)
    zipped = staging / "plugins.zip"
    zip_folder(plugins, zipped)
    return CodeKeys(
        dags="dags",
        plugins=_under_hashed_name(zipped, staging),
        requirements=_under_hashed_name(Path(shutil.copy(requirements, staging / "requirements.txt")), staging),
    )


def zip_folder(folder: Path, target: Path) -> None:
    """Zips what is in a folder, without the folder itself, so that equal contents give equal bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not any(part in NOT_CODE for part in path.relative_to(folder).parts):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), date_time=_ZIP_TIME)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes())


def _under_hashed_name(path: Path, folder: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return path.rename(folder / f"{path.stem}-{digest}{path.suffix}").name


def _assets_arn(scope: Construct) -> str:
    """ARN of the bucket where `cdk bootstrap` lets this stack's assets be uploaded."""
    qualifier = Stack.of(scope).synthesizer.bootstrap_qualifier
    return Fn.sub(f"arn:${{AWS::Partition}}:s3:::cdk-{qualifier}-assets-${{AWS::AccountId}}-${{AWS::Region}}")
