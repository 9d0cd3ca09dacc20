"""The checks of cdk-nag and cfn-lint pass on the stack, and cdk-nag fails on a faulty stack."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.infra.stack_template import PROJECT, Assembly

INFRA = PROJECT / ".venv" / "infra" / "bin"


@pytest.mark.parametrize("deployment", ["stack", "closed", "large", "on_demand", "on_demand_large", "public"])
def test_a_deployment_has_no_finding_of_cdk_nag_and_cfn_lint(request: pytest.FixtureRequest, deployment: str) -> None:
    assembly: Assembly = request.getfixturevalue(deployment)  # its synthesis fails on a finding of cdk-nag
    done = subprocess.run([INFRA / "cfn-lint", assembly.template_file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


FAULTS = """
role = stack.node.find_child("Batch").worker_role
role.add_to_policy(iam.PolicyStatement(actions=["s3:*"], resources=["*"]))
s3.Bucket(stack, "Plain")
group = ec2.SecurityGroup(stack, "Open", vpc=stack.node.find_child("Network").vpc)
group.add_ingress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(22))
"""

SYNTHESISE_WITH_FAULTS = """
import os
from pathlib import Path
import app
app.use_bundled_node()
from aws_cdk import aws_ec2 as ec2, aws_iam as iam, aws_s3 as s3
from transcription_stack import nag, stack as module
from transcription_stack.stack_settings import Settings
acknowledge = nag.acknowledge_stack
def with_faults(stack, **constructs):
    acknowledge(stack, **constructs)
    exec(os.environ["FAULTS"])
nag.acknowledge_stack = with_faults
module.synthesise(settings=Settings(), project=Path.cwd(), outdir=Path(os.environ["CDK_OUTDIR"]))
"""


def test_the_synthesis_fails_on_unacknowledged_findings_of_cdk_nag(tmp_path: Path) -> None:
    done = subprocess.run(
        [INFRA / "python", "-c", SYNTHESISE_WITH_FAULTS],
        cwd=PROJECT,
        env=os.environ | {"FAULTS": FAULTS, "CDK_OUTDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    report = (tmp_path / "validation-report.json").read_text()
    for finding in (
        "AwsSolutions-IAM5[Action::s3:*]",
        "AwsSolutions-IAM5[Resource::*]",
        "AwsSolutions-S1",
        "AwsSolutions-S10",
        "AwsSolutions-EC23",
    ):
        assert f'"{finding}"' in report


def test_a_wrong_setting_stops_the_synthesis_with_a_message_of_one_line(run_app: Any) -> None:
    done, folder = run_app({"vcpus_per_child": 2, "memory_gb_per_child": 3})
    assert done.returncode == 1
    assert done.stderr.startswith("Nothing was synthesised. memory_gb_per_child = 3: Fargate offers 2 vCPU with 4, 5,")
    assert len(done.stderr.splitlines()) == 1
    assert not folder.exists()


def test_the_synthesis_needs_no_installed_node_and_gives_the_same_template_again(
    stack: Assembly, tmp_path: Path
) -> None:
    done = subprocess.run(
        [INFRA / "python", PROJECT / "infra" / "app.py"],
        env={"PATH": "/nonexistent", "HOME": str(tmp_path), "CDK_OUTDIR": str(tmp_path / "cdk.out")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert Assembly(tmp_path / "cdk.out").template == stack.template
    assert not (tmp_path / ".cache").exists()  # jsii's cache stays in the project
