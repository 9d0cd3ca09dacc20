"""The worker's settings, read from environment variables and checked before anything starts.

The options of a run are in the header of the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from transcription_contract import deployment, layout

from .failures import ConfigError


@dataclass(frozen=True)
class Environment:
    bucket: str
    manifest_prefix: str
    index: int
    # Used if the manifest names no model. A model of the manifest never uses this scorer.
    model: str  # a name of models.toml, a path, or s3://bucket/key
    scorer: str | None  # the same, or "none"; None: the model's own
    models_dir: Path
    engines_dir: Path

    @property
    def manifest_key(self) -> str:
        return layout.manifest_key(self.manifest_prefix, self.index)


def read_environment(environment: Mapping[str, str]) -> Environment:
    """Read and check the settings. An empty variable counts as absent.

    Raises:
        ConfigError: names the setting, its value and what is allowed.
    """
    given = {name: value for name, value in environment.items() if value.strip()}
    return Environment(
        bucket=_required(given, deployment.BUCKET_VARIABLE, "the bucket with the recordings"),
        manifest_prefix=_required(given, deployment.MANIFEST_PREFIX_VARIABLE, "the prefix of this run's manifests"),
        index=_index(given),
        model=_required(given, deployment.MODEL_VARIABLE, "a model of models.toml, a path or s3://bucket/key"),
        scorer=given.get(deployment.SCORER_VARIABLE),
        engines_dir=Path(given.get(deployment.ENGINES_FOLDER_VARIABLE, Path(__file__).parent.parent / "engines")),
        models_dir=Path(given.get(deployment.MODELS_FOLDER_VARIABLE, Path(__file__).parent.parent / "models")),
    )


def _required(given: Mapping[str, str], name: str, meaning: str) -> str:
    if name not in given:
        raise ConfigError(f"{name} is not set; it must be {meaning}")
    return given[name]


def _index(given: Mapping[str, str]) -> int:
    """The child's index in the array job; 0 in a job that is not an array."""
    text = given.get(deployment.ARRAY_INDEX_VARIABLE, "0").strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) < deployment.MAX_CHILDREN):
        raise ConfigError(
            f"{deployment.ARRAY_INDEX_VARIABLE} is {text!r}; "
            f"it must be a whole number from 0 to {deployment.MAX_CHILDREN - 1}"
        )
    return int(text)
