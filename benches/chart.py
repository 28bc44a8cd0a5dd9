"""One SVG with a few bar charts, written by hand: no library, readable in any browser and in a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH = 760
_LABEL_WIDTH = 250
_BAR_WIDTH = 380
_BAR_HEIGHT = 18
_ROW = 26
_HEADING = 34
_MARGIN = 20
_COLOURS = {"memd": "#2a6f97", "floor": "#a9b4c2", "other": "#d08c60"}


@dataclass(frozen=True, slots=True)
class Bar:
    """``kind``: "memd", "floor" (what cannot be undercut) or "other" (somebody else's)."""

    label: str
    value: float
    kind: str = "memd"


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars on one scale from zero, in ``unit``; ``better`` says which way is good."""

    title: str
    unit: str
    better: str
    bars: Sequence[Bar]


def svg(heading: str, charts: Sequence[Chart]) -> str:
    """The charts one below the other, under ``heading``."""
    parts: list[str] = []
    y = _MARGIN + 20
    parts.append(text(_MARGIN, y, heading, size=13, colour="#555"))
    y += 14
    for chart in charts:
        y += _HEADING
        parts.append(text(_MARGIN, y, f"{chart.title} ({chart.unit}, {chart.better})", size=15, weight="bold"))
        y += 12
        longest = max(bar.value for bar in chart.bars)
        for bar in chart.bars:
            parts.append(_bar(y, bar, bar.value / longest if longest else 0.0))
            y += _ROW
    height = y + _MARGIN
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="system-ui, sans-serif">'
    )
    background = f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([opening, background, *parts, "</svg>"]) + "\n"


def _bar(y: int, bar: Bar, share: float) -> str:
    width = max(1.0, share * _BAR_WIDTH)
    baseline = y + _BAR_HEIGHT - 5
    colour = _COLOURS[bar.kind]
    return "\n".join(
        [
            text(_MARGIN + _LABEL_WIDTH - 10, baseline, bar.label, anchor="end"),
            f'<rect x="{_MARGIN + _LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{_BAR_HEIGHT}" fill="{colour}"/>',
            text(_MARGIN + _LABEL_WIDTH + width + 8, baseline, f"{bar.value:,.3g}"),
        ]
    )


def text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 13,
    weight: str = "normal",
    anchor: str = "start",
    colour: str = "#222",
) -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
