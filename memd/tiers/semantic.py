"""Semantic memory: knowledge, by meaning and words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from memd.domain.context import KNOWLEDGE_HEADING, KNOWLEDGE_SHARE, memory_item
from memd.domain.errors import LimitExceeded, ModelUnavailable
from memd.domain.filters import And, Compare, Filter, Not
from memd.domain.model import Memory, SourceKind, TierName
from memd.domain.settings import TierSettings
from memd.domain.visibility import visible
from memd.ports import (
    ContextSection,
    IndexAnswer,
    IndexHit,
    MemoryStore,
    NamespaceIndex,
    Recalls,
    SearchedAway,
    SearchOptions,
    TierAnswer,
    TierAsk,
)
from memd.ports import TokenCounter as Counter
from memd.tiers.budget import within_tokens
from memd.tiers.shared import QueryOnce

EMBEDDING_UNAVAILABLE = "EMBEDDING_UNAVAILABLE"
Found: TypeAlias = tuple[tuple[Memory, IndexHit], ...]
_NO_DIGEST = Not(Compare("eq", "source", SourceKind.DIGEST.value))
"""Digests are shown by recency: as knowledge they would stand beside the memories they tell of."""


class SemanticTier:
    """Memories the scope sees, best first. Without an embedding of the query, words alone answer: DEGRADED.

    ``retrieval``: ``hybrid`` (meaning and words), ``vector`` (meaning alone), ``words`` (words alone; no model runs).
    ``elsewhere`` searches what ``index`` does not have in memory.
    """

    name = TierName.SEMANTIC

    def __init__(
        self,
        query: QueryOnce,
        index: NamespaceIndex,
        memories: MemoryStore,
        recalls: Recalls,
        settings: TierSettings,
        counter: Counter,
        elsewhere: SearchedAway | None = None,
    ) -> None:
        self._query = query
        self._index = index
        self._memories = memories
        self._recalls = recalls
        self._settings = settings
        self._counter = counter
        self._elsewhere = elsewhere

    async def recall(self, ask: TierAsk) -> TierAnswer:
        if self._elsewhere is not None and self._elsewhere.away(ask.scope.namespace):
            return await self._away(ask, self._elsewhere)
        if self._settings.retrieval == "words":
            return await asyncio.to_thread(self._by_words, ask)
        words = ask.query if self._settings.retrieval == "hybrid" else ""
        try:
            return await self._query.run(ask, partial(self._prepare, ask, words))
        except (ModelUnavailable, LimitExceeded):
            return await asyncio.to_thread(self._by_words, ask, EMBEDDING_UNAVAILABLE)

    async def _away(self, ask: TierAsk, elsewhere: SearchedAway) -> TierAnswer:
        """Threads that embed go on embedding while another server searches."""
        embedding, reason, words = None, "", ask.query
        if self._settings.retrieval != "words":
            try:
                embedding = await self._query.run(ask, lambda: lambda embedding: embedding)
            except (ModelUnavailable, LimitExceeded):
                reason = EMBEDDING_UNAVAILABLE
        if self._settings.retrieval == "vector" and embedding is not None:
            words = ""
        where, options = _conditions(ask)
        answer = await elsewhere.search_away(ask.scope.namespace, words, embedding, where, options)
        return await asyncio.to_thread(self._found, ask, answer, reason)

    def _by_words(self, ask: TierAsk, reason: str = "") -> TierAnswer:
        return self._prepare(ask, ask.query, reason)(None)

    def _prepare(self, ask: TierAsk, words: str, reason: str = "") -> Callable[[bytes | None], TierAnswer]:
        """Blocking: the search but for the embedding; with that, the rest."""
        search = self._index.prepare(ask.scope.namespace, "memory", words, *_conditions(ask))
        return lambda embedding: self._found(ask, search(embedding), reason)

    def _found(self, ask: TierAsk, answer: IndexAnswer, reason: str) -> TierAnswer:
        """Blocking."""
        namespace = ask.scope.namespace
        rows = self._memories.fetch(namespace, [hit.entry_id for hit in answer.hits]) if answer.hits else []
        found = _paired(answer.hits, rows)
        if ask.options.decay.weight and found:
            found = self._decayed(ask, found)
        self._recalls.note(namespace, [hit.entry_id for _, hit in found], ask.now_us)
        return self._answer(answer, found, reason)

    def _decayed(self, ask: TierAsk, found: Found) -> Found:
        """Among what was found, what was neither recalled nor written lately stands a little later."""
        recalled = self._recalls.last(ask.scope.namespace, [hit.entry_id for _, hit in found])
        scored = [(memory, _decayed(hit, memory, recalled.get(hit.entry_id, 0), ask)) for memory, hit in found]
        return tuple(sorted(scored, key=lambda one: -one[1].score))

    def _answer(self, answer: IndexAnswer, found: Found, reason: str) -> TierAnswer:
        lines = [memory_item(memory, hit.relevance) for memory, hit in found]
        items = within_tokens(lines, self._settings.max_tokens, self._counter)
        reason = reason or answer.degraded
        return TierAnswer(
            self.name,
            found,
            (ContextSection(KNOWLEDGE_HEADING, items, KNOWLEDGE_SHARE),),
            state="DEGRADED" if reason else "OK",
            reason=reason,
            nothing_relevant=answer.nothing_relevant,
            seq=answer.seq,
        )


def _conditions(ask: TierAsk) -> tuple[Filter, SearchOptions]:
    """What may be found, and which versions of it may lend their evidence."""
    where = And((*visible(ask.scope, at_us=ask.as_of_us, now_us=ask.now_us).parts, _NO_DIGEST))
    versions = visible(ask.scope, at_us=ask.as_of_us, now_us=ask.now_us, include_invalid=True)
    if ask.filter is not None:
        where, versions = And((where, ask.filter)), And((versions, ask.filter))
    return where, replace(ask.options, versions=versions)


def _decayed(hit: IndexHit, memory: Memory, recalled_us: int, ask: TierAsk) -> IndexHit:
    taken = ask.options.decay.taken(hit.score, ask.now_us - max(recalled_us, memory.update_time))
    return replace(hit, score=hit.score - taken, cues=lambda: {**hit.cues(), "decay": taken})


def _paired(hits: tuple[IndexHit, ...], rows: list[Memory]) -> Found:
    """Each hit with its row, in the order of the hits; what was deleted since the search is left out."""
    if len(rows) == len(hits):
        return tuple(zip(rows, hits, strict=True))
    by_id = {memory.memory_id: memory for memory in rows}
    return tuple([(by_id[hit.entry_id], hit) for hit in hits if hit.entry_id in by_id])
