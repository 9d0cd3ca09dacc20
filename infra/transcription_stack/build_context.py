"""Writes the folder for `docker build`: the sources of the worker and of the package `transcription_contract`.

python -m transcription_stack.build_context FOLDER
"""

import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_NOT_SOURCES = shutil.ignore_patterns("__pycache__", ".*_cache")


def stage(target: Path, project: Path = PROJECT) -> Path:
    """Copy the image's sources into a folder. Delete the folder's earlier content first.

    Args:
        target: The folder to write.
        project: The project's root.

    Returns:
        the folder.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(project / "worker_image", target, ignore=_NOT_SOURCES)
    contract = "transcription_contract"
    shutil.copytree(project / "plugins" / contract, target / contract, ignore=_NOT_SOURCES)
    return target


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
