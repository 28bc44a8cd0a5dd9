"""Recall in both directions: the hottest conversion there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from memd_client._proto.v1 import memory_service_pb2 as ms

from memd.domain.decay import Decay
from memd.domain.errors import InvalidArgument
from memd.domain.model import Memory, Scope, TierName
from memd.limits import (
    DECAY_HALF_LIFE_US,
    DEFAULT_CANDIDATES,
    DEFAULT_LIMIT,
    DEFAULT_MAX_EPISODES,
    DEFAULT_TOKEN_BUDGET,
    MAX_CANDIDATES,
    MAX_LIMIT,
    MAX_QUERY_BYTES,
    MAX_TOKEN_BUDGET,
    MIN_TOKEN_BUDGET,
)
from memd.ports import IndexHit, SearchOptions, TierAnswer
from memd.rpc import checks, filters
from memd.rpc.convert_common import TIERS, TO_TIER, put_duration
from memd.rpc.convert_memory import put_memory
from memd.rpc.convert_procedure import procedure
from memd.rpc.convert_session import put_event
from memd.service.recall import RecallReply, RecallRequest

ALL_TIERS = frozenset(TierName)
_BY_QUERY = frozenset({TierName.SEMANTIC, TierName.PROCEDURAL})
_STATES: Mapping[str, Any] = {
    "OK": ms.TierStatus.STATE_OK,
    "DEGRADED": ms.TierStatus.STATE_DEGRADED,
    "TIMED_OUT": ms.TierStatus.STATE_TIMED_OUT,
    "SKIPPED": ms.TierStatus.STATE_SKIPPED,
}


def recall_request(message: ms.RecallRequest, scope: Scope) -> RecallRequest:
    """``scope`` is resolved."""
    tiers = frozenset(checks.choice(tier, "tiers", TIERS) for tier in message.tiers) or ALL_TIERS
    query = checks.fits(message.query, "query", MAX_QUERY_BYTES)
    if tiers & _BY_QUERY and not query.strip():
        raise InvalidArgument("query is required unless tiers leaves out semantic and procedural", field="query")
    limit = checks.whole(message.limit, "limit", 1, MAX_LIMIT) if message.limit else DEFAULT_LIMIT
    budget = DEFAULT_TOKEN_BUDGET
    if message.token_budget:
        budget = checks.whole(message.token_budget, "token_budget", MIN_TOKEN_BUDGET, MAX_TOKEN_BUDGET)
    min_relevance = None
    if message.HasField("min_relevance"):
        min_relevance = checks.ratio(message.min_relevance, "min_relevance", least=-1.0)
    episodes = DEFAULT_MAX_EPISODES
    if message.HasField("max_episodes"):
        episodes = checks.whole(message.max_episodes, "max_episodes", 0, MAX_LIMIT)
    return RecallRequest(
        scope=scope,
        query=query,
        limit=limit,
        max_episodes=episodes,
        token_budget=budget,
        tiers=tiers,
        filter=filters.parse(message.filter) if message.HasField("filter") else None,
        min_relevance=min_relevance,
        as_of_us=checks.time(message.as_of, "as_of") if message.HasField("as_of") else None,
        options=_options(message, limit, min_relevance),
        min_seq=message.min_seq,
        use_cache=not message.no_cache,
    )


def _options(message: ms.RecallRequest, limit: int, min_relevance: float | None) -> SearchOptions:
    """A larger limit needs as many candidates, or the list would end early."""
    if not message.HasField("ranking"):
        return SearchOptions(limit, candidates=max(limit, DEFAULT_CANDIDATES), min_relevance=min_relevance)
    asked = message.ranking
    candidates = max(limit, DEFAULT_CANDIDATES)
    if asked.HasField("candidates"):
        candidates = checks.whole(asked.candidates, "ranking.candidates", 1, MAX_CANDIDATES)
    given: dict[str, Any] = {
        name: checks.ratio(getattr(asked, name), f"ranking.{name}")
        for name in ("vector_weight", "trim_ratio")
        if asked.HasField(name)
    }
    cues = {field.name: checks.ratio(weight, f"ranking.cues.{field.name}") for field, weight in asked.cues.ListFields()}
    nothing_below = None
    if asked.HasField("nothing_below"):
        nothing_below = checks.ratio(asked.nothing_below, "ranking.nothing_below", least=-1.0)
    decay = Decay(cues.pop("decay", 0.0), _half_life_us(asked))
    options = SearchOptions(limit, candidates=candidates, min_relevance=min_relevance, cues=cues, decay=decay)
    return replace(options, nothing_below=nothing_below, **given)


def _half_life_us(asked: ms.RankingOptions) -> int:
    if not asked.HasField("decay_half_life"):
        return DECAY_HALF_LIFE_US
    return checks.ttl(asked.decay_half_life, "ranking.decay_half_life")


def recall_response(reply: RecallReply) -> bytes:
    """Serialised, behind what ``found`` has written: messages of one type, one after the other, are their merge."""
    rest = ms.RecallResponse(
        context=reply.context,
        tokens=reply.tokens,
        nothing_relevant=reply.nothing_relevant,
        seq=reply.seq,
        omitted=reply.omitted,
    )
    put_duration(rest.elapsed, reply.elapsed_us)
    for answer in reply.answers:
        _put_status(rest.tier_status.add(), answer)
    return b"".join([*reply.shown, rest.SerializeToString()])


def found(answer: TierAnswer) -> bytes:
    """What a tier found, as a part of the serialised response: made while the model still runs for other tiers."""
    return _found(answer, explain=False)


def found_and_explained(answer: TierAnswer) -> bytes:
    return _found(answer, explain=True)


def _found(answer: TierAnswer, *, explain: bool) -> bytes:
    made = ms.RecallResponse()
    match answer.tier:
        case TierName.WORKING | TierName.EPISODIC:
            events = made.working if answer.tier is TierName.WORKING else made.episodes
            for value in answer.found:
                put_event(events.add(), value)
        case TierName.SEMANTIC:
            for memory, hit in answer.found:
                _put_hit(made.memories.add(), memory, hit, explain=explain)
        case TierName.PROCEDURAL:
            made.procedures.extend([procedure(how_to, relevance) for how_to, relevance in answer.found])
    return made.SerializeToString()


def _put_hit(target: ms.MemoryHit, found: Memory, hit: IndexHit, *, explain: bool) -> None:
    put_memory(target.memory, found)
    target.relevance = hit.relevance
    target.score = hit.score
    if explain:
        parts = target.parts
        parts.vector, parts.words, parts.bm25 = hit.vector_part, hit.word_part, hit.bm25
        parts.matched_terms = hit.matched_terms
        for name, part in hit.cues().items():
            setattr(parts.cues, name, part)


def _put_status(target: ms.TierStatus, answer: TierAnswer) -> None:
    target.tier = TO_TIER[answer.tier]
    target.state = _STATES[answer.state]
    put_duration(target.latency, answer.latency_us)
    if answer.staleness_us:
        put_duration(target.staleness, answer.staleness_us)
    if answer.reason:
        target.reason = answer.reason
