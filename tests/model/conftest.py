from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.model import pipeline


@pytest.fixture(autouse=True)
def memory_aws() -> Iterator[None]:
    """Let the project's code use the AWS in memory."""
    with pipeline.installed():
        yield
