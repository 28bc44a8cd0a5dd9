"""Tool outputs that share a body: which pairs do, and that nothing of the older one is lost."""

from __future__ import annotations

import json
import random

import pytest

from memd.domain.model import Event, EventKind
from memd.domain.shared_body import differences, referring, restored, shared

ROWS = [f"  modified:   src/part_{n}/module_{n * 7 % 91}.py | {n * 13 % 97} +++--" for n in range(60)]
TESTS = [f"tests/test_{n}.py::test_{name} PASSED" for n in range(30) for name in ("reads", "writes")]
PEOPLE = [{"id": n, "name": f"user {n}", "mail": f"u{n}@example.org", "active": n % 3 > 0} for n in range(40)]


def lines(*rows: str) -> str:
    return "\n".join(rows)


def people(**changed: object) -> str:
    return json.dumps([{**one, **changed} if one["id"] == 7 else one for one in PEOPLE])


NEARLY_THE_SAME = {
    "equal": (lines(*ROWS), lines(*ROWS)),
    "another time at the end": (lines(*TESTS, "60 passed in 3.21s"), lines(*TESTS, "60 passed in 2.98s")),
    "one test fails now": (lines(*TESTS), lines(*TESTS[:20], TESTS[20].replace("PASSED", "FAILED"), *TESTS[21:])),
    "a file more": (lines(*ROWS), lines(*ROWS[:30], "  new file:   src/added.py", *ROWS[30:])),
    "a file less": (lines(*ROWS), lines(*ROWS[:30], *ROWS[31:])),
    "a log that went on": (lines(*ROWS), lines(*ROWS, *(f"later {n}" for n in range(300)))),
    "a block moved": (lines(*ROWS), lines(*ROWS[5:], *ROWS[:5])),
    "one value of JSON in one line": (people(active=True), people(active=False)),
    "other line ends at some lines": (lines(*ROWS), lines(*ROWS).replace("\n", "\r\n", 3)),
}
DIFFERENT = {
    "other contents": (lines(*ROWS), lines(*TESTS)),
    "the same form, other numbers in every line": (lines(*ROWS), lines(*(row.replace("1", "2") for row in ROWS))),
    "a common head alone": (lines(*ROWS[:20], *TESTS), lines(*ROWS[:20], *(f"x{n * 37}" for n in range(60)))),
    "half of it": (lines(*ROWS), lines(*ROWS[:30], *TESTS[:30])),
    "JSON of others": (people(), people().replace("user ", "customer ").replace("@example", "@shop")),
    "long words": ("x" * 3_000, "x" * 2_000 + "y" * 1_000),
}


def output(event_id: str, content: str, position: int = 1, **fields: object) -> Event:
    named = {"tool_name": "run", **fields}
    return Event(event_id, EventKind.TOOL_CALL, content, position=position, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("pair", NEARLY_THE_SAME.values(), ids=NEARLY_THE_SAME)
def test_nearly_the_same_is_said_in_a_quarter_and_nothing_is_lost(pair: tuple[str, str]) -> None:
    older, newer = pair
    content = referring(output("a", older), output("b", newer))
    assert content.startswith("[the output of event b")
    assert len(content) < len(older) / 3
    assert restored(content, newer) == older


@pytest.mark.parametrize("pair", DIFFERENT.values(), ids=DIFFERENT)
def test_another_output_stays_as_it_is(pair: tuple[str, str]) -> None:
    older, newer = pair
    assert referring(output("a", older), output("b", newer)) == ""
    assert referring(output("a", newer), output("b", older)) == ""


@pytest.mark.parametrize("seed", range(40))
def test_differences_always_make_the_older_text_again(seed: int) -> None:
    rng = random.Random(seed)

    def text() -> str:
        alphabet = rng.choice(["ab\n", "a,b; \n", 'at 1, for 2 characters: "x"\n', 'é漢\U0001f600\\"\n\r\0'])
        return "".join(rng.choice(alphabet) for _ in range(rng.randrange(0, 600)))

    older, newer = text(), text()
    made, at = [], 0
    for start, length, instead in differences(older, newer):
        made += [newer[at:start], instead]
        at = start + length
    assert "".join([*made, newer[at:]]) == older


def test_texts_of_equal_lines_take_no_long_time() -> None:
    """Quadratic diffs stand still here."""
    older, newer = "}\n" * 40_000, "{\n" + "}\n" * 30_000 + "{\n"
    assert list(differences(older, newer))


def test_each_output_refers_to_the_next_one_like_it() -> None:
    events = [output(name, f"{NEARLY_THE_SAME['equal'][0]}\n{name}", place) for place, name in enumerate("abc", 1)]
    found = list(shared(events, 0))
    assert [(older.event_id, made.body_event_id) for older, made in found] == [("a", "b"), ("b", "c")]
    assert list(shared(events, 3)) == []
    assert [older.event_id for older, _ in shared(events, 2)] == ["a", "b"]


@pytest.mark.parametrize("fields", [{"kept_whole": True}, {"ephemeral": True}, {"tool_name": "other"}], ids=str)
def test_what_shares_no_body(fields: dict[str, object]) -> None:
    text = NEARLY_THE_SAME["equal"][0]
    assert not list(shared([output("a", text, 1), output("b", text, 2, **fields)], 0))
    assert not list(shared([output("a", text, 1, **fields), output("b", text, 2)], 0))


def test_the_size_and_digest_are_those_of_what_the_tool_said() -> None:
    text = NEARLY_THE_SAME["equal"][0]
    ((_, made),) = shared([output("a", text, 1), output("b", text, 2)], 0)
    assert made.original_bytes == len(text.encode())
    extract = output("a", text, 1, original_bytes=10**6, original_sha256=b"\1" * 32)
    ((_, made),) = shared([extract, output("b", text, 2)], 0)
    assert (made.original_bytes, made.original_sha256) == (10**6, b"\1" * 32)
