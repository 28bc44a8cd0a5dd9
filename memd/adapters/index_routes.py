"""Which index a namespace is searched by: the one in memory, or Postgres itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from memd.domain.errors import NotReady, StoreBusy
from memd.domain.filters import Filter
from memd.limits import MAX_DEADLINE_S
from memd.ports import IndexAnswer, IndexChange, IndexState, NamespaceIndex, SearchOptions

T = TypeVar("T")
MEMORIES = "memory"


class RemoteIndex(Protocol):
    """Memories, searched elsewhere. On the event loop. NotReady for a namespace that is not there."""

    async def find(
        self, namespace: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> Callable[[], IndexAnswer]:
        """What it finds, by the rest of the work, which may be done in any thread."""

    async def state(self, namespace: str) -> IndexState: ...


class RoutedIndex:
    """Implements ``ports.NamespaceIndex`` and ``ports.SearchedAway``: memories of the namespaces that ``moved`` names are
    searched by ``remote`` on ``loop``, everything else by ``local``. ``moved`` is asked at each search: moving takes effect
    with the next one.

    Where ``remote`` no longer has the namespace, ``local`` answers. Every method that is not a coroutine blocks, and must
    not be called on ``loop`` itself.
    """

    def __init__(
        self,
        local: NamespaceIndex,
        remote: RemoteIndex,
        loop: asyncio.AbstractEventLoop,
        moved: Callable[[str], bool],
    ) -> None:
        self._local = local
        self._remote = remote
        self._loop = loop
        self._moved = moved

    def search(
        self, namespace: str, kind: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        return self.prepare(namespace, kind, query, where, options)(embedding)

    def prepare(
        self, namespace: str, kind: str, query: str, where: Filter, options: SearchOptions
    ) -> Callable[[bytes | None], IndexAnswer]:
        """Nothing is done ahead where Postgres searches: it needs the embedding first."""
        if not self._remotely(namespace, kind):
            return self._local.prepare(namespace, kind, query, where, options)

        def finish(embedding: bytes | None) -> IndexAnswer:
            try:
                return self._wait(self._remote.find(namespace, query, embedding, where, options))()
            except NotReady:
                return self._local.search(namespace, kind, query, embedding, where, options)

        return finish

    def away(self, namespace: str) -> bool:
        return self._moved(namespace)

    async def search_away(
        self, namespace: str, query: str, embedding: bytes | None, where: Filter, options: SearchOptions
    ) -> IndexAnswer:
        try:
            rest = await self._remote.find(namespace, query, embedding, where, options)
        except NotReady:
            rest = partial(self._local.search, namespace, MEMORIES, query, embedding, where, options)
        return await asyncio.to_thread(rest)

    def state(self, namespace: str, kind: str) -> IndexState:
        if self._remotely(namespace, kind):
            try:
                return self._wait(self._remote.state(namespace))
            except NotReady:
                pass
        return self._local.state(namespace, kind)

    def apply(self, changes: Sequence[IndexChange]) -> None:
        self._local.apply(changes)

    def loaded(self) -> int:
        return self._local.loaded()

    def _remotely(self, namespace: str, kind: str) -> bool:
        return kind == MEMORIES and self._moved(namespace)

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(asked, self._loop)
        try:
            return future.result(MAX_DEADLINE_S)
        except TimeoutError as exc:
            future.cancel()
            raise StoreBusy("Postgres did not answer a search in time") from exc
