"""What a benchmark prints: percentiles, targets, the chart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from benches.chart import Bar, Chart, svg
from benches.report import Target, percentile, table


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (0, 1)])
def test_percentiles_are_nearest_rank(percent: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], percent) == expected


def test_a_missed_target_is_named_in_the_table() -> None:
    targets = [Target("ratio", "<=", 1.4), Target("rate", ">=", 0.5)]
    text = table("x", {"ratio": 1.5, "rate": 0.6, "parts": {"one": 1.0}}, targets)
    assert "ratio" in text
    assert text.count("MISSED") == 1
    assert text.count("met") == 1


def test_the_chart_is_well_formed_and_draws_every_bar() -> None:
    chart = Chart("A < B", "ms", "less is better", [Bar("floor", 1.0, "floor"), Bar("memd", 2.0), Bar("zero", 0.0)])
    root = ElementTree.fromstring(svg("machine & all", [chart]))
    assert len(root.findall("{*}rect")) == 1 + 3  # background and bars
