"""The files in Airflow's bucket: they are complete, and Amazon MWAA's image can run them."""

import ast
import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.infra.stack_template import PROJECT, Assembly

CONSTRAINTS = PROJECT / "requirements" / "constraints-3.3.1.txt"


def _asset(stack: Assembly, name: str) -> Path:
    [path] = stack.folder.glob(f"asset.*/{name}")
    return path


def _source(folder: str) -> set[str]:
    return {
        path.relative_to(PROJECT / folder).as_posix()
        for path in (PROJECT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (path.name == ".airflowignore" or not path.name.startswith("."))
    }


def test_the_plugins_zip_contains_the_plugins_folder_at_its_root(stack: Assembly) -> None:
    zipped = zipfile.ZipFile(_asset(stack, "plugins-*.zip"))
    assert set(zipped.namelist()) == _source("plugins")
    assert "transcription/__init__.py" in zipped.namelist()
    for name in zipped.namelist():
        assert zipped.read(name) == (PROJECT / "plugins" / name).read_bytes()


def test_the_dags_folder_is_uploaded_unchanged(stack: Assembly) -> None:
    [folder] = {path.parent for path in stack.folder.glob("asset.*/transcription.py")}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == _source("dags")


@pytest.mark.parametrize(
    ("name", "option"), [("plugins-*.zip", "PluginsS3Path"), ("requirements-*.txt", "RequirementsS3Path")]
)
def test_new_content_gets_a_new_file_name_so_that_airflow_reads_it(stack: Assembly, name: str, option: str) -> None:
    path = _asset(stack, name)
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:12] in path.name
    assert stack.environment()[option] == path.name


def test_old_plugins_stay_for_a_rollback_and_old_dags_are_deleted(stack: Assembly) -> None:
    plugins, dags = sorted(
        stack.all("Custom::CDKBucketDeployment").values(), key=lambda d: d.get("DestinationBucketKeyPrefix", "")
    )
    assert plugins["Prune"] is False
    assert "DestinationBucketKeyPrefix" not in plugins
    assert dags["Prune"] is True
    assert dags["DestinationBucketKeyPrefix"] == stack.environment()["DagS3Path"] == "dags"
    assert {d["DestinationBucketName"] for d in (plugins, dags)} == {"<StorageAirflowCode>"}


def test_requirements_name_the_official_constraints_of_the_deployed_version(stack: Assembly) -> None:
    lines = _asset(stack, "requirements-*.txt").read_text().splitlines()
    version = stack.environment()["AirflowVersion"]
    url = f"https://raw.githubusercontent.com/apache/airflow/constraints-{version}/constraints-3.12.txt"
    assert [line for line in lines if line.startswith("--constraint")] == [f'--constraint "{url}"']
    wanted = [line for line in lines if line and line[0] not in "#-"]
    assert wanted
    constrained = _constrained()
    for line in wanted:
        assert _normal(re.split(r"[\[=<>~ ]", line)[0]) in constrained, line


def _constrained() -> set[str]:
    """Names of the distributions in Airflow's constraints, and Airflow's own distributions, which are not in there."""
    lines = CONSTRAINTS.read_text().splitlines()
    own = {"apache-airflow", "apache-airflow-core", "apache-airflow-task-sdk"}
    return own | {_normal(line.split("==")[0]) for line in lines if "==" in line and not line.startswith("#")}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module


@pytest.mark.parametrize(
    "path", sorted([*(PROJECT / "plugins").rglob("*.py"), *(PROJECT / "dags").rglob("*.py")]), ids=lambda p: p.name
)
def test_code_imports_only_packages_in_airflows_image(path: Path) -> None:
    ours = {entry.stem for entry in (PROJECT / "plugins").iterdir()}
    distributions = packages_distributions()
    for module in _imports(path):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names or top in ours:
            continue
        assert {_normal(name) for name in distributions.get(top, [])} & _constrained(), module
        provider = re.match(r"airflow\.providers\.(\w+)", module)
        if provider:  # the constraints list every provider, so check the provider's name
            assert provider[1] == "amazon", f"{module}: this provider is not in requirements.txt"
