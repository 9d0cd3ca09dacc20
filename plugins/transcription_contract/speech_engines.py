"""The speech engines: what each one states in its `engine.toml`, and which of them runs a model.

The worker reads the file. The stack writes its content into the job definition, so that `plan` refuses what the
worker would refuse.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .model_files import ModelChoice, ModelKind, is_no_scorer
from .run_options import AUTO, TranscriptionOptions, engine_option_names

GIGABYTE = 1_000_000_000


class EngineError(ValueError):
    """No engine can do what the run wants. The message says what to change."""


@dataclass(frozen=True, kw_only=True)
class SpeechEngine:
    """An engine as its `engine.toml` describes it."""

    name: str
    """Name of its folder."""
    models: frozenset[str]
    """The kinds of model that it runs, as `ModelKind`'s values."""
    options: frozenset[str]
    """The run options that it honours."""
    scorer: bool = False
    """Whether it can use a scorer."""
    preferred: bool = False
    """Whether it goes before other engines that run the same kind of model."""
    cpu_seconds: float | None = None
    """CPU time for a second of audio, as measured, whatever the model; None: unknown."""
    cpu_seconds_with_scorer: float | None = None
    """The same with a scorer, which prunes the search; None: as without."""
    cpu_seconds_per_gigabyte: float | None = None
    """What each gigabyte of the model's weights adds, for an engine whose models differ in size."""

    @classmethod
    def of_toml(cls, name: str, text: str) -> SpeechEngine:
        """Read an `engine.toml`.

        Raises:
            EngineError: it lacks something, or names an option that does not exist. The message names it.
        """
        try:
            return cls.of_json(name, tomllib.loads(text))
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError(f"engines/{name}/engine.toml cannot be used: {error!r}") from error

    @classmethod
    def of_json(cls, name: str, stated: Mapping[str, Any]) -> SpeechEngine:
        """Read what `to_json` made. Other entries than an engine's own are ignored."""
        engine = cls(
            name=name,
            models=frozenset(stated["models"]),
            options=frozenset(stated["options"]),
            scorer=bool(stated.get("scorer", False)),
            preferred=bool(stated.get("preferred", False)),
            cpu_seconds=stated.get("cpu_seconds"),
            cpu_seconds_with_scorer=stated.get("cpu_seconds_with_scorer"),
            cpu_seconds_per_gigabyte=stated.get("cpu_seconds_per_gigabyte"),
        )
        unknown = engine.options - engine_option_names()
        if unknown:
            raise ValueError(f"there is no run option {', '.join(sorted(unknown))}")
        return engine

    def to_json(self) -> dict[str, Any]:
        """The engine as plain JSON values, without what is empty."""
        stated = {**vars(self), "models": sorted(self.models), "options": sorted(self.options)}
        del stated["name"]
        return {name: value for name, value in stated.items() if value is not None and value is not False}

    def cpu_seconds_of(self, model_bytes: int, *, has_scorer: bool) -> float | None:
        """Estimated CPU time for a second of audio, or None if nobody measured it.

        Args:
            model_bytes: Size of the model's weights.
            has_scorer: Whether a scorer is used with it.
        """
        search = self.cpu_seconds
        if has_scorer and self.cpu_seconds_with_scorer is not None:
            search = self.cpu_seconds_with_scorer
        if self.cpu_seconds_per_gigabyte is None:
            return search
        return (search or 0.0) + self.cpu_seconds_per_gigabyte * model_bytes / GIGABYTE

    def check(self, options: TranscriptionOptions, choice: ModelChoice, language: str | None) -> None:
        """Check that the engine can do what a run wants with a model.

        Args:
            options: Those of the run.
            choice: The model and scorer.
            language: The only language that the model knows; None if there are several, or it is unknown.

        Raises:
            EngineError: it lacks an option, a scorer or the language. The message names both.
            OptionError: an option needs a scorer, and the model has none.
        """
        lacking = sorted(options.changed().keys() & engine_option_names() - self.options)
        model = f"the model {choice.model}" if choice.model else "the image's model"
        if lacking:
            raise EngineError(
                f"The engine {self.name}, which runs {model}, has no {' and no '.join(lacking)}; leave that out, or "
                "take only recordings of other models with the param prefix"
            )
        if options.language not in (None, AUTO, language or options.language):
            raise EngineError(
                f"language is {options.language!r}, and {model} knows only {language!r}; leave language empty, or name "
                "a model of that language"
            )
        if self.scorer:
            options.check_scorer(choice)
        elif choice.scorer and not is_no_scorer(choice.scorer):
            raise EngineError(f"The engine {self.name}, which runs {model}, uses no scorer; leave the scorer out")


def choose_engine(engines: Iterable[SpeechEngine], kind: ModelKind, name: str | None) -> SpeechEngine:
    """The engine that runs a kind of model.

    Args:
        engines: Those that the image has.
        kind: What the model is.
        name: What the run's option `engine` says. None: the preferred one, or else the first by name.

    Raises:
        EngineError: there is none, or the named one cannot run such a model.
    """
    there = sorted(engines, key=lambda engine: (not engine.preferred, engine.name))
    fitting = [engine for engine in there if kind.value in engine.models]
    names = ", ".join(engine.name for engine in fitting)
    if name is not None:
        for engine in fitting:
            if engine.name == name:
                return engine
        raise EngineError(
            f"engine is {name!r}, which cannot run {kind.description} in this image; "
            + (f"it must be one of {names}, or empty" if fitting else "this image has no engine for it")
        )
    if not fitting:
        raise EngineError(
            f"The worker's image has no engine for {kind.description}; it has "
            f"{', '.join(engine.name for engine in there) or 'none'}. The build argument ENGINES adds one "
            "(docs/engines.md)"
        )
    return fitting[0]
