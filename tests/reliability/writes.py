"""One case for every RPC that changes something: the call, what it must change, and another body for its request_id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

from memd_client import AsyncClient, Event, Outcome
from memd_client.errors import NotFound

Send: TypeAlias = Callable[[AsyncClient, str], Awaitable[Any]]
"""Client and request_id to the reply."""


@dataclass(frozen=True, slots=True)
class Case:
    """``probe`` counts what the call changes, and must change by ``delta`` exactly; ``other`` is another request."""

    call: Send
    other: Send
    probe: Callable[[], Awaitable[int]]
    delta: int


async def _version(memd: AsyncClient, memory_id: str) -> int:
    try:
        return (await memd.get(memory_id)).version
    except NotFound:
        return 0


async def _events(memd: AsyncClient) -> int:
    return sum([event.count async for event in memd.episodes()])


def _turn(n: int, several: int) -> int:
    """Which of several things the n-th request is about: each kind comes to all of them, however many kinds there are."""
    return n // len(CASES) % several


async def observe(memd: AsyncClient, n: int) -> Case:
    two = [Event(f"first {n}"), Event(f"second {n}")]
    return Case(
        lambda c, r: c.observe(two, request_id=r),
        lambda c, r: c.observe(f"another {n}", request_id=r),
        lambda: _events(memd),
        2,
    )


async def remember(memd: AsyncClient, n: int) -> Case:
    memory_id = f"m{_turn(n, 5)}"
    return Case(
        lambda c, r: c.remember(f"content {n}", memory_id=memory_id, request_id=r),
        lambda c, r: c.remember(f"another {n}", memory_id=memory_id, request_id=r),
        lambda: _version(memd, memory_id),
        1,
    )


async def update(memd: AsyncClient, n: int) -> Case:
    memory_id = f"u{_turn(n, 5)}"
    await memd.remember("to be changed", memory_id=memory_id)
    return Case(
        lambda c, r: c.update(memory_id, content=f"changed {n}", request_id=r),
        lambda c, r: c.update(memory_id, tags=["another"], request_id=r),
        lambda: _version(memd, memory_id),
        1,
    )


async def restore(memd: AsyncClient, n: int) -> Case:
    memory_id = f"r{n}"
    await memd.remember("first", memory_id=memory_id)
    await memd.update(memory_id, content="second")
    return Case(
        lambda c, r: c.restore_revision(memory_id, 1, request_id=r),
        lambda c, r: c.restore_revision(memory_id, 2, request_id=r),
        lambda: _version(memd, memory_id),
        1,
    )


async def forget(memd: AsyncClient, n: int) -> Case:
    """By ids, or everything of a user."""
    user = memd.scoped(user_id=f"forgotten-{n}", session_id=f"f{n}")
    await user.remember(["one", "two"])
    await user.observe("seen")
    ids = [memory.memory_id async for memory in user.list()]

    async def left() -> int:
        return len([memory async for memory in user.list()]) + await _events(user)

    if _turn(n, 2):
        return Case(
            lambda c, r: c.scoped(user_id=f"forgotten-{n}").forget(ids, request_id=r),
            lambda c, r: c.scoped(user_id=f"forgotten-{n}").forget("another", request_id=r),
            left,
            -2,
        )
    return Case(
        lambda c, r: c.scoped(user_id=f"forgotten-{n}", session_id="").forget(everything=True, request_id=r),
        lambda c, r: c.scoped(user_id="another", session_id="").forget(everything=True, request_id=r),
        left,
        -3,
    )


async def clear_working_memory(memd: AsyncClient, n: int) -> Case:
    session = memd.scoped(session_id=f"clear-{n}")
    await session.observe([Event("one"), Event("two")])

    async def items() -> int:
        return len((await session.working_memory()).items)

    return Case(
        lambda c, r: c.scoped(session_id=f"clear-{n}").clear_working_memory(request_id=r),
        lambda c, r: c.scoped(session_id="another").clear_working_memory(request_id=r),
        items,
        -2,
    )


async def end_session(memd: AsyncClient, n: int) -> Case:
    await memd.scoped(session_id=f"end-{n}").observe("seen")

    async def ended() -> int:
        return sum([session.end_time is not None async for session in memd.sessions()])

    return Case(
        lambda c, r: c.scoped(session_id=f"end-{n}").end_session(request_id=r),
        lambda c, r: c.scoped(session_id=memd.scope.session_id).end_session(request_id=r),
        ended,
        1,
    )


async def update_session_settings(memd: AsyncClient, n: int) -> Case:
    session = memd.scoped(session_id=f"own-{n}")

    async def seq() -> int:
        return (await session.working_memory()).seq

    return Case(
        lambda c, r: c.scoped(session_id=f"own-{n}").update_session_settings(compress_keep=1 + n % 9, request_id=r),
        lambda c, r: c.scoped(session_id=f"own-{n}").update_session_settings(compress_keep=99, request_id=r),
        seq,
        1,
    )


async def put_procedure(memd: AsyncClient, n: int) -> Case:
    key = f"p{_turn(n, 3)}"

    async def version() -> int:
        try:
            return (await memd.get_procedure(key)).version
        except NotFound:
            return 0

    return Case(
        lambda c, r: c.put_procedure(key, f"steps {n}", request_id=r),
        lambda c, r: c.put_procedure(key, f"another {n}", request_id=r),
        version,
        1,
    )


async def delete_procedure(memd: AsyncClient, n: int) -> Case:
    key = f"d{n}"
    await memd.put_procedure(key, "first")
    await memd.put_procedure(key, "second")

    async def versions() -> int:
        return len([one async for one in memd.list_procedures(key=key)])

    return Case(
        lambda c, r: c.delete_procedure(key, request_id=r),
        lambda c, r: c.delete_procedure("another", request_id=r),
        versions,
        -2,
    )


async def report_outcome(memd: AsyncClient, n: int) -> Case:
    key = "reported"
    await memd.put_procedure(key, "steps")

    async def successes() -> int:
        return (await memd.get_procedure(key)).successes

    return Case(
        lambda c, r: c.report_outcome(key, 1, Outcome.SUCCESS, request_id=r),
        lambda c, r: c.report_outcome(key, 1, Outcome.FAILURE, request_id=r),
        successes,
        1,
    )


async def save_checkpoint(memd: AsyncClient, n: int) -> Case:
    task = f"t{_turn(n, 3)}"

    async def version() -> int:
        try:
            return (await memd.load_checkpoint(task)).version
        except NotFound:
            return 0

    return Case(
        lambda c, r: c.save_checkpoint(task, b"state %d" % n, request_id=r),
        lambda c, r: c.save_checkpoint(task, b"another %d" % n, request_id=r),
        version,
        1,
    )


async def delete_checkpoint(memd: AsyncClient, n: int) -> Case:
    task = f"gone-{n}"
    await memd.save_checkpoint(task, b"one")
    await memd.save_checkpoint(task, b"two")

    async def kept() -> int:
        return len([one async for one in memd.list_checkpoints(task_id=task)])

    return Case(
        lambda c, r: c.delete_checkpoint(task, request_id=r),
        lambda c, r: c.delete_checkpoint("another", request_id=r),
        kept,
        -2,
    )


async def begin_step(memd: AsyncClient, n: int) -> Case:
    async def steps() -> int:
        return len([one async for one in memd.list_steps(f"ledger-{n}")])

    return Case(
        lambda c, r: c.begin_step(f"ledger-{n}", "s", lease=timedelta(hours=1), request_id=r),
        lambda c, r: c.begin_step(f"ledger-{n}", "another", request_id=r),
        steps,
        1,
    )


async def update_settings(memd: AsyncClient, n: int) -> Case:
    async def version() -> int:
        return (await memd.namespace_settings()).version

    return Case(
        lambda c, r: c.update_namespace_settings(working_max_items=20 + n % 50, request_id=r),
        lambda c, r: c.update_namespace_settings(working_max_items=80, request_id=r),
        version,
        1,
    )


CASES: Mapping[str, Callable[[AsyncClient, int], Awaitable[Case]]] = {
    "Observe": observe,
    "Remember": remember,
    "UpdateMemory": update,
    "RestoreMemoryRevision": restore,
    "Forget": forget,
    "ClearWorkingMemory": clear_working_memory,
    "EndSession": end_session,
    "UpdateSessionSettings": update_session_settings,
    "PutProcedure": put_procedure,
    "DeleteProcedure": delete_procedure,
    "ReportOutcome": report_outcome,
    "SaveCheckpoint": save_checkpoint,
    "DeleteCheckpoint": delete_checkpoint,
    "BeginStep": begin_step,
    "UpdateNamespaceSettings": update_settings,
}
