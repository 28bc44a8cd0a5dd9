"""What is looked for first, because it is cheap, never hides what the rules would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memd.domain import importance
from memd.domain.model import Event, EventKind

FRAGMENTS = (
    *(
        "remember",
        "Remember that",
        "don't forget",
        "dont forget",
        "keep in mind",
        "Note that",
        "IMPORTANT:",
        "todo",
        "note",
    ),
    *(
        "For the record",
        "from now on",
        "never again",
        "my name is",
        "I",
        "we",
        "my",
        "always",
        "never",
        "usually",
        "really",
    ),
    *(
        "prefer",
        "like",
        "hate",
        "dislike",
        "want",
        "need",
        "name",
        "favorite",
        "favourite",
        "important",
        "thing",
        "wei",
        "ami",
    ),
    *(" ", " ", " ", " ", ":", ".", ",", "\n", "  ", "a", "x", "s"),
)
texts = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=12).map("".join)


@given(texts)
def test_hints_hide_nothing(text: str) -> None:
    mark = importance._MARK.search(text) or importance._LABEL.search(text)
    assert importance.marked(text) == (mark is not None)
    _, reasons = importance.score(Event("", EventKind.TURN, f"{text} and so on", role="user"))
    preference = importance._PREFERENCE.search(f"{text} and so on")
    assert ("preference" in reasons) == (preference is not None)
