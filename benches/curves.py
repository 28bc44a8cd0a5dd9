"""Recall against time as one SVG: what is lower and further right is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from benches.chart import text

_WIDTH, _HEIGHT = 760, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 170, 70, 60
_RECALLS = (0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_MS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
_COLOURS = ("#2a6f97", "#d08c60", "#6a994e", "#9a6fb0", "#b5484d", "#7d8597", "#c9a227", "#3a3a3a")


def svg(heading: str, title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """``lines``: name to (recall, milliseconds). Both axes are logarithmic, recall by what is missing to 1.

    Recalls below 0.8 are left out; a line ends at its first point of 0.999 or more. The first line is drawn thickest.
    """
    drawn = {name: _within(points) for name, points in lines.items()}
    times = [ms for points in drawn.values() for _, ms in points] or [_MS[0], _MS[-1]]
    low = max((ms for ms in _MS if ms <= min(times)), default=min(times))
    high = min((ms for ms in _MS if ms >= max(times) and ms > low), default=max(times) * 1.1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="system-ui, sans-serif">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        text(20, 28, heading, colour="#555"),
        text(20, 52, title, size=15, weight="bold"),
        *(_gridline(_x(recall), _TOP, _x(recall), _HEIGHT - _BOTTOM) for recall in _RECALLS),
        *(text(_x(recall), _HEIGHT - _BOTTOM + 20, f"{recall:g}", anchor="middle") for recall in _RECALLS),
        text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 16, "recall at 10", anchor="middle"),
    ]
    for ms in (ms for ms in _MS if low <= ms <= high):
        y = _y(ms, low, high)
        parts += [_gridline(_LEFT, y, _WIDTH - _RIGHT, y), text(_LEFT - 8, y + 4, f"{ms:g} ms", anchor="end")]
    for number, (name, points) in enumerate(drawn.items()):
        parts += _line(number, name, [(_x(recall), _y(ms, low, high)) for recall, ms in points])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _within(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that the frame shows, by their time."""
    kept: list[tuple[float, float]] = []
    for recall, ms in sorted(points, key=lambda point: point[1]):
        if recall >= _RECALLS[0]:
            kept.append((recall, ms))
        if recall >= _RECALLS[-1]:
            break
    return kept


def _line(number: int, name: str, points: Sequence[tuple[float, float]]) -> list[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    width = 3 if number == 0 else 1.5
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    label_y = _TOP + 14 + 22 * number
    label_x = _WIDTH - _RIGHT + 16
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{width + 1}" fill="{colour}"/>' for x, y in points),
        f'<rect x="{label_x}" y="{label_y - 10}" width="12" height="12" fill="{colour}"/>',
        text(label_x + 18, label_y, name),
    ]


def _gridline(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#e3e6ea"/>'


def _x(recall: float) -> float:
    missing = [-math.log(1 - shown) for shown in (_RECALLS[0], min(recall, _RECALLS[-1]), _RECALLS[-1])]
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (missing[1] - missing[0]) / (missing[2] - missing[0])


def _y(ms: float, low: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * math.log(ms / low) / math.log(high / low)
