"""Which suites `make test` runs, and what it says about them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests import run
from tests.run import NO_TESTS_COLLECTED, SUITES, Suite

ONE, TWO = Suite("one", "airflow", ("tests/one",)), Suite("two", "airflow", ("tests/two",))
BY_NAME = {suite.name: suite for suite in SUITES}
EVERY_TEST = [path.relative_to(run.PROJECT).as_posix() for path in (run.PROJECT / "tests").rglob("test_*.py")]


def names(*given: str) -> dict[str, list[str]]:
    """The paths of the suites that run if these paths are given."""
    chosen = {suite.name: run.selected(suite, given) for suite in SUITES}
    return {name: paths for name, paths in chosen.items() if paths}


@pytest.mark.parametrize("path", EVERY_TEST)
def test_each_test_file_is_run_by_one_suite(path: str) -> None:
    runs = [
        suite.name
        for suite in SUITES
        if any(run.is_in(path, own) for own in suite.paths)
        and not any(run.is_in(path, other) for other in run.ignored(suite))
    ]
    assert runs == [run.owner(path).name]


def test_without_a_path_all_suites_run_but_the_images() -> None:
    assert set(names()) == set(BY_NAME) - {"image"}
    assert names()["worker"] == ["tests/worker", "tests/fine_tuning", "tests/contract"]
    assert names("tests") == names()


def test_a_path_is_run_by_its_suite_only() -> None:
    assert names("tests/worker") == {"worker": ["tests/worker"]}
    assert names("tests/contract/test_layout.py::test_a") == {"rest": ["tests/contract/test_layout.py::test_a"]}
    assert names("tests/pipeline/test_ui.py") == {"ui": ["tests/pipeline/test_ui.py"]}
    assert names("tests/image", "tests/page") == {"page": ["tests/page"], "image": ["tests/image"]}


def test_a_folder_with_tests_of_two_suites_is_run_by_both() -> None:
    assert names("tests/pipeline") == {"pipeline": ["tests/pipeline"], "ui": list(BY_NAME["ui"].paths)}


def test_the_images_suite_runs_beside_all_others_if_it_is_given() -> None:
    assert names("tests", "tests/image") == {**names(), "image": ["tests/image"]}


@pytest.mark.parametrize(
    ("codes", "chosen", "verdict"),
    [
        ((0, 0), False, 0),
        ((0, 1), False, 1),
        ((2, 1), False, 2),
        ((NO_TESTS_COLLECTED, 0), True, 0),
        ((NO_TESTS_COLLECTED, 1), True, 1),
        ((NO_TESTS_COLLECTED, 0), False, NO_TESTS_COLLECTED),
        ((NO_TESTS_COLLECTED, NO_TESTS_COLLECTED), True, NO_TESTS_COLLECTED),
    ],
)
def test_all_suites_must_pass_or_have_none_of_the_chosen_tests(
    codes: tuple[int, int], chosen: bool, verdict: int
) -> None:
    assert run.verdict(dict(zip((ONE, TWO), codes, strict=True)), chosen=chosen) == verdict


def test_a_passed_suite_shows_its_summary_and_a_failed_one_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "PROJECT", tmp_path)
    monkeypatch.setattr(run, "OUTPUTS", tmp_path / "outputs")
    skipped = "=== short test summary info ===\\nSKIPPED because of two\\n=== 1 passed ==="
    commands = {
        ONE: [sys.executable, "-c", "import os; print(os.environ['TEST_SUITE'], 'broke'); print('[ 50%]'); exit(3)"],
        TWO: [sys.executable, "-c", f"print('.... [100%]\\n{skipped}')"],
    }

    assert dict(run.run_together(commands, 1)) == {ONE: 3, TWO: 0}

    said = capsys.readouterr().out
    assert "\none broke\n[ 50%]\none: FAILED (exit code 3)" in said
    assert "SKIPPED because of two" in said
    assert "\ntwo: passed" in said
    assert "[100%]" not in said


@pytest.mark.parametrize(
    ("output", "percentage"), [("", "[  0%]"), ("..", "[  0%]"), ("... [  7%]\n..F [ 34%]\n..", "[ 34%]")]
)
def test_the_progress_is_the_last_percentage_of_pytests_output(output: str, percentage: str) -> None:
    assert run.percentage(output) == percentage
