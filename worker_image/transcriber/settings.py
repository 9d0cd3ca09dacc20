"""Every setting of the worker: read from the environment, checked before anything starts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ConfigError

FORMATS = ("json", "srt", "vtt")
CHANNELS = ("mixed", "separate")
MAX_ALTERNATIVES = 10
MAX_INDEX = 9_999  # an AWS Batch array has at most 10,000 children


@dataclass(frozen=True)
class Decoding:
    """How a recording is heard; None leaves what the model or its scorer brings along."""

    channels: str = "mixed"  # or "separate": each transcribed on its own
    alternatives: int = 0  # other readings of each segment, at most
    beam_width: int | None = None
    lm_alpha: float | None = None
    lm_beta: float | None = None
    hot_words: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    bucket: str
    manifest_prefix: str
    index: int
    # Where the manifest names none; a model that it names has nothing to do with the scorer here.
    model: str  # a name of models.toml, a path, or s3://bucket/key
    scorer: str | None  # the same, or "none"; None: the model's own
    models_dir: Path
    decoding: Decoding
    formats: tuple[str, ...]

    @property
    def manifest_key(self) -> str:
        return f"{self.manifest_prefix}{self.index}"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read and check the settings; an empty variable counts as absent.

    Raises:
        ConfigError: names the setting, its value and what is allowed.
    """
    given = {name: value for name, value in environment.items() if value.strip()}
    return Settings(
        bucket=_required(given, "S3_BUCKET_NAME", "the bucket with the recordings"),
        manifest_prefix=_required(given, "MANIFEST_PREFIX", "the prefix of this run's manifests"),
        index=_whole(given, "AWS_BATCH_JOB_ARRAY_INDEX", 0, MAX_INDEX) or 0,
        model=_required(given, "MODEL", "a model of models.toml, a path or s3://bucket/key"),
        scorer=given.get("SCORER"),
        models_dir=Path(given.get("MODELS_DIR", Path(__file__).parent.parent / "models")),
        decoding=_decoding(given),
        formats=_formats(given),
    )


def _decoding(given: Mapping[str, str]) -> Decoding:
    decoding = Decoding(
        channels=_one_of(given, "CHANNELS", CHANNELS),
        alternatives=_whole(given, "ALTERNATIVES", 0, MAX_ALTERNATIVES) or 0,
        # 500 is DeepSpeech's default; cost grows with the width, and beyond this no text gets better.
        beam_width=_whole(given, "BEAM_WIDTH", 1, 10_000),
        lm_alpha=_real(given, "LM_ALPHA", 0.0, 10.0),
        lm_beta=_real(given, "LM_BETA", -10.0, 10.0),
        hot_words=_hot_words(given),
    )
    if (decoding.lm_alpha is None) != (decoding.lm_beta is None):
        # The engines set both at once and do not tell the scorer's own values.
        raise ConfigError("LM_ALPHA and LM_BETA must be set together or not at all")
    return decoding


def _required(given: Mapping[str, str], name: str, meaning: str) -> str:
    if name not in given:
        raise ConfigError(f"{name} is not set; it must be {meaning}")
    return given[name]


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    """The first is the default."""
    value = given.get(name, allowed[0]).strip().lower()
    if value not in allowed:
        raise ConfigError(f"{name} is {given[name]!r}; it must be {' or '.join(allowed)}")
    return value


def _whole(given: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    if name not in given:
        return None
    text = given[name].strip()
    if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
        raise ConfigError(f"{name} is {text!r}; it must be a whole number from {least} to {most}")
    return int(text)


def _real(given: Mapping[str, str], name: str, least: float, most: float) -> float | None:
    if name not in given:
        return None
    try:
        value = float(given[name])
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise ConfigError(f"{name} is {given[name]!r}; it must be a number from {least:g} to {most:g}")
    return value


def _hot_words(given: Mapping[str, str]) -> dict[str, float]:
    if "HOT_WORDS" not in given:
        return {}
    text = given["HOT_WORDS"]
    try:
        words = json.loads(text)
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, dict) or not all(_is_boost(boost) for boost in words.values()):
        raise ConfigError(
            f"HOT_WORDS is {text!r}; it must be a JSON object of words and their boosts from -100 to 100, "
            'such as {"zebra": 7.5}'
        )
    return {word: float(boost) for word, boost in words.items()}


def _is_boost(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -100 <= value <= 100


def _formats(given: Mapping[str, str]) -> tuple[str, ...]:
    names = [name.strip().lower() for name in given.get("OUTPUT_FORMATS", "").split(",")]
    unknown = [name for name in names if name and name not in (*FORMATS, "txt")]
    if unknown:
        raise ConfigError(
            f"OUTPUT_FORMATS is {given['OUTPUT_FORMATS']!r}; it must be a comma list of "
            f"{', '.join(FORMATS)} (txt is always written)"
        )
    return tuple(name for name in FORMATS if name in names)
