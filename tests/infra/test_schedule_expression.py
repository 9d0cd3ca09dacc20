"""A cron expression fires at the same times in Airflow and in EventBridge Scheduler."""

from datetime import datetime, timedelta

import pytest
from croniter import croniter  # type: ignore[import-untyped]

from transcription_stack.schedule_expression import scheduler_expression


def fires(expression: str, moment: datetime) -> bool:
    """Whether an expression of the scheduler, with numbers and lists only, fires in this minute."""
    *fields, year = expression.removeprefix("cron(").removesuffix(")").split()
    assert year == "*"
    assert "?" in (fields[2], fields[4])
    values = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7 + 1)
    return all(
        field in ("*", "?") or value in map(int, field.split(",")) for field, value in zip(fields, values, strict=True)
    )


@pytest.mark.parametrize(
    "cron",
    [
        "0 1 * * *", "*/5 * * * *", "30 3 * * 1-5", "15 */6 * * *", "0 1 1,15 * *", "0 0 * * 0", "0 0 * * 7",
        "0 0 * * 5-7", "0 0 * * SUN,wed", "7 4 * JAN-mar *", "10-20/5 1 * * *", "5/20 2 * * *", "0 1 */10 */2 *",
    ],
)  # fmt: skip
def test_both_fire_in_the_same_minutes(cron: str) -> None:
    expression = scheduler_expression(cron)
    moment, times = datetime(2026, 1, 1), croniter(cron, datetime(2025, 12, 31, 23, 59))
    for _ in range(200):
        upcoming = times.get_next(datetime)
        assert fires(expression, upcoming), (expression, upcoming)
        between = moment + (upcoming - moment) / 2
        if moment < between - timedelta(minutes=1) and between.replace(second=0, microsecond=0) < upcoming:
            between = between.replace(second=0, microsecond=0)
            assert fires(expression, between) == bool(croniter.match(cron, between))
        moment = upcoming


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("0 1 1 * 1", "days of the month or weekdays, not both"),
        ("0 1 * * 1#2", "the weekday '1#2' must be a number, a range or a step"),
        ("0 1 * * FRIDAY", "the weekday 'FRIDAY' must be a number, a range or a step"),
        ("0 22-2 * * *", "the hour '22-2' ends before it begins"),
        ("*/0 1 * * *", "the minute '\\*/0' must be a number"),
    ],
)
def test_what_the_scheduler_cannot_express_is_refused_with_the_reason(cron: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        scheduler_expression(cron)
