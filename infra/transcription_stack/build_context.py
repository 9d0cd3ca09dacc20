"""Writes the folders for `docker build`: the sources of the worker's image and of the orchestrator's.

python -m transcription_stack.build_context worker FOLDER
python -m transcription_stack.build_context orchestrator FOLDER
"""

import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_NOT_SOURCES = shutil.ignore_patterns("__pycache__", ".*_cache")


def stage(target: Path, project: Path = PROJECT) -> Path:
    """Copy the sources of the worker's image into a folder. Delete the folder's earlier content first.

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


def stage_orchestrator(target: Path, project: Path = PROJECT) -> Path:
    """The same for the orchestrator's image, which has the DAG and all plugins."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(project / "orchestrator_image", target, ignore=_NOT_SOURCES)
    for folder in ("dags", "plugins"):
        shutil.copytree(project / folder, target / folder, ignore=_NOT_SOURCES)
    return target


if __name__ == "__main__":
    {"worker": stage, "orchestrator": stage_orchestrator}[sys.argv[1]](Path(sys.argv[2]))
