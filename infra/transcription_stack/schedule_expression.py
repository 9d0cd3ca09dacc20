"""Translates the schedule, a cron expression as Airflow reads it, to Amazon EventBridge Scheduler's form.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based
"""

import re
from itertools import chain

# The smallest and largest number in each field of a schedule. In the last one 0 and 7 are Sunday.
CRON_FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}

_NAMES = {
    "month": ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    "weekday": ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
}
_PART = re.compile(r"(?:\*|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>[1-9]\d*))?")


def scheduler_expression(cron: str) -> str:
    """The expression that fires at the same times.

    Args:
        cron: Five fields: minute, hour, day, month, weekday.

    Raises:
        ValueError: the scheduler cannot express the schedule. The message says why and what to do.
    """
    fields = dict(zip(CRON_FIELDS, cron.split(), strict=True))
    numbers = {name: _numbers(name, text) for name, text in fields.items()}
    if numbers["day"] is not None and numbers["weekday"] is not None:
        raise ValueError(
            "with orchestration = 'on_demand' it may name days of the month or weekdays, not both. "
            "Set one of them to *."
        )
    months = _listed(numbers["month"])
    days = _listed(numbers["day"]) if numbers["weekday"] is None else "?"
    weekdays = "?"
    if numbers["weekday"] is not None:
        # The scheduler counts from Sunday, which is 1.
        weekdays = _listed({number % 7 + 1 for number in numbers["weekday"]})
    return f"cron({_listed(numbers['minute'])} {_listed(numbers['hour'])} {days} {months} {weekdays} *)"


def _numbers(field: str, text: str) -> set[int] | None:
    """The numbers that a field allows; None for all of them."""
    if text == "*":
        return None
    return set(chain.from_iterable(_range(field, part) for part in text.split(",")))


def _range(field: str, text: str) -> range:
    found = _PART.fullmatch(text)
    if found is None:
        raise ValueError(f"with orchestration = 'on_demand' the {field} {text!r} must be a number, a range or a step.")
    least, greatest = CRON_FIELDS[field]
    if field == "weekday" and found["first"] is None:
        greatest = 6  # 7 is Sunday again
    first = _number(field, found["first"], least)
    last = _number(field, found["last"], greatest if found["step"] or found["first"] is None else first)
    if last < first:
        raise ValueError(f"the {field} {text!r} ends before it begins. Write it as two ranges.")
    return range(first, last + 1, int(found["step"] or 1))


def _number(field: str, text: str | None, default: int) -> int:
    if text is None:
        return default
    if text.isdigit():
        return int(text)
    names = _NAMES.get(field, ())
    if text.upper() not in names:
        raise ValueError(f"with orchestration = 'on_demand' the {field} {text!r} must be a number, a range or a step.")
    return names.index(text.upper()) + CRON_FIELDS[field][0]


def _listed(numbers: set[int] | None) -> str:
    return "*" if numbers is None else ",".join(map(str, sorted(numbers)))
