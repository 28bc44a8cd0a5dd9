"""The context packer of the Rust core."""

from __future__ import annotations

from collections.abc import Sequence

from memd._core import Section, TokenCounter, pack_context
from memd.ports import ContextSection, PackedContext


class RustContextPacker:
    """Implements ``ports.ContextPacker``; tokens are those of ``counter``."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter

    def ready(self, section: ContextSection, *, count: bool) -> Section:
        made = Section(section.heading, section.items, section.share, section.reverse, section.divisible)
        if count:
            made.count(self._counter)
        return made

    def pack(self, ready: Sequence[Section], budget_tokens: int) -> PackedContext:
        packed = pack_context(self._counter, ready, budget_tokens)
        return PackedContext(packed.text, packed.tokens, tuple(map(len, packed.taken)))
