"""The circuit breaker."""

from __future__ import annotations

from memd.adapters.redis.breaker import Breaker


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(3)
    assert [breaker.failed(decisive=False) for _ in range(3)] == [False, False, True]
    assert breaker.open


def test_a_success_starts_the_count_anew() -> None:
    breaker = Breaker(2)
    for _ in range(5):
        assert not breaker.failed(decisive=False)
        assert not breaker.succeeded()
    assert not breaker.open


def test_a_decisive_failure_opens_it_at_once() -> None:
    breaker = Breaker(100)
    assert breaker.failed(decisive=True)
    assert breaker.open


def test_it_opens_and_closes_once() -> None:
    breaker = Breaker(1)
    assert breaker.failed(decisive=False)
    assert not breaker.failed(decisive=True), "it is open already"
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert not breaker.open
