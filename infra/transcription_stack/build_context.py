"""The folder that `docker build` gets: the worker's sources and, beside them, the contract's.

python -m transcription_stack.build_context FOLDER
"""

import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
_NOT_SOURCES = shutil.ignore_patterns("__pycache__", ".*_cache")


def stage(target: Path, project: Path = PROJECT) -> Path:
    """Copy what the image is built from into a folder, and return it. What was in the folder before is deleted.

    Args:
        target: The folder.
        project: The project's root.
    """
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(project / "worker_image", target, ignore=_NOT_SOURCES)
    contract = "transcription_contract"
    shutil.copytree(project / "plugins" / contract, target / contract, ignore=_NOT_SOURCES)
    return target


if __name__ == "__main__":
    stage(Path(sys.argv[1]))
