"""Every option of a run, declared once: name, type, range, default, help and where it takes effect.

From here come the DAG's params (`json_schema`), the header of each manifest (`TranscriptionOptions`) and what
the worker does. The form, the plan and the worker check with the same rules, so what the first two accept
never fails in a container. To add an option, add a field and use it.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from . import layout
from .deployment import MAX_CHILDREN
from .model_files import ModelChoice

Options = TypeVar("Options", bound="TranscriptionOptions")

AUTO = "auto"
LANGUAGES = tuple(
    " ".join(
        (
            "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he hi hr ht hu",
            "hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne nl nn no oc pa pl ps pt",
            "ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk ur uz vi yi yo yue zh",
        )
    ).split()
)
"""Whisper's languages: https://github.com/openai/whisper/blob/v20250625/whisper/tokenizer.py"""


class OptionError(ValueError):
    """An option is unknown, out of range or does not fit another one; the message names it and what to do."""


# The types of options. `schema` is what Airflow's form checks, `checked` what the plan and the worker check.


@dataclass(frozen=True)
class Flag:
    """True or false."""

    allowed = "true or false"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}

    def checked(self, value: object) -> Any:
        _require(isinstance(value, bool))
        return value


@dataclass(frozen=True)
class Text:
    """Any text."""

    allowed = "a text"

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}

    def checked(self, value: object) -> Any:
        _require(isinstance(value, str))
        return value or None


@dataclass(frozen=True)
class Moment:
    """A moment as ISO 8601; without an offset it is UTC, and a date alone is its midnight."""

    allowed = "a time such as 2026-11-20T18:00:00Z"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}

    def checked(self, value: object) -> Any:
        _require(isinstance(value, str))
        text = str(value).strip()
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1] in "zZ" else text)
        except ValueError:
            raise _NotAllowed from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


