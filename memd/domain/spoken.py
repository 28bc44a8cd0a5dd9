"""Who said it belongs to what was said."""

from __future__ import annotations


def spoken(speaker: str, content: str) -> str:
    """The text a memory is found by and shown as: ``Ada: I moved to Lyon``.

    A turn says "I" where a question says "Ada": without the name the evidence recall at 10 of real conversations falls
    from 68 % to 59 % (docs/benchmarks.md). Content that names its speaker already is taken as it is.
    """
    return content if not speaker or content.startswith(f"{speaker}:") else f"{speaker}: {content}"
