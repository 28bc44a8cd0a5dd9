"""When a version of a procedure has become significantly worse: one Bernoulli CUSUM a version.

E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954) 100-115; for success and failure: M. R. Reynolds and
Z. G. Stoumbos, "A CUSUM chart for monitoring a proportion when inspecting continuously", J. Quality Technology 31 (1999).
After every outcome the logarithm of the likelihood ratio of "succeeds at a fallen rate" to "succeeds at the expected rate"
is added to a sum that never falls below zero; at DECISION_LIMIT the version is demoted. What the method does, measured, is
in docs/adr/0012-procedures-that-learn.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

DECISION_LIMIT = 4.5
"""By simulation: at a stable rate of .9 some 2 % of versions reach it within 200 outcomes, and of falls from .9 to .5 more
than 95 % within 30."""
MAX_EXPECTED = 0.85
"""A perfect record does not promise perfection: a version that succeeds nine times in ten is not worse than ten in ten."""
SHIFT = 0.25
"""The fall that is looked for, as a difference of rates; half the expected rate where that is less."""
MIN_OWN_OUTCOMES = 20
"""Of a version that has no good former one: so many outcomes are its record before it is measured by that."""


@dataclass(frozen=True, slots=True)
class Tally:
    successes: int = 0
    failures: int = 0

    @property
    def outcomes(self) -> int:
        return self.successes + self.failures

    def plus(self, success: bool) -> Tally:
        return Tally(self.successes + success, self.failures + (not success))


@dataclass(frozen=True, slots=True)
class Watch:
    """The sum, and the record as it was when the sum was last zero: by Page's estimate, before the fall began."""

    total: float = 0.0
    before: Tally = Tally()


@dataclass(frozen=True, slots=True)
class Demotion:
    """Why a version is no longer trusted. ``baseline_version`` 0: measured by its own earlier record, having no good former
    version. ``since``: its outcomes from the one on that the fall is estimated to have begun with."""

    version: int
    baseline_version: int
    baseline: Tally
    expected_rate: float
    since: Tally
    time: int


def expected_rate(record: Tally) -> float:
    """The posterior mean of the success rate under a uniform prior, at most MAX_EXPECTED."""
    return min(MAX_EXPECTED, (record.successes + 1) / (record.outcomes + 2))


def watch(
    seen: Watch, version: int, record: Tally, success: bool, former: tuple[int, Tally] | None, now_us: int
) -> tuple[Watch, Demotion | None]:
    """After one more outcome of a version that is not demoted: how the test stands, and whether it decided.

    ``record``: the version's, with this outcome. ``former``: number and record of the newest earlier version that is not
    demoted.
    """
    baseline_version, baseline = former or (0, seen.before)
    if former is None and baseline.outcomes < MIN_OWN_OUTCOMES:
        return Watch(0.0, record), None
    expected = expected_rate(baseline)
    total = max(0.0, seen.total + _evidence(expected, success))
    if total == 0.0:
        return Watch(0.0, record), None
    if total < DECISION_LIMIT:
        return replace(seen, total=total), None
    since = Tally(record.successes - seen.before.successes, record.failures - seen.before.failures)
    return replace(seen, total=total), Demotion(version, baseline_version, baseline, expected, since, now_us)


def _evidence(expected: float, success: bool) -> float:
    fallen = expected - min(SHIFT, expected / 2)
    return log(fallen / expected) if success else log((1 - fallen) / (1 - expected))
