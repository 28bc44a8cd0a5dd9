"""The pauses between tries."""

from __future__ import annotations

import pytest
from memd_client import RetryPolicy, errors
from memd_client.retry import pause_s

BUSY = errors.StoreBusy("busy")
STEADY = RetryPolicy(first_s=0.1, factor=2.0, most_s=1.0, jitter=0.0)


def test_pauses_grow_to_the_longest() -> None:
    assert [pause_s(STEADY, BUSY, n, 60.0, 0.0) for n in (1, 2, 3, 4, 5, 60)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_jitter_only_shortens() -> None:
    policy = RetryPolicy(first_s=0.1, jitter=0.5)
    assert pause_s(policy, BUSY, 1, 60.0, 0.0) == pytest.approx(0.1)
    assert pause_s(policy, BUSY, 1, 60.0, 1.0) == pytest.approx(0.05)


def test_the_daemons_wish_is_the_least() -> None:
    assert pause_s(STEADY, errors.NotReady("soon", retry_after_s=0.7), 1, 60.0, 0.0) == 0.7
    assert pause_s(STEADY, errors.NotReady("soon", retry_after_s=0.05), 1, 60.0, 0.0) == 0.1


def test_no_pause_reaches_the_deadline() -> None:
    assert pause_s(STEADY, BUSY, 1, 0.1, 0.0) is None
    assert pause_s(STEADY, BUSY, 1, -1.0, 0.0) is None


def test_only_unavailable_is_tried_again() -> None:
    for kind in errors.BY_REASON.values():
        tried_again = pause_s(STEADY, kind("x"), 1, 60.0, 0.0) is not None
        assert tried_again == issubclass(kind, errors.Unavailable)


def test_tries_are_bounded() -> None:
    assert pause_s(RetryPolicy(attempts=1), BUSY, 1, 60.0, 0.0) is None
    nobody = errors.Unreachable("nobody")
    assert pause_s(RetryPolicy(unreachable=False), nobody, 1, 60.0, 0.0) is None
    assert pause_s(RetryPolicy(unreachable=False), BUSY, 1, 60.0, 0.0) is not None
