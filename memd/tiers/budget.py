"""A tier's own bound on the tokens it may take of a context block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile

from memd.ports import TokenCounter


def within_tokens(items: Sequence[str], max_tokens: int, counter: TokenCounter) -> tuple[str, ...]:
    """The first items that have at most ``max_tokens`` together; all of them for 0."""
    if not max_tokens:
        return tuple(items)
    totals = accumulate(counter.count_batch([f"{item}\n" for item in items]))
    return tuple(items[: sum(1 for _ in takewhile(lambda total: total <= max_tokens, totals))])
