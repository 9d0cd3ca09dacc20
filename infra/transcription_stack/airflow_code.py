"""Uploads DAGs, plugins and requirements to Airflow's bucket."""

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
from .stack_settings import Settings

NOT_CODE = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".DS_Store")

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # a fixed time, so that equal contents give equal bytes


@dataclass(frozen=True, kw_only=True)
class CodeKeys:
    """Keys of Airflow's code in the bucket."""

    dags: str
    plugins: str
    requirements: str


class AirflowCode(Construct):
    """Uploads Airflow's code.

    The names of the plugins and requirements files contain the hash of their content. Amazon MWAA reads these files
    only when its environment is updated, and CloudFormation updates the environment only when one of its properties
    changes. The hash changes the file name and thus the property, so new content reaches Airflow's workers. Files of
    earlier deployments stay in the bucket, because a rollback needs them. DAG files have fixed names, because Amazon
    MWAA reads them every 30 seconds. A DAG file that is no longer in the project is deleted from the bucket.
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
        # Without this the CDK grants broad actions such as s3:GetObject* and s3:List*. The statements below list
        # the actions that the function needs.
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
    """Writes plugins-<hash>.zip and requirements-<hash>.txt into a new staging folder. Returns the bucket's keys."""
    staging.mkdir(parents=True)
    zipped = staging / "plugins.zip"
    zip_folder(plugins, zipped)
    return CodeKeys(
        dags="dags",
        plugins=_under_hashed_name(zipped, staging),
        requirements=_under_hashed_name(Path(shutil.copy(requirements, staging / "requirements.txt")), staging),
    )


def zip_folder(folder: Path, target: Path) -> None:
    """Zips the content of a folder, without the folder itself. Equal contents give equal bytes."""
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
    """ARN of the assets bucket that `cdk bootstrap` creates."""
    qualifier = Stack.of(scope).synthesizer.bootstrap_qualifier
    return Fn.sub(f"arn:${{AWS::Partition}}:s3:::cdk-{qualifier}-assets-${{AWS::AccountId}}-${{AWS::Region}}")
