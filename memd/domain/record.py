"""The record of a procedure: what its successes and failures are worth as evidence."""

from __future__ import annotations

from math import sqrt

_Z95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def success_lower_bound(successes: int, failures: int) -> float:
    """Lower bound of the 95 % score interval of the success rate, 0..1; 0 without outcomes.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212.
    """
    n = successes + failures
    if n == 0:
        return 0.0
    rate = successes / n
    square = _Z95 * _Z95
    centre = rate + square / (2 * n)
    spread = _Z95 * sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + square / n))
