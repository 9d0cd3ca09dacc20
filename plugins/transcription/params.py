"""The DAG's params: what a user may set for one run. Airflow's trigger form shows and checks them.

The form takes a field that may not be null for one that must be filled in, and the first of several types for
the field's kind: hence `null`, and last, for all that may be left empty.
"""

from __future__ import annotations

from airflow.sdk import Param

from transcription import settings
from transcription.planning import MAX_CHILDREN

PARAMS = {
    "prefix": Param(
        None,
        type=["string", "null"],
        title="Folder",
        description="Only what lies under `input/` + this, for example `calls/2026/`. Empty: everything.",
        section="What to transcribe",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Plan and estimate only: no job is submitted.",
        section="What to transcribe",
    ),
    "output_formats": Param(
        None,
        type=["array", "null"],
        items={"type": "string", "enum": ["json", "srt", "vtt"]},
        examples=["json", "srt", "vtt"],
        title="More outputs",
        description="Beside the plain text: words with times (json), captions (srt, vtt).",
        section="What to transcribe",
    ),
    "channels": Param(
        "mixed",
        type="string",
        enum=["mixed", "separate"],
        title="Channels",
        description="`separate` transcribes each channel on its own and labels it: for calls with a speaker on each.",
        section="What to transcribe",
    ),
    "alternatives": Param(
        0,
        type="integer",
        minimum=0,
        maximum=10,
        title="Alternatives",
        description="How many other readings of each segment the `json` has.",
        section="What to transcribe",
    ),
    "max_instances": Param(
        settings.option("max_instances_default"),
        type="integer",
        minimum=1,
        maximum=MAX_CHILDREN,
        title="Children at most",
        description="Upper limit of the array job's size. How many run at once is the compute environment's limit.",
        section="How much at once",
    ),
    "audio_minutes_per_child": Param(
        60,
        type="number",
        exclusiveMinimum=0,
        title="Minutes of audio per child",
        description="Less starts more containers: sooner done, but each start is paid for.",
        section="How much at once",
    ),
    "model": Param(
        None,
        type=["string", "null"],
        title="Model",
        description="A built-in name, or `s3://bucket/models/fr/model.tflite`, for all recordings of the run. "
        "Empty: that of `models/` + the recording's first folder, or else the image's own.",
        section="Model and decoder",
    ),
    "scorer": Param(
        None,
        type=["string", "null"],
        title="Scorer",
        description="`s3://…`, a built-in model's name, or `none`. Empty: the model's own.",
        section="Model and decoder",
    ),
    "hot_words": Param(
        None,
        type=["object", "null"],
        additionalProperties={"type": "number"},
        title="Hot-words",
        description='Words with boosts, for example {"voicemail": 7.5}. They need a scorer.',
        section="Model and decoder",
    ),
    "beam_width": Param(
        None,
        type=["integer", "null"],
        minimum=1,
        maximum=10_000,
        title="Beam width",
        description="Wider is slower and may be more accurate. Empty: the model's own.",
        section="Model and decoder",
    ),
    "lm_alpha": Param(
        None,
        type=["number", "null"],
        title="LM alpha",
        description="Weight of the scorer's language model. Empty: the scorer's own.",
        section="Model and decoder",
    ),
    "lm_beta": Param(
        None,
        type=["number", "null"],
        title="LM beta",
        description="Bonus for each word. Empty: the scorer's own.",
        section="Model and decoder",
    ),
}
