"""Extracts of tool outputs: what is kept, and within which bounds."""

from __future__ import annotations

import hashlib
import random

import pytest

from memd._core import TokenCounter
from memd.domain.extract import of_tool_output
from memd.limits import EVENT_EXTRACT_BYTES, MAX_RAW_EVENT_BYTES, TOOL_EXTRACT_TOKENS

COUNT = TokenCounter().count_batch
PROGRESS = [f"[{n:05}] compiling module {n} of 3000" for n in range(3_000)]


def log(**lines: str) -> str:
    """3,000 lines of progress, some of them others: ``at_1500="..."``."""
    made = list(PROGRESS)
    for name, line in lines.items():
        made[int(name.removeprefix("at_"))] = line
    return "\n".join(made)


def test_head_tail_and_what_tells_most_are_kept_in_their_order() -> None:
    text = log(
        at_1200="ERROR db.py:88 connection refused on port 5433",
        at_1700="decided to retry with the replica in Graz",
        at_2100="WARN cache is 93 % full",
    )
    kept = of_tool_output(text, COUNT).content.splitlines()
    expected = [
        PROGRESS[0],
        *text.splitlines()[1200:1201],
        *text.splitlines()[1700:1701],
        *text.splitlines()[2100:2101],
    ]
    places = [kept.index(line) for line in [*expected, PROGRESS[-1]]]
    assert places == sorted(places)
    assert kept[places[1] - 1].endswith("lines left out ...]")


def test_the_original_is_told_by_size_and_digest() -> None:
    text = log(at_9="ü")
    cut = of_tool_output(text, COUNT)
    assert cut.original_bytes == len(text.encode())
    assert cut.original_sha256 == hashlib.sha256(text.encode()).digest()


def test_the_left_out_lines_add_up() -> None:
    kept = of_tool_output(log(at_1500="fatal: no space"), COUNT).content.splitlines()
    left_out = [int(line.split()[1].replace(",", "")) for line in kept if line.startswith("[... ")]
    assert sum(left_out) + len(kept) - len(left_out) == len(PROGRESS)


def _random_bytes_as_text(seed: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice("abc \n\t\r\0é漢\U0001f600error") for _ in range(20_000))


@pytest.mark.parametrize(
    "text",
    [
        "x" * 70_000,
        "漢" * 30_000,
        "\n" * 50_000,
        " " * 50_000,
        "error\n" * 20_000,
        "error " * 20_000,
        "a\r\n" * 30_000,
        "İ error\n" * 9_000,
        '{"rows":[' + ",".join(f'{{"id":{n},"ok":true}}' for n in range(4_000)) + "]}",
        *map(_random_bytes_as_text, range(5)),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_whatever_it_is_the_bounds_hold_and_it_is_the_same_again(text: str) -> None:
    cut = of_tool_output(text, COUNT)
    assert COUNT([cut.content])[0] <= TOOL_EXTRACT_TOKENS
    assert len(cut.content.encode()) <= EVENT_EXTRACT_BYTES
    assert cut == of_tool_output(text, COUNT)


def test_the_longest_output_is_cut_as_well() -> None:
    text = ("a\n" * MAX_RAW_EVENT_BYTES)[: MAX_RAW_EVENT_BYTES - 20] + "\npanic: at the end"
    cut = of_tool_output(text, COUNT)
    assert cut.content.endswith("panic: at the end")


def test_a_log_that_repeats_itself_shows_each_kind_of_line() -> None:
    """A thousand errors alike do not keep the one that is another out."""
    made = [f"error: retry {n}" for n in range(2_000)]
    made[1_000] = "exception: disk quota of /var exceeded"
    kept = of_tool_output("\n".join(made), COUNT).content
    assert "disk quota of /var" in kept
