"""WatchMemories: the change log as a stream. The log is the buffer: a watcher holds a position and one batch, and a commit
wakes it; nothing is asked again and again where the rows are here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass

from memd.domain.errors import PositionLost
from memd.domain.filters import Filter, matches
from memd.domain.model import Memory, Scope
from memd.domain.visibility import fields_of, owned
from memd.limits import REPLICA_WAIT_S, WATCH_RECHECK_S
from memd.ports import ChangeLog, Head, MemoryLine, MemoryLines, Replica


class Bell:
    """Tells watchers on the event loop that a namespace has changed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: dict[str, set[asyncio.Event]] = {}

    def ring(self, namespaces: Iterable[str]) -> None:
        """From any thread, after a commit; costs one look where nobody listens."""
        if not self._listening or self._loop is None:
            return
        heard = {namespace for namespace in namespaces if namespace in self._listening}
        if heard and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, heard)

    def _wake(self, namespaces: Iterable[str]) -> None:
        for namespace in namespaces:
            for event in self._listening.get(namespace, ()):
                event.set()

    @contextlib.contextmanager
    def listen(self, namespace: str) -> Iterator[asyncio.Event]:
        """Set by every change from here on. On the event loop."""
        self._loop = asyncio.get_running_loop()
        event = asyncio.Event()
        self._listening.setdefault(namespace, set()).add(event)
        try:
            yield event
        finally:
            self._listening[namespace].discard(event)
            if not self._listening[namespace]:
                del self._listening[namespace]


@dataclass(frozen=True, slots=True)
class Watched:
    """One change as the watcher sees it. ``memory`` None: it is gone; ``seq`` 0: nothing for this watcher. ``resume``:
    everything up to it was told."""

    resume: Head
    seq: int = 0
    memory_id: str = ""
    memory: Memory | None = None


@dataclass(frozen=True, slots=True)
class Interest:
    """What a watcher may and wants to see. ``all_users``: the whole namespace."""

    scope: Scope
    filter: Filter | None = None
    all_users: bool = False

    def shown(self, line: MemoryLine) -> bool:
        if line.memory is not None:
            return self.all_users or matches(owned(self.scope), fields_of(line.memory))
        if self.all_users or not line.memory_id:
            return True
        return any(
            by.user_id == self.scope.user_id and by.agent_id in ("", self.scope.agent_id) for by in line.forgotten_for
        )

    def memory(self, line: MemoryLine) -> Memory | None:
        """None also where it does not match (any more)."""
        if line.memory is None or self.filter is None or matches(self.filter, fields_of(line.memory)):
            return line.memory
        return None


class WatchService:
    def __init__(self, log: ChangeLog, bell: Bell, replica: Replica | None = None) -> None:
        """``replica``: what rings the bell, where the rows are elsewhere; it follows what is asked for."""
        self._log = log
        self._bell = bell
        self._replica = replica

    async def watch(self, interest: Interest, after: Head | None) -> AsyncGenerator[Watched, None]:
        """Changes after a position, or from now on, for ever. PositionLost when the log does not reach back to it."""
        namespace = interest.scope.namespace
        with self._bell.listen(namespace) as rung:
            await self._follow(namespace)
            at = after or await self._log.head(namespace)
            begun = False
            while True:
                rung.clear()
                found = await self._log.memory_lines(namespace, at)
                if found is None:
                    raise _lost()
                told = _told(found, interest)
                for change in told:
                    yield change
                moved = found.reached.seq > at.seq
                if not begun or (moved and not (told and told[-1].resume == found.reached)):
                    yield Watched(found.reached)
                begun, at = True, found.reached
                if not moved:
                    await self._next(namespace, rung)

    async def _follow(self, namespace: str) -> None:
        if self._replica is not None:
            await self._replica.follow(namespace, 0, REPLICA_WAIT_S)

    async def _next(self, namespace: str, rung: asyncio.Event) -> None:
        """Until something may have changed. What follows a far truth is asked to go on with it now and then: it lets go of
        what nobody uses."""
        if self._replica is None:
            await rung.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCH_RECHECK_S):
                await rung.wait()
                return
        await self._follow(namespace)


def _told(found: MemoryLines, interest: Interest) -> list[Watched]:
    """A number is passed only with the last of its changes: who falls in between is told all of them again."""
    shown = [line for line in found.lines if interest.shown(line)]
    follows = [line.seq for line in shown[1:]] + [0]
    return [
        Watched(
            Head(line.seq - (line.seq == next_seq), found.reached.epoch),
            line.seq,
            line.memory_id,
            interest.memory(line),
        )
        for line, next_seq in zip(shown, follows, strict=False)
    ]


def _lost() -> PositionLost:
    return PositionLost(
        "the change log does not reach back to this position: list the memories anew and watch from now on"
    )
