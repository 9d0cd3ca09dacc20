"""The plugin's file is loaded by every process of Airflow, so it must be cheap."""

from __future__ import annotations

import subprocess
import sys


def test_the_plugins_file_imports_none_of_the_pages_code() -> None:
    program = (
        "import sys, airflow.plugins_manager; before = set(sys.modules); import transcripts_page_plugin as plugin; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["transcripts_page_plugin"]
