"""Calls of the MemoryService."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from memd_client import parse, wire, words
from memd_client import types as t
from memd_client._proto.v1 import common_pb2 as common
from memd_client._proto.v1 import memory_service_pb2 as pb
from memd_client.calls.call import Call, new_request_id
from memd_client.enums import EventKind, Outcome, Overflow, SourceKind, Tier
from memd_client.errors import InvalidArgument
from memd_client.filters import Expr
from memd_client.types import KEEP, Keep

_call = partial(Call, "MemoryService")


def recall(
    scope: t.Scope,
    query: str = "",
    *,
    limit: int = 0,
    max_episodes: int | None = None,
    token_budget: int = 0,
    tiers: Sequence[Tier | str] = (),
    filter: Expr | None = None,
    min_relevance: float | None = None,
    as_of: datetime | None = None,
    vector_weight: float | None = None,
    trim_ratio: float | None = None,
    candidates: int | None = None,
    cues: Mapping[str, float] | None = None,
    nothing_below: float | None = None,
    decay_half_life: timedelta | None = None,
    explain: bool = False,
    min_seq: int = 0,
    no_cache: bool = False,
    timeout_s: float | None = None,
) -> Call[t.Recall]:
    """What the agent should have in its context now: one Markdown block, and the parts it was made of.

    ``query`` is what it is about to work on. ``limit`` (0: 5) bounds the memories, ``max_episodes`` (None: 3) the
    episodes, ``token_budget`` (0: 4,000) the context's exact tokens. ``tiers`` picks some of the four. ``filter`` is
    built with ``F``; ``min_relevance`` is a cosine, -1..1. ``as_of`` shows what was valid then. ``vector_weight``,
    ``trim_ratio`` and ``candidates`` tune the ranking, ``cues`` the weights of what counts beside meaning and words, by
    name (0 switches one off, see docs/retrieval.md), ``nothing_below`` the evidence under which ``nothing_relevant`` is set,
    ``decay_half_life`` (None: 30 days) of the cue "decay". ``explain`` shows what each score is made of. ``min_seq``: the
    answer must contain the namespace's changes up to there. ``no_cache`` is for measuring.
    A tier that fails or is late costs its own section only: see ``tier_status``.
    """
    ranking = pb.RankingOptions(
        vector_weight=vector_weight,
        trim_ratio=trim_ratio,
        candidates=candidates,
        nothing_below=nothing_below,
        decay_half_life=wire.duration(decay_half_life),
    )
    if cues:
        ranking.cues.CopyFrom(_cue_weights(cues))
    request = pb.RecallRequest(
        scope=wire.scope(scope),
        query=query,
        limit=limit,
        max_episodes=max_episodes,
        token_budget=token_budget,
        tiers=[words.TIER.number(tier, "tiers") for tier in tiers],
        filter=filter.proto if filter is not None else None,
        min_relevance=min_relevance,
        as_of=wire.timestamp(as_of, "as_of"),
        ranking=ranking if ranking.ListFields() else None,
        explain=explain,
        min_seq=min_seq,
        no_cache=no_cache,
    )
    return _call("Recall", request, parse.recall, timeout_s)


def _cue_weights(cues: Mapping[str, float]) -> pb.CueWeights:
    known = {field.name for field in pb.CueWeights.DESCRIPTOR.fields}
    if unknown := cues.keys() - known:
        raise InvalidArgument(f"unknown cues {sorted(unknown)}; known are {sorted(known)}", field="ranking.cues")
    return pb.CueWeights(**cues)


def observe(
    scope: t.Scope,
    events: str | t.Event | Iterable[t.Event],
    *,
    kind: EventKind | str = EventKind.TURN,
    role: str = "user",
    tool_name: str = "",
    tool_call_id: str = "",
    outcome: Outcome | str | None = None,
    resolves: str = "",
    importance: float | None = None,
    ephemeral: bool = False,
    event_id: str = "",
    event_time: datetime | None = None,
    metadata: t.Metadata | None = None,
    overflow: Overflow | str | None = None,
    keep_whole: bool = False,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Observed]:
    """Append to a session: a text with the keywords that describe it, or ``Event`` objects (the keywords from ``kind``
    to ``metadata`` then do not apply).

    Durable before the reply and seen by the next ``recall``. A long tool output is kept as an extract unless ``keep_whole``.
    ``overflow`` says what becomes of an event over the size limit: by default an extract of a tool output is kept and
    anything else refused; ``"extract"`` keeps one of whatever it is, ``"refuse"`` none. The client's scope needs a
    ``session_id``.
    """
    if isinstance(events, str):
        one = t.Event(
            content=events,
            kind=kind,
            role=role,
            event_id=event_id,
            tool_name=tool_name,
            tool_call_id=tool_call_id,
            outcome=outcome,
            resolves=resolves,
            importance=importance,
            ephemeral=ephemeral,
            event_time=event_time,
            metadata=metadata or {},
        )
        events = [one]
    elif isinstance(events, t.Event):
        events = [events]
    request = pb.ObserveRequest(
        scope=wire.scope(scope),
        events=[_event(e, f"events[{i}]") for i, e in enumerate(events)],
        overflow=words.OVERFLOW.number(overflow, "overflow") if overflow else pb.ObserveRequest.OVERFLOW_UNSPECIFIED,
        keep_whole=keep_whole,
        request_id=new_request_id(request_id),
    )
    return _call("Observe", request, parse.observed, timeout_s)


def _event(e: t.Event, path: str) -> common.Event:
    return common.Event(
        event_id=e.event_id,
        kind=words.EVENT_KIND.number(e.kind, f"{path}.kind"),
        role=e.role,
        content=e.content,
        tool_name=e.tool_name,
        tool_call_id=e.tool_call_id,
        outcome=common.OUTCOME_UNSPECIFIED if e.outcome is None else words.OUTCOME.number(e.outcome, f"{path}.outcome"),
        resolves=e.resolves,
        importance=e.importance,
        ephemeral=e.ephemeral,
        event_time=wire.timestamp(e.event_time, f"{path}.event_time"),
        metadata=wire.struct(e.metadata, f"{path}.metadata"),
    )


def remember(
    scope: t.Scope,
    memories: str | t.NewMemory | Iterable[str | t.NewMemory],
    *,
    memory_id: str = "",
    metadata: t.Metadata | None = None,
    tags: Sequence[str] = (),
    source: SourceKind | str = SourceKind.USER,
    speaker: str = "",
    event_time: datetime | None = None,
    position: int | None = None,
    importance: float | None = None,
    pinned: bool = False,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    supersedes: str = "",
    ttl: timedelta | None = None,
    event_ids: Sequence[str] = (),
    agent_private: bool = False,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Remembered]:
    """Store memories, all or none: one text, or several texts and ``NewMemory`` objects.

    The keywords from ``memory_id`` to ``event_ids`` describe every given text; a ``NewMemory`` brings its own. The same
    ``memory_id`` (without one: the same scope and content) is replaced. Durable and found by the very next ``recall``.
    ``agent_private`` keeps them to the scope's agent.
    """

    def described(text: str) -> t.NewMemory:
        return t.NewMemory(
            content=text,
            memory_id=memory_id,
            metadata=metadata or {},
            tags=tags,
            source=source,
            speaker=speaker,
            event_time=event_time,
            position=position,
            importance=importance,
            pinned=pinned,
            valid_from=valid_from,
            valid_to=valid_to,
            supersedes=supersedes,
            ttl=ttl,
            event_ids=event_ids,
        )

    given = [memories] if isinstance(memories, str | t.NewMemory) else list(memories)
    made = [described(m) if isinstance(m, str) else m for m in given]
    request = pb.RememberRequest(
        scope=wire.scope(scope),
        memories=[_new_memory(m, f"memories[{i}]") for i, m in enumerate(made)],
        request_id=new_request_id(request_id),
        agent_private=agent_private,
    )
    return _call("Remember", request, parse.remembered, timeout_s)


def _new_memory(m: t.NewMemory, path: str) -> pb.NewMemory:
    return pb.NewMemory(
        memory_id=m.memory_id,
        content=m.content,
        metadata=wire.struct(m.metadata, f"{path}.metadata"),
        tags=_strings(m.tags, f"{path}.tags"),
        source=words.SOURCE_KIND.number(m.source, f"{path}.source"),
        speaker=m.speaker,
        event_time=wire.timestamp(m.event_time, f"{path}.event_time"),
        position=m.position,
        importance=m.importance,
        pinned=m.pinned,
        valid_from=wire.timestamp(m.valid_from, f"{path}.valid_from"),
        valid_to=wire.timestamp(m.valid_to, f"{path}.valid_to"),
        supersedes=m.supersedes,
        ttl=wire.duration(m.ttl),
        event_ids=_strings(m.event_ids, f"{path}.event_ids"),
        session_id=m.session_id,
    )


def _strings(values: Iterable[str], field: str) -> list[str]:
    """A list of strings; a bare string, which would be taken letter by letter, is refused."""
    if isinstance(values, str):
        raise InvalidArgument("must be a list of strings, not one string", field=field)
    return list(values)


def forget(
    scope: t.Scope,
    memory_ids: str | Iterable[str] | None = None,
    *,
    event_ids: str | Iterable[str] | None = None,
    filter: Expr | None = None,
    everything: bool = False,
    all_users: bool = False,
    task_ids: Sequence[str] = (),
    dry_run: bool = False,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.ForgetReceipt]:
    """Delete for good and get a receipt; say what in exactly one way.

    ``memory_ids``: one id or several. ``filter``: the visible memories that match. ``event_ids``: one event of the scope's
    session or several, and what was made of them. With a memory go the events it was made of, and the summaries and the
    digest that tell them. ``everything``: all of the scope in every tier, with ``task_ids`` their checkpoints and steps
    too, with ``all_users`` the whole namespace (needs the admin right and an otherwise empty scope). ``dry_run`` counts
    and deletes nothing.
    """
    if (memory_ids is not None) + (event_ids is not None) + (filter is not None) + everything != 1:
        raise InvalidArgument("give exactly one of memory_ids, event_ids, filter, everything", field="target")
    if (all_users or task_ids) and not everything:
        raise InvalidArgument("all_users and task_ids go with everything", field="target")
    request = pb.ForgetRequest(scope=wire.scope(scope), dry_run=dry_run, request_id=new_request_id(request_id))
    if memory_ids is not None:
        ids = [memory_ids] if isinstance(memory_ids, str) else list(memory_ids)
        request.ids.CopyFrom(pb.MemoryIds(memory_ids=ids))
    elif event_ids is not None:
        ids = [event_ids] if isinstance(event_ids, str) else list(event_ids)
        request.events.CopyFrom(pb.EventIds(event_ids=ids))
    elif filter is not None:
        request.filter.CopyFrom(filter.proto)
    else:
        target = pb.EverythingInScope(all_users=all_users, task_ids=_strings(task_ids, "task_ids"))
        request.everything.CopyFrom(target)
    return _call("Forget", request, parse.forgotten, timeout_s)


def get(
    scope: t.Scope, memory_id: str, *, as_of: datetime | None = None, timeout_s: float | None = None
) -> Call[t.Memory]:
    """One memory, valid or not; with ``as_of`` only if it was valid then. NotFound also when it belongs to somebody else."""
    request = pb.GetMemoryRequest(scope=wire.scope(scope), memory_id=memory_id, as_of=wire.timestamp(as_of, "as_of"))
    return _call("GetMemory", request, lambda m: parse.memory(m.memory), timeout_s)


def list_page(
    scope: t.Scope,
    *,
    filter: Expr | None = None,
    page_size: int = 0,
    page_token: str = "",
    include_invalid: bool = False,
    as_of: datetime | None = None,
    timeout_s: float | None = None,
) -> Call[t.Page[t.Memory]]:
    """Memories of the scope, newest first.

    ``include_invalid`` adds what is superseded or no longer valid; ``as_of`` shows what was valid then. ``page_size`` 0
    is 100. To go on, pass the same arguments with ``page_token``.
    """
    request = pb.ListMemoriesRequest(
        scope=wire.scope(scope),
        filter=filter.proto if filter is not None else None,
        page_size=page_size,
        page_token=page_token,
        include_invalid=include_invalid,
        as_of=wire.timestamp(as_of, "as_of"),
    )

    def page(m: pb.ListMemoriesResponse) -> t.Page[t.Memory]:
        return t.Page(tuple(map(parse.memory, m.memories)), m.next_page_token)

    return _call("ListMemories", request, page, timeout_s)


def watch(
    scope: t.Scope, after: t.Position | None, filter: Expr | None, *, all_users: bool
) -> Call[tuple[t.Position, t.MemoryChange | None]]:
    """The watch from a position on. One message: the position to go on from, and the change where it has one."""
    request = pb.WatchMemoriesRequest(
        scope=wire.scope(scope),
        after_seq=after.seq if after is not None else None,
        after_epoch=after.epoch if after is not None else 0,
        filter=filter.proto if filter is not None else None,
        all_users=all_users,
    )

    def change(m: pb.WatchMemoriesResponse) -> tuple[t.Position, t.MemoryChange | None]:
        position = t.Position(m.resume_seq, m.epoch)
        if m.change == pb.WatchMemoriesResponse.CHANGE_POSITION:
            return position, None
        memory = parse.memory(m.memory) if m.HasField("memory") else None
        return position, t.MemoryChange(m.memory_id, memory, m.seq, position)

    return _call("WatchMemories", request, change)


def update(
    scope: t.Scope,
    memory_id: str,
    *,
    content: str | Keep = KEEP,
    metadata: t.Metadata | Keep | None = KEEP,
    tags: Sequence[str] | Keep = KEEP,
    speaker: str | Keep = KEEP,
    event_time: datetime | Keep | None = KEEP,
    importance: float | Keep | None = KEEP,
    pinned: bool | Keep = KEEP,
    valid_from: datetime | Keep | None = KEEP,
    valid_to: datetime | Keep | None = KEEP,
    expire_time: datetime | Keep | None = KEEP,
    expected_version: int = 0,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Memory]:
    """Change the given fields of one memory and return it; ``None`` clears a field.

    ``expected_version`` makes it a compare-and-set: VersionConflict when another version is stored; 0 does not check.
    """
    given = {
        "content": content,
        "metadata": metadata if metadata is KEEP else wire.struct(metadata or {}),
        "tags": tags if tags is KEEP else _strings(tags, "memory.tags"),
        "speaker": speaker,
        "event_time": event_time if event_time is KEEP else wire.timestamp(event_time, "memory.event_time"),
        "importance": importance,
        "pinned": pinned,
        "valid_from": valid_from if valid_from is KEEP else wire.timestamp(valid_from, "memory.valid_from"),
        "valid_to": valid_to if valid_to is KEEP else wire.timestamp(valid_to, "memory.valid_to"),
        "expire_time": expire_time if expire_time is KEEP else wire.timestamp(expire_time, "memory.expire_time"),
    }
    fields: dict[str, Any] = {name: value for name, value in given.items() if value is not KEEP}
    request = pb.UpdateMemoryRequest(
        scope=wire.scope(scope),
        memory=common.Memory(memory_id=memory_id, **fields),
        update_mask=FieldMask(paths=list(fields)),
        expected_version=expected_version,
        request_id=new_request_id(request_id),
    )
    return _call("UpdateMemory", request, lambda m: parse.memory(m.memory, parse.receipt(m.receipt)), timeout_s)


def revisions_page(
    scope: t.Scope, memory_id: str, *, page_size: int = 0, page_token: str = "", timeout_s: float | None = None
) -> Call[t.Page[t.Memory]]:
    """States of one memory, newest first; the first is the current one."""
    request = pb.ListMemoryRevisionsRequest(
        scope=wire.scope(scope), memory_id=memory_id, page_size=page_size, page_token=page_token
    )

    def page(m: pb.ListMemoryRevisionsResponse) -> t.Page[t.Memory]:
        return t.Page(tuple(map(parse.memory, m.revisions)), m.next_page_token)

    return _call("ListMemoryRevisions", request, page, timeout_s)


def restore_revision(
    scope: t.Scope,
    memory_id: str,
    version: int,
    *,
    expected_version: int = 0,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Memory]:
    """Make an earlier state current again, as a new version. NotFound when it is no longer kept."""
    request = pb.RestoreMemoryRevisionRequest(
        scope=wire.scope(scope),
        memory_id=memory_id,
        version=version,
        expected_version=expected_version,
        request_id=new_request_id(request_id),
    )
    return _call(
        "RestoreMemoryRevision", request, lambda m: parse.memory(m.memory, parse.receipt(m.receipt)), timeout_s
    )
