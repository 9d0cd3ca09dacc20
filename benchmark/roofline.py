"""Draws the cost of the acoustic model by rows, and the limit of the machine, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 210, 30, 60
INK, GREY, BLUE, RED = "#222222", "#bbbbbb", "#1f6fb4", "#c0392b"


def picture(limits: Sequence[dict[str, Any]], libdeepspeech: float) -> str:
    """The picture.

    Args:
        limits: For each number of `rows`, the CPU seconds for a second of audio: `measured`, and of the `products`.
        libdeepspeech: The same of libdeepspeech's whole work without a scorer.
    """
    rows = [one["rows"] for one in limits]
    values = [one[name] for one in limits for name in ("measured", "products")] + [libdeepspeech]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))

    def x(count: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log2(count) / math.log2(rows[-1])

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - math.log10(value)) / (high - low)

    drawn = [_axis_y(10.0**power, y(10.0**power)) for power in range(low, high + 1)]
    drawn += [_text(x(count), HEIGHT - BOTTOM + 20, str(count), "middle") for count in rows]
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 15, "pieces at once (rows)", "middle"))
    drawn.append(_text(10, 18, "CPU seconds for a second of audio, one core", "start"))
    lines = [("measured", BLUE, "acoustic part"), ("products", RED, "its products alone: the limit")]
    for name, colour, label in lines:
        points = [(x(one["rows"]), y(one[name])) for one in limits]
        drawn.append(_line(points, colour))
        drawn.append(_text(points[-1][0] + 10, points[-1][1] + 4, label, "start", colour))
    drawn.append(_line([(x(rows[0]), y(libdeepspeech)), (x(rows[-1]), y(libdeepspeech))], GREY))
    drawn.append(_text(x(rows[-1]) + 10, y(libdeepspeech) + 4, "libdeepspeech, decoder too", "start"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def _axis_y(value: float, y: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{GREY}" stroke-width="0.5"/>'
    return line + _text(LEFT - 10, y + 4, f"{value:g}", "end")


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'
