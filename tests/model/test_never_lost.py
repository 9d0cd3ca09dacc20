"""Random sequences of actions: no upload is lost, overwritten, blocked or misreported.

`python -m tests.model` plays many more sequences than this test.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.model.sequences import Sequence, play, sequences

EXAMPLES = 300


@pytest.mark.usefixtures("memory_aws")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(sequences)
def test_no_upload_is_lost_overwritten_blocked_or_misreported(sequence: Sequence) -> None:
    play(sequence)
