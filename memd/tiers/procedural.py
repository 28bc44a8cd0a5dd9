"""Procedural memory: how to do things, by trigger or by key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from memd.domain.context import PROCEDURES_HEADING, PROCEDURES_SHARE, procedure_item
from memd.domain.errors import LimitExceeded, ModelUnavailable
from memd.domain.ids import procedure_id
from memd.domain.model import Procedure, Scope, TierName
from memd.domain.settings import TierSettings
from memd.domain.visibility import visible
from memd.limits import MAX_OFFERED_PROCEDURES
from memd.ports import (
    LIVE_SEQ,
    ContextSection,
    IndexHit,
    NamespaceIndex,
    ProcedureStore,
    SearchOptions,
    TierAnswer,
    TierAsk,
    TierState,
)
from memd.ports import TokenCounter as Counter
from memd.tiers.budget import within_tokens
from memd.tiers.semantic import EMBEDDING_UNAVAILABLE
from memd.tiers.shared import QueryOnce

OFFERED_COSINE = 0.30
"""A trigger that shares no word with the query must be this near to be offered: below it, on real conversations, the best
match usually answers nothing."""
_CANDIDATES = 20
_KEYS_OF_A_QUERY = 64

Offer: TypeAlias = tuple[Procedure, float]


@dataclass(frozen=True, slots=True)
class _Search:
    offers: tuple[Offer, ...]
    seq: int
    degraded: str


class ProceduralTier:
    """At most MAX_OFFERED_PROCEDURES procedures the scope sees; an agent's own hides a shared one of the same key.

    ``retrieval``: ``trigger`` finds by meaning and words of trigger and key; ``key`` offers only what the query names by
    its exact key (the whole query, or one of its words). With a ``ttl``, what was neither written nor reported on since is
    left out.
    """

    name = TierName.PROCEDURAL

    def __init__(
        self,
        query: QueryOnce,
        index: NamespaceIndex,
        procedures: ProcedureStore,
        settings: TierSettings,
        counter: Counter,
    ) -> None:
        self._query = query
        self._index = index
        self._procedures = procedures
        self._settings = settings
        self._counter = counter

    async def recall(self, ask: TierAsk) -> TierAnswer:
        if self._settings.retrieval == "key":
            return self._answer(ask, await asyncio.to_thread(self._by_key, ask))
        try:
            return self._answer(ask, await self._query.run(ask, partial(self._prepare, ask)))
        except (ModelUnavailable, LimitExceeded):
            return self._answer(ask, await asyncio.to_thread(self._by_words, ask), EMBEDDING_UNAVAILABLE)

    def _by_key(self, ask: TierAsk) -> _Search:
        ids = _ids_named(ask.scope, ask.query)
        found = self._procedures.fetch(ask.scope.namespace, ids)
        return _Search(tuple((procedure, 0.0) for procedure in found), LIVE_SEQ, "")

    def _by_words(self, ask: TierAsk) -> _Search:
        return self._prepare(ask)(None)

    def _prepare(self, ask: TierAsk) -> Callable[[bytes | None], _Search]:
        """Blocking: the search but for the embedding; with that, the rest."""
        namespace = ask.scope.namespace
        where = visible(ask.scope, at_us=ask.now_us, now_us=ask.now_us)
        options = SearchOptions(limit=_CANDIDATES, trim_ratio=0.0)
        search = self._index.prepare(namespace, "procedure", ask.query, where, options)

        def finish(embedding: bytes | None) -> _Search:
            answer = search(embedding)
            cosines = {hit.entry_id: hit.relevance for hit in answer.hits if _worth_offering(hit)}
            rows = self._procedures.fetch(namespace, list(cosines)) if cosines else []
            return _Search(tuple([(row, cosines[row.procedure_id]) for row in rows]), answer.seq, answer.degraded)

        return finish

    def _answer(self, ask: TierAsk, search: _Search, reason: str = "") -> TierAnswer:
        found = _own_first(self._fresh(search.offers, ask.now_us))[:MAX_OFFERED_PROCEDURES]
        lines = [procedure_item(procedure) for procedure, _ in found]
        items = within_tokens(lines, self._settings.max_tokens, self._counter)
        reason = reason or search.degraded
        section = ContextSection(PROCEDURES_HEADING, items, PROCEDURES_SHARE)
        state: TierState = "DEGRADED" if reason else "OK"
        return TierAnswer(self.name, found, (section,), state=state, reason=reason, seq=search.seq)

    def _fresh(self, offers: Sequence[Offer], now_us: int) -> Sequence[Offer]:
        if self._settings.ttl_us is None:
            return offers
        oldest_us = now_us - self._settings.ttl_us
        return [offer for offer in offers if _last_used(offer[0]) >= oldest_us]


def _worth_offering(hit: IndexHit) -> bool:
    return hit.matched_terms > 0 or hit.relevance >= OFFERED_COSINE


def _last_used(procedure: Procedure) -> int:
    return max(procedure.create_time, procedure.last_outcome_time or 0)


def _own_first(offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """Without the shared procedures whose key the agent has a procedure of its own for."""
    own = {procedure.key for procedure, _ in offers if procedure.scope.agent_id}
    return tuple([offer for offer in offers if offer[0].scope.agent_id or offer[0].key not in own])


def _ids_named(scope: Scope, query: str) -> list[str]:
    keys = list(dict.fromkeys([query.strip(), *query.split()]))[:_KEYS_OF_A_QUERY]
    shared = Scope(scope.namespace, scope.user_id)
    owners = [Scope(scope.namespace, scope.user_id, scope.agent_id), shared] if scope.agent_id else [shared]
    return [procedure_id(owner, key) for key in keys for owner in owners]
