"""The index benchmark's own arithmetic: right answers, interpolation, sentences, vectors, the plot."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from benches import curves
from benches.index.curve import Point, cheapest, ef_at, ms_at
from benches.index.sentences import MAX_WORDS, of_text
from benches.index.truth import Truth
from benches.index.vectors import sample

CURVE = [Point(10, 0.90, 0.1), Point(20, 0.96, 0.2), Point(40, 0.99, 0.4)]


def test_time_at_a_recall_is_interpolated_between_its_neighbours() -> None:
    assert ms_at(CURVE, 0.93) == pytest.approx(0.15)
    assert ms_at(list(reversed(CURVE)), 0.975) == pytest.approx(0.3)
    assert ms_at(CURVE, 0.96) == pytest.approx(0.2)


def test_time_outside_of_the_curve_is_not_made_up() -> None:
    assert ms_at(CURVE, 0.80) == 0.1
    assert ms_at(CURVE, 0.995) is None
    assert ms_at([], 0.9) is None


def test_the_point_shown_is_the_fastest_that_is_good_enough() -> None:
    assert cheapest([*CURVE, Point(80, 0.999, 0.3)], 0.98) == Point(80, 0.999, 0.3)
    assert cheapest(CURVE, 0.999) == CURVE[-1]
    assert cheapest([], 0.9) is None
    assert ef_at(CURVE, 0.95) == 20
    assert ef_at(CURVE, 0.999) is None


def test_right_answers_are_those_of_a_sorted_scan_in_any_chunking() -> None:
    data = sample("synthetic", 20_000, 20, seed=3)  # more rows than one chunk
    truth = Truth.of(data.rows, data.queries, 10)
    scanned = np.argsort(-(data.queries @ data.rows.T), axis=1)
    assert truth.recall(0, scanned[:, :10].tolist()) == 1
    assert truth.recall(0, scanned[:, 5:15].tolist()) == 0.5
    assert truth.recall(7, scanned[7:9, :10].tolist()) == 1


def test_a_repeated_answer_counts_once_and_a_missing_one_not_at_all() -> None:
    data = sample("synthetic", 100, 1, seed=3)
    truth = Truth.of(data.rows, data.queries, 4)
    best = np.argsort(-(data.rows @ data.queries[0]))[:4].tolist()
    assert truth.recall(0, [[best[0]] * 4]) == 0.25
    assert truth.recall(0, [[]]) == 0


def test_equal_rows_are_equally_right() -> None:
    data = sample("synthetic", 50, 1, seed=3)
    rows = np.concatenate([data.rows, data.rows])
    truth = Truth.of(rows, data.queries, 1)
    best = int(np.argmax(data.rows @ data.queries[0]))
    assert truth.recall(0, [[best]]) == truth.recall(0, [[best + 50]]) == 1


def test_what_the_filter_hides_is_wrong() -> None:
    data = sample("synthetic", 100, 1, seed=3)
    order = np.argsort(-(data.rows @ data.queries[0]))
    visible = np.ones(100, np.bool_)
    visible[order[0]] = False
    truth = Truth.of(data.rows, data.queries, 2, visible)
    assert truth.recall(0, [order[1:3].tolist()]) == 1
    assert truth.recall(0, [order[:2].tolist()]) == 0.5


def test_more_right_answers_than_rows_is_an_error() -> None:
    data = sample("synthetic", 5, 1, seed=3)
    with pytest.raises(RuntimeError, match="take more vectors"):
        Truth.of(data.rows, data.queries, 10)


def test_made_up_vectors_are_unit_and_repeatable() -> None:
    data = sample("synthetic", 300, 30, seed=3)
    assert data.rows.shape == (300, 384)
    assert np.linalg.norm(data.rows, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(data.queries, sample("synthetic", 300, 30, seed=3).queries)
    assert not np.array_equal(data.queries, sample("synthetic", 300, 30, seed=4).queries)


def test_sentences_are_prose_without_code_and_lists_apart() -> None:
    text = """Return the number of rows that the scan has seen.  It is never
    negative, and it does not count what was removed before.

    - the first item of a list that is long enough to stand alone
    - short item

    >>> index.rows_that_the_scan_has_seen_so_far_and_more()
    :param rows: what to count, when there is a choice of things
    """
    assert list(of_text(text)) == [
        "Return the number of rows that the scan has seen.",
        "It is never negative, and it does not count what was removed before.",
        "the first item of a list that is long enough to stand alone",
    ]
    assert not list(of_text("word " * (MAX_WORDS + 1)))
    assert not list(of_text("0x00 0x01 0x02 0x03 0x04 0x05 0x06 0x07"))


def test_the_plot_is_well_formed_and_keeps_to_its_frame() -> None:
    lines = {"one": [(0.5, 0.01), (0.9, 0.1), (1.0, 3.0)], "two & three": [(0.95, 0.2)], "nobody": []}
    root = ElementTree.fromstring(curves.svg("machine", "title", lines))
    circles = root.findall("{*}circle")
    assert len(circles) == 3  # recall 0.5 is left of the frame
    assert all(0 < float(circle.attrib["cx"]) <= 590 for circle in circles)
    assert all(0 < float(circle.attrib["cy"]) < 520 for circle in circles)
