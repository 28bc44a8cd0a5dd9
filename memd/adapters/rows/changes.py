"""Lines of a change log in batches that end with a whole change number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def whole_numbers(lines: Sequence[Sequence[Any]], limit: int, head: int) -> tuple[list[Any], int]:
    """Of lines (change number first) that were read with ``limit`` up to ``head``: those whose number is whole, and the
    number that is reached with them. No line, where the first number alone has more."""
    if len(lines) < limit:
        return list(lines), head
    last = lines[-1][0]
    return [line for line in lines if line[0] < last], last - 1
