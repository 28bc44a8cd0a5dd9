"""Bugs for the daemon to trip over, by MEMD_TEST_PLANT."""

from __future__ import annotations

from typing import Any

from memd.service.remember import RememberService
from memd.tiers.semantic import SemanticTier


def remember_raises_the_text() -> None:
    """Remember fails with a foreign exception that quotes what was to be stored."""

    async def broken(self: RememberService, scope: Any, drafts: Any, **_: Any) -> Any:
        quoted = drafts[0].memory.content + str(drafts[0].memory.metadata)
        try:
            raise KeyError(quoted)
        except KeyError as exc:
            raise ValueError(f"cannot store {quoted}") from exc

    RememberService.remember = broken  # type: ignore[method-assign]


def semantic_tier_raises_the_query() -> None:
    """One tier of Recall fails with an exception that quotes the query."""

    async def broken(self: SemanticTier, ask: Any) -> Any:
        raise RuntimeError(ask.query)

    SemanticTier.recall = broken  # type: ignore[method-assign]
