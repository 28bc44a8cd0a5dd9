"""The context packer of the Rust core."""

from __future__ import annotations

from collections.abc import Sequence

from memd._core import Section, TokenCounter, pack_context
from memd.ports import ContextSection, PackedContext


class RustContextPacker:
    """Implements ``ports.ContextPacker``; tokens are those of ``counter``."""

    def __init__(self, counter: TokenCounter) -> None:
        self._counter = counter

    def pack(self, sections: Sequence[ContextSection], budget_tokens: int) -> PackedContext:
        core = [Section(s.heading, s.items, s.share, s.reverse) for s in sections]
        packed = pack_context(self._counter, core, budget_tokens)
        return PackedContext(packed.text, packed.tokens, tuple(map(len, packed.taken)))
