"""Draws what a month costs by its audio hours, as SVG with logarithmic axes. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from xml.sax.saxutils import escape

HOURS = (1.0, 10_000.0)
USD = (1.0, 10_000.0)
WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 150, 30, 50
STEPS = 120
COLOURS = {"on_demand": "#0b6e4f", "mwaa": "#1f4e9c", "transcribe": "#b3541e"}
NAMES = {"on_demand": "on demand", "mwaa": "Amazon MWAA", "transcribe": "Amazon Transcribe"}

Line = Callable[[float], float]


def x_of(hours: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * _share(hours, HOURS)


def y_of(usd: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _share(usd, USD)


def _share(value: float, limits: tuple[float, float]) -> float:
    """Where a value stands between the limits, from 0 to 1."""
    low, high = limits
    return math.log(min(max(value, low), high) / low) / math.log(high / low)


def svg(ways: Mapping[str, Line], break_evens: Mapping[str, float], transcribe: Line) -> str:
    """The chart.

    Args:
        ways: US dollars a month by audio hours, by the way to run the DAG.
        break_evens: Audio hours from which each way is cheaper than Amazon Transcribe.
        transcribe: Amazon Transcribe's.
    """
    lines = {**ways, "transcribe": transcribe}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        'font-family="sans-serif" font-size="12">',
        "<title>Cost of a month by its audio hours</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(),
        *(_curve(name, line) for name, line in lines.items()),
        *_labels(lines),
        *(_mark(name, hours, transcribe(hours)) for name, hours in break_evens.items()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid() -> Iterable[str]:
    for power in range(5):
        value = 10.0**power
        x, y = x_of(value), y_of(value)
        yield f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd" fill="none"/>'
        yield f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{value:,.0f}</text>'
        yield f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">audio hours a month</text>'
    yield f'<text x="{LEFT - 8}" y="{TOP - 12}" text-anchor="end">USD</text>'


def _curve(name: str, line: Line) -> str:
    low, high = HOURS
    hours = [low * (high / low) ** (step / STEPS) for step in range(STEPS + 1)]
    points = " ".join(f"{x_of(value):.1f},{y_of(line(value)):.1f}" for value in hours)
    return f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="2.5"/>'


def _labels(lines: Mapping[str, Line]) -> Iterable[str]:
    """The lines' names at their right ends, apart from each other."""
    below = -math.inf
    for name, line in sorted(lines.items(), key=lambda item: y_of(item[1](HOURS[1]))):
        below = max(below + 15, y_of(line(HOURS[1])) + 4)
        yield f'<text x="{WIDTH - RIGHT + 8}" y="{below:.1f}" fill="{COLOURS[name]}">{escape(NAMES[name])}</text>'


def _mark(name: str, hours: float, usd: float) -> str:
    """Where a way becomes cheaper than Amazon Transcribe."""
    x, y, colour = x_of(hours), y_of(usd), COLOURS[name]
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="white" stroke="{colour}" stroke-width="2"/>'
        f'<text x="{x + 9:.1f}" y="{y + 15:.1f}" fill="{colour}">from {hours:,.0f} hours</text>'
    )
