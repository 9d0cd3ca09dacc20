"""Which model and scorer hear a recording."""

from __future__ import annotations

from typing import NamedTuple


class ModelChoice(NamedTuple):
    """What a child transcribes with."""

    model: str | None
    """A built-in name or an `s3://` URL; None: the image's own."""
    scorer: str | None
    """The same, or `none`; None: the model's own, which a model in S3 does not have."""


IMAGES_OWN = ModelChoice(None, None)
