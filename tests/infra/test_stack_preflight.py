"""A deployment does not replace the registry's scanning rules of others."""

from typing import Any

import boto3
import preflight
import pytest
from moto import mock_aws

from tests.infra.stack_template import Assembly

OURS = "cdk-hnb659fds-container-assets-123456789012-us-east-1"


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Gives the registry rules for repositories, as somebody did before."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    def put(*repositories: str) -> None:
        boto3.client("ecr").put_registry_scanning_configuration(
            scanType="BASIC",
            rules=[
                {"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": name, "filterType": "WILDCARD"}]}
                for name in repositories
            ],
        )

    with mock_aws():
        yield put


@pytest.mark.usefixtures("rules")
def test_a_new_account_is_deployed_to(stack: Assembly) -> None:
    preflight.main(stack.folder)


def test_a_stack_is_deployed_again_over_its_own_rule(stack: Assembly, rules: Any) -> None:
    rules(OURS)
    preflight.main(stack.folder)


def test_rules_for_other_repositories_are_not_replaced(stack: Assembly, rules: Any) -> None:
    rules(OURS, "team-*")
    with pytest.raises(SystemExit, match=r'Nothing was deployed.*\(team-\*\).*image_scanning = "OFF"'):
        preflight.main(stack.folder)


def test_scanning_that_is_off_replaces_nothing(large: Assembly, rules: Any) -> None:
    rules("*")
    preflight.main(large.folder)


def test_what_aws_refuses_is_said_in_a_line(stack: Assembly, rules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SystemExit, match=r"Nothing was deployed.*You must specify a region"):
        preflight.main(stack.folder)
