"""WatchMemories against a real daemon: nothing is told twice without need, nothing is missed, nobody sees another's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from memd_client import AsyncClient, Client, F, MemoryChange, Position, errors

from memd import limits
from memd.adapters.sqlite.connection import connect, transaction
from tests.daemon import Daemon

WAIT_S = 30.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path) as running:
        yield running


class Listener:
    """A watch on a thread; it stands when this returns."""

    def __init__(self, client: Client, **wanted: object) -> None:
        self.watch = client.watch(**wanted)  # type: ignore[arg-type]
        self._told: queue.SimpleQueue[MemoryChange | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for change in self.watch:
                self._told.put(change)
        except errors.MemdError as exc:
            self._told.put(exc)

    def next(self) -> tuple[str, str | None]:
        """(id, content) of the next change; content None: gone."""
        told = self._told.get(timeout=WAIT_S)
        assert isinstance(told, MemoryChange), told
        return told.memory_id, told.memory.content if told.memory else None

    def close(self) -> None:
        self.watch.close()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


def _from_the_start(client: Client, **wanted: object) -> Listener:
    return Listener(client, after=Position(0), **wanted)


def test_what_is_stored_changed_and_forgotten_is_told_in_order(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as client:
        listener = _from_the_start(client)
        client.remember("tea", memory_id="drink")
        assert listener.next() == ("drink", "tea")
        client.update("drink", content="coffee")
        assert listener.next() == ("drink", "coffee")
        client.forget("drink")
        assert listener.next() == ("drink", None)
        listener.close()


def test_a_watch_goes_on_where_it_was_when_the_daemon_is_killed(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada", timeout_s=WAIT_S) as client:
        listener = _from_the_start(client)
        told = []
        for number in range(6):
            client.remember(f"fact {number}", memory_id=f"m{number}")
            if number % 2:
                daemon.kill()
                daemon.start()
        told = [listener.next()[0] for _ in range(6)]
        assert told == [f"m{number}" for number in range(6)]
        listener.close()


def test_nobody_is_told_of_anothers_memories(daemon: Daemon) -> None:
    """S2: neither of another namespace's nor of another user's, nor of a private one of an agent; not even ids."""
    with Client(daemon.address, user_id="ada") as ada:
        listener = _from_the_start(ada)
        others = [
            ada.scoped(namespace="elsewhere"),
            ada.scoped(user_id="bob"),
            ada.scoped(user_id=""),
        ]
        for other in others:
            other.remember("not for ada", memory_id=f"hidden-{other.scope.namespace}-{other.scope.user_id}")
            other.forget(f"hidden-{other.scope.namespace}-{other.scope.user_id}")
        ada.scoped(agent_id="helper").remember("private", memory_id="hidden-agent", agent_private=True)
        ada.remember("for ada", memory_id="seen")
        assert listener.next() == ("seen", "for ada")
        listener.close()


def test_the_whole_namespace_is_for_the_admin_and_sees_every_user(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        listener = _from_the_start(client, all_users=True)
        client.scoped(user_id="ada").remember("one", memory_id="a")
        client.scoped(user_id="bob").remember("two", memory_id="b")
        assert [listener.next()[0], listener.next()[0]] == ["a", "b"]
        client.forget(everything=True, all_users=True)
        assert listener.next() == ("", None)
        listener.close()
        with pytest.raises(errors.InvalidArgument):
            next(client.scoped(user_id="ada").watch(all_users=True))


def test_what_does_not_match_the_filter_any_more_is_told_as_gone(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as client:
        listener = _from_the_start(client, filter=F.tags == "work")
        client.remember("meeting", memory_id="m", tags=["work"])
        assert listener.next() == ("m", "meeting")
        client.update("m", tags=["home"])
        assert listener.next() == ("m", None)
        listener.close()


def test_a_forget_while_watching_leaves_no_content_in_what_follows(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as client:
        for number in range(5):
            client.remember(f"SECRET {number}", memory_id=f"m{number}")
        client.forget(everything=True)
        client.remember("after", memory_id="last")
        listener = _from_the_start(client)
        told = [listener.next() for _ in range(6)]
        assert sorted(told[:5]) == [(f"m{number}", None) for number in range(5)]
        assert told[5] == ("last", "after")
        listener.close()


def test_a_position_that_was_trimmed_or_is_of_another_history_says_to_list_anew(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as client:
        client.remember("tea", memory_id="drink")
        with pytest.raises(errors.PositionLost, match="list the memories anew"):
            next(client.watch(after=Position(1, 4711)))
        with pytest.raises(errors.PositionLost):
            next(client.watch(after=Position(10_000)))
        daemon.terminate()
        database = connect(daemon.data_dir / "memd.db", vfs=None, writes=True)
        with transaction(database):  # as if so many changes had come since
            database.execute("UPDATE namespace_head SET seq = seq + ?", (limits.MAX_CHANGE_LOG,))
        database.close()
        daemon.start()
        with pytest.raises(errors.PositionLost):
            next(client.watch(after=Position(0)))


def test_more_changes_under_one_number_than_a_batch_holds_are_all_told(daemon: Daemon) -> None:
    """One Forget of many memories is one number of the log."""
    many = 600
    assert many > limits.MAX_CHANGE_BATCH
    with Client(daemon.address, user_id="ada", timeout_s=60.0) as client:
        for start in range(0, many, 200):
            client.remember([f"fact {number}" for number in range(start, start + 200)])
        before = Position(client.stats().namespace.seq)
        client.forget(everything=True)
        listener = Listener(client, after=before)
        told = {listener.next() for _ in range(many)}
        assert len(told) == many
        assert all(content is None for _, content in told)
        listener.close()


async def test_the_async_watch_tells_the_same(daemon: Daemon) -> None:
    async with AsyncClient(daemon.address, user_id="ada") as client:
        watch = client.watch(after=Position(0))
        await client.remember("tea", memory_id="drink")
        change = await anext(watch)
        assert change.memory is not None
        assert (change.memory_id, change.memory.content) == ("drink", "tea")
        assert watch.position == change.position
        watch.close()
