"""The sequential test of procedures: what it must show, by simulation with fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from memd.domain.learning import DECISION_LIMIT, MIN_OWN_OUTCOMES, Demotion, Tally, Watch, expected_rate, watch

RUNS = 1_000
OUTCOMES = 200
SOON = 30


def attempts(rng: random.Random, rate: float, count: int) -> Iterator[bool]:
    return (rng.random() < rate for _ in range(count))


def record(rng: random.Random, rate: float, count: int) -> Tally:
    won = sum(attempts(rng, rate, count))
    return Tally(won, count - won)


class Version:
    """A version that is reported on until it is demoted."""

    def __init__(self, former: Tally | None) -> None:
        self.former = None if former is None else (1, former)
        self.seen = Watch()
        self.record = Tally()
        self.demotion: Demotion | None = None

    def report(self, outcomes: Iterator[bool]) -> None:
        for success in outcomes:
            if self.demotion:
                return
            self.record = self.record.plus(success)
            self.seen, self.demotion = watch(self.seen, 2, self.record, success, self.former, 7)


def demoted(seed: int, former: int | None, *phases: tuple[float, int]) -> tuple[float, float]:
    """Shares of the runs that were demoted before the last phase, and of the others in it. ``former``: outcomes of the good
    former version, None without one."""
    rng = random.Random(seed)
    early = late = 0
    for _ in range(RUNS):
        version = Version(None if former is None else record(rng, 0.9, former))
        for rate, count in phases[:-1]:
            version.report(attempts(rng, rate, count))
        if version.demotion:
            early += 1
            continue
        version.report(attempts(rng, *phases[-1]))
        late += version.demotion is not None
    return early / RUNS, late / (RUNS - early)


@pytest.mark.parametrize("former", [20, 50, 100, None])
def test_a_stable_version_is_hardly_ever_demoted(former: int | None) -> None:
    _, stable = demoted(20_261, former, (0.9, OUTCOMES))
    assert stable <= 0.05


@pytest.mark.parametrize("former", [50, 100, 200])
def test_a_version_that_is_worse_from_its_start_is_noticed(former: int) -> None:
    _, noticed = demoted(20_262, former, (0.5, SOON))
    assert noticed >= 0.90


@pytest.mark.parametrize("former", [50, 100, None])
@pytest.mark.parametrize("good", [30, 50, 100, 200])
def test_a_fall_is_noticed_soon(former: int | None, good: int) -> None:
    early, noticed = demoted(20_263, former, (0.9, good), (0.5, SOON))
    assert early <= 0.05
    assert noticed >= 0.90


def test_as_good_as_the_former_one_is_good_enough() -> None:
    """It fell, but to what the former version did: switching would not help."""
    version = Version(Tally(50, 50))
    rng = random.Random(1)
    version.report(attempts(rng, 0.95, 100))
    version.report(attempts(rng, 0.6, 200))
    assert version.demotion is None


def test_the_evidence_begins_where_the_fall_did() -> None:
    version = Version(Tally(90, 10))
    version.report(iter([True] * 40 + [False] * 20))
    assert version.demotion == Demotion(2, 1, Tally(90, 10), 0.85, Tally(0, 5), 7)
    assert version.record == Tally(40, 5)
    assert version.seen.total >= DECISION_LIMIT


def test_alone_it_is_measured_by_its_own_record_once_there_is_one() -> None:
    version = Version(None)
    version.report(iter([True, False] * (MIN_OWN_OUTCOMES // 2)))
    assert version.seen == Watch(0.0, version.record)
    version.report(iter([False] * 40))
    assert version.demotion is not None
    assert version.demotion.baseline_version == 0
    assert version.demotion.since.successes == 0


def test_without_any_record_even_odds_are_expected_and_never_perfection() -> None:
    assert expected_rate(Tally()) == 0.5
    assert expected_rate(Tally(1_000_000, 0)) == 0.85
    assert expected_rate(Tally(0, 1_000_000)) > 0.0
