"""How much the reliability tests do: size A in every ``make check``, size R before a release, S to try the tests out."""

from __future__ import annotations

import os

VARIABLE = "MEMD_RELIABILITY_SIZE"
_FACTORS = {"S": 0.1, "A": 1, "R": 10}


def scaled(points: int) -> int:
    """``points`` at size A, ten times as many at size R, a tenth at size S."""
    return max(1, round(points * _FACTORS[os.environ.get(VARIABLE, "A")]))