@dataclass(frozen=True)
class Whole:
    """A whole number, both limits included."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.least} to {self.most}"

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def checked(self, value: object) -> Any:
        _require(_is_number(value) and value == int(value) and self.least <= value <= self.most)  # type: ignore
        return int(value)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Number:
    """A number, both limits included."""

    least: float
    most: float

    @property
    def allowed(self) -> str:
        return f"a number from {self.least:g} to {self.most:g}"

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.least, "maximum": self.most}

    def checked(self, value: object) -> Any:
        _require(_is_number(value) and self.least <= value <= self.most)  # type: ignore[operator]
        return value


@dataclass(frozen=True)
class Choice:
    """One of several texts."""

    values: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return " or ".join(self.values)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.values)}

    def checked(self, value: object) -> Any:
        _require(isinstance(value, str) and value in self.values)
        return value


@dataclass(frozen=True)
class Several:
    """Any of several texts, in any order; kept in the order of `values`."""

    values: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return f"a list of {', '.join(self.values)}"

    def schema(self) -> dict[str, Any]:
        return {
            "type": "array",
            "items": {"type": "string", "enum": list(self.values)},
            "examples": list(self.values),
        }

    def checked(self, value: object) -> Any:
        _require(isinstance(value, (list, tuple)) and all(item in self.values for item in value))
        return tuple(item for item in self.values if item in value)  # type: ignore[operator]


@dataclass(frozen=True)
class Language:
    """The code of a language that Whisper knows, or `auto`."""

    allowed = "a code such as en, fr or zh, or auto"

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "examples": [AUTO, *LANGUAGES]}

    def checked(self, value: object) -> Any:
        _require(isinstance(value, str))
        code = str(value).strip().lower()
        _require(not code or code == AUTO or code in LANGUAGES)
        return code or None


@dataclass(frozen=True)
class Boosts:
    """Single words, each with a number."""

    least: float
    most: float

    @property
    def allowed(self) -> str:
        return f'words without spaces, each with a boost from {self.least:g} to {self.most:g}, such as {{"zebra": 7.5}}'

    def schema(self) -> dict[str, Any]:
        boost = {"type": "number", "minimum": self.least, "maximum": self.most}
        return {"type": "object", "propertyNames": {"pattern": r"^\S+$"}, "additionalProperties": boost}

    def checked(self, value: object) -> Any:
        _require(isinstance(value, Mapping))
        for word, boost in value.items():  # type: ignore[attr-defined]
            _require(isinstance(word, str) and re.fullmatch(r"\S+", word) is not None)
            _require(_is_number(boost) and self.least <= boost <= self.most)
        return {word: float(boost) for word, boost in value.items()}  # type: ignore[attr-defined]


# Sections of the form of a run.
RECORDINGS = "What to transcribe"
MODEL = "Model and language"
OUTPUT = "Texts and captions"
LIMITS = "How much at once"
DECODING = "Decoder"
SECTIONS = (RECORDINGS, MODEL, OUTPUT, LIMITS, DECODING)
"""In the order of the form."""


@dataclass(frozen=True)
class Option:
    """What the form, the documents and the checks need to know of an option beside its default."""

    name: str
    type: Any
    """One of the types above."""
    default: Any
    """None: empty, and the engine's or the deployment's own value holds."""
    title: str
    help: str
    """For people, in Markdown."""
    section: str
    needs_scorer: bool
    """Whether it has a meaning only with a scorer."""
    by_engine: bool
    """Whether the engine honours it, if it knows it. Otherwise the worker or the plan does."""

    def json_schema(self) -> dict[str, Any]:
        """JSON Schema of its values.

        An option that may be empty lists `null` last: Airflow's form takes the first of several types for the
        field's kind, and a field without `null` for one that must be filled in.
        """
        schema: dict[str, Any] = self.type.schema()
        may_be_empty = self.default in (None, {}) or isinstance(self.type, Several)
        return {**schema, "type": [schema["type"], "null"]} if may_be_empty else schema

    def checked(self, value: object) -> Any:
        """The value in the form that the pipeline works with.

        Raises:
            OptionError: it is out of range or of another type.
        """
        if value is None:
            return () if isinstance(self.type, Several) else self.default
        try:
            return self.type.checked(value)
        except _NotAllowed:
            raise OptionError(f"{self.name} is {value!r}; it must be {self.type.allowed}") from None


def _option(
    type: Any,
    default: Any,
    *,
    title: str,
    help: str,
    section: str,
    needs_scorer: bool = False,
    by_engine: bool = False,
) -> Any:
    metadata = {
        "type": type,
        "title": title,
        "help": help,
        "section": section,
        "needs_scorer": needs_scorer,
        "by_engine": by_engine,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TranscriptionOptions:
    """The options that reach the worker, in the header of each manifest."""

    output_formats: tuple[str, ...] = _option(
        Several(layout.EXTRA_FORMATS),
        ("json",),
        title="More outputs",
        help="Beside the plain text: words with times (`json`), captions (`srt`, `vtt`). Empty: the plain text only.",
        section=OUTPUT,
    )
    channels: str = _option(
        Choice(("mixed", "separate")),
        "mixed",
        title="Channels",
        help="`separate` transcribes each channel on its own and labels it: for calls with a speaker on each.",
        section=OUTPUT,
    )
    alternatives: int = _option(
        Whole(0, 10),
        0,
        title="Alternatives",
        help="How many other readings of each segment the `json` has.",
        section=OUTPUT,
        by_engine=True,
    )
    hot_words: dict[str, float] = _option(
        Boosts(-100, 100),
        {},
        title="Hot-words",
        help='Words with boosts, for example `{"voicemail": 7.5}`. DeepSpeech needs a scorer for them. Whisper gets '
        "those with a boost above 0 as a prompt, whatever the boost.",
        section=DECODING,
        needs_scorer=True,
        by_engine=True,
    )
    beam_width: int | None = _option(
        # Cost grows with the width, and no text gets better beyond this.
        Whole(1, 10_000),
        None,
        title="Beam width",
        help="Wider is slower and may be more accurate. Empty: the model's own.",
        section=DECODING,
        by_engine=True,
    )
    lm_alpha: float | None = _option(
        Number(0, 10),
        None,
        title="LM alpha",
        help="Weight of the scorer's language model. Give `lm_beta`, too. Empty: the scorer's own.",
        section=DECODING,
        needs_scorer=True,
        by_engine=True,
    )
    lm_beta: float | None = _option(
        Number(-10, 10),
        None,
        title="LM beta",
        help="Bonus for each word. Give `lm_alpha`, too. Empty: the scorer's own.",
        section=DECODING,
        needs_scorer=True,
        by_engine=True,
    )

    language: str | None = _option(
        Language(),
        None,
        title="Language",
        help="What is spoken, for a model that knows several languages: a code such as `fr`, or `auto`. "
        "Empty: the model's own language, or `auto` if it has several.",
        section=MODEL,
        by_engine=True,
    )
    engine: str | None = _option(
        Text(),
        None,
        title="Engine",
        help="Which engine runs the model, if the image has several for it. Empty: the preferred one.",
        section=MODEL,
    )

    def __post_init__(self) -> None:
        # The engines set both at once and do not tell the scorer's own values.
        if (self.lm_alpha is None) != (self.lm_beta is None):
            given, absent = ("lm_alpha", "lm_beta") if self.lm_beta is None else ("lm_beta", "lm_alpha")
            raise OptionError(f"{given} is set and {absent} is not; set both or neither")

    def check_scorer(self, choice: ModelChoice) -> None:
        """Check that the model has a scorer if one of the options needs it.

        Raises:
            OptionError: an option weighs a scorer, and there is no scorer.
        """
        if choice.has_scorer:
            return
        for option in options(type(self)):
            if option.needs_scorer and getattr(self, option.name) != option.default:
                raise OptionError(
                    f"{option.name} works only with a scorer, and the model {choice.model or 'of the image'} has none "
                    f"here; name a scorer in the param scorer, or leave {option.name} out"
                )

    def to_json(self) -> dict[str, Any]:
        """The options that the worker needs, by name, as plain JSON values."""
        return {option.name: getattr(self, option.name) for option in options(TranscriptionOptions)}

    def changed(self) -> dict[str, Any]:
        """The options of `to_json` that differ from their default."""
        defaults = TranscriptionOptions().to_json()
        return {name: value for name, value in self.to_json().items() if value != defaults[name]}


@dataclass(frozen=True)
class RunOptions(TranscriptionOptions):
    """All options of a run: those for the worker, and those for the plan."""

    prefix: str | None = _option(
        Text(),
        None,
        title="Folder",
        help="Only recordings whose key starts with `input/` + this, for example `calls/2026/`. Empty: everything.",
        section=RECORDINGS,
    )
    uploaded_from: str | None = _option(
        Moment(),
        None,
        title="Uploaded from",
        help="Only recordings that were uploaded at this time or later, in UTC. Empty: no limit.",
        section=RECORDINGS,
    )
    uploaded_to: str | None = _option(
        Moment(),
        None,
        title="Uploaded before",
        help="Only recordings that were uploaded before this time, in UTC. Empty: no limit.",
        section=RECORDINGS,
    )
    again: bool = _option(
        Flag(),
        False,
        title="Again",
        help="Also recordings that are transcribed already, in place: with another model or other options. "
        "Combine it with a folder or with the times above.",
        section=RECORDINGS,
    )
    dry_run: bool = _option(
        Flag(), False, title="Dry run", help="Plan and estimate only: no job is submitted.", section=RECORDINGS
    )
    max_instances: int | None = _option(
        Whole(1, MAX_CHILDREN),
        None,
        title="Children at most",
        help="Upper limit of the array job's size. The compute environment limits how many run at once. "
        "Empty: the deployment's default.",
        section=LIMITS,
    )
    audio_minutes_per_child: float = _option(
        Number(0.01, 1_000_000),
        60,
        title="Minutes of audio per child",
        help="Less starts more containers: the run ends sooner, but each start costs money.",
        section=LIMITS,
    )
    max_usd: float | None = _option(
        Number(0, 1_000_000),
        None,
        title="US dollars at most",
        help="Upper limit of the estimated cost of the run's containers. Empty: the deployment's limit, if it has one.",
        section=LIMITS,
    )
    above_max_usd: str = _option(
        Choice(("refuse", "cut")),
        "refuse",
        title="Above that limit",
        help="`refuse`: nothing is started. `cut`: the run takes what fits, the oldest uploads first; the rest waits.",
        section=LIMITS,
    )
    model: str | None = _option(
        Text(),
        None,
        title="Model",
        help="A built-in name, or `s3://bucket/models/fr/model.tflite`, for all recordings of the run. "
        "Empty: that of `models/` + the recording's first folder, or else the image's own.",
        section=MODEL,
    )
    scorer: str | None = _option(
        Text(),
        None,
        title="Scorer",
        help="`s3://…`, a built-in model's name, or `none`. Empty: the model's own.",
        section=MODEL,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        start, end = self.uploaded_from, self.uploaded_to
        if start and end and datetime.fromisoformat(start) >= datetime.fromisoformat(end):
            raise OptionError(f"uploaded_from is {start}, which is not before uploaded_to, {end}; exchange them")

    @property
    def model_choice(self) -> ModelChoice:
        """The model and scorer that the run names."""
        return ModelChoice(self.model, self.scorer)


def options(of: type[TranscriptionOptions]) -> list[Option]:
    """The options of a class, in the order in which it declares them."""
    return [_described(field) for field in dataclasses.fields(of)]


def in_order_of_form() -> list[Option]:
    """All options of a run by section; in each section first those for the plan, then those for the worker."""
    for_worker = {option.name for option in options(TranscriptionOptions)}
    return sorted(options(RunOptions), key=lambda option: (SECTIONS.index(option.section), option.name in for_worker))


def engine_option_names() -> frozenset[str]:
    """Names of the options that an engine honours if it knows them."""
    return frozenset(option.name for option in options(TranscriptionOptions) if option.by_engine)


def _described(field: dataclasses.Field[Any]) -> Option:
    make_default: Any = field.default_factory
    default = field.default if make_default is dataclasses.MISSING else make_default()
    return Option(name=field.name, default=default, **field.metadata)


def parse[Options: "TranscriptionOptions"](of: type[Options], given: Mapping[str, Any]) -> Options:
    """Check options by name and make the typed object.

    Args:
        of: `RunOptions` for a run's params, `TranscriptionOptions` for a manifest's header.
        given: Values by name. An absent name means the default, and so does None, but for a list, which it empties.

    Raises:
        OptionError: a name is unknown, a value is not allowed, or two do not fit each other.
    """
    known = {option.name: option for option in options(of)}
    for name in given:
        if name not in known:
            raise OptionError(f"There is no option {name!r}. {_suggestion(str(name), list(known))}")
    return of(**{name: known[name].checked(value) for name, value in given.items()})


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"The options are {', '.join(sorted(known))}."


class _NotAllowed(Exception):
    """A value is not one of its type's."""


def _require(holds: bool) -> None:
    if not holds:
        raise _NotAllowed


def _is_number(value: object) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )
