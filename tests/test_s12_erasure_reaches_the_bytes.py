"""S12: what was forgotten leaves the bytes of the data directory: database, write-ahead log, and whatever else is there.

Each round stores marked text in every tier (with revisions), forgets it in one of several ways, and reads every file for
the text and for its embedding, until nothing is left or a minute is over.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import apsw
import pytest
from memd_client import Client, Event, EventKind, NewMemory

from tests.daemon import Daemon
from tests.reliability.size import scaled

ROUNDS = scaled(20)
WITHIN_S = 60.0
POLL_S = 0.1
CANARY = "canary-summary-quetzal"
PIECE = 16
"""Bytes of a vector that must not be found: four float32 in a row are no coincidence."""


@dataclass(frozen=True)
class Stored:
    """What one round stored, and the marks that must go."""

    user: str
    session: str
    task: str
    memory_ids: list[str]
    texts: list[str]


def mark(number: int, part: str) -> str:
    return f"canary-{number:05d}-{part}-quetzal"


def store(client: Client, number: int) -> Stored:
    user, session, task = f"user-{number}", f"session-{number}", f"task-{number}"
    own = client.scoped(user_id=user, session_id=session)
    texts = [mark(number, part) for part in ("fact", "changed", "meta", "turn", "how", "trigger", "state")]
    fact, changed, meta, turn, how, trigger, state = texts
    first = own.remember([NewMemory(f"{fact} the harbour master keeps bees", metadata={"note": meta})]).memories[0]
    own.update(first.memory_id, content=f"{changed} the harbour master sold the bees")
    own.observe(f"{turn} did you hear about the bees?", role="user", ephemeral=number % 2 == 0)
    own.put_procedure(f"how-{number}", content=f"{how} open the hive slowly", trigger=f"{trigger} bees")
    own.save_checkpoint(task, f"{state} step 3".encode())
    return Stored(user, session, task, [first.memory_id], texts)


def forget_everything(client: Client, stored: Stored) -> None:
    client.scoped(user_id=stored.user).forget(everything=True, task_ids=[stored.task])


def forget_one_by_one(client: Client, stored: Stored) -> None:
    own = client.scoped(user_id=stored.user)
    own.forget(memory_ids=stored.memory_ids)
    own.delete_procedure(f"how-{stored.user.removeprefix('user-')}")
    own.delete_checkpoint(stored.task)
    own.scoped(session_id=stored.session).forget(everything=True)


WAYS: tuple[Callable[[Client, Stored], None], ...] = (forget_everything, forget_one_by_one)


def remains(directory: Path, needles: list[bytes]) -> list[str]:
    """Which needles are in which file."""
    found = []
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = path.read_bytes()
        found += [f"{needle[:40]!r} in {path.name}" for needle in needles if needle in content]
    return found


def wait_until_gone(directory: Path, needles: list[bytes]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while left := remains(directory, needles):
        assert time.monotonic() < deadline, left
        time.sleep(POLL_S)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Client]]:
    with Daemon(tmp_path_factory.mktemp("s12")) as daemon, Client(daemon.address, timeout_s=30) as client:
        for number in range(100_000, 100_040):  # what stays: freed pages must not be the only thing in the file
            client.scoped(user_id="kept").remember(f"kept note {number} about the weather in the bay")
        yield daemon, client


def newest_vectors(directory: Path, scratch: Path) -> bytes:
    """The newest memory's embeddings, read from a copy of the files as they are."""
    copy = shutil.copytree(directory, scratch / "copy")
    with contextlib.closing(apsw.Connection(str(copy / "memd.db"))) as connection:
        found = connection.execute("SELECT vectors FROM embedding ORDER BY memory_pk DESC LIMIT 1").get
    assert isinstance(found, bytes)
    return found


def test_embeddings_can_be_found_before_and_not_after(running: tuple[Daemon, Client], tmp_path: Path) -> None:
    daemon, client = running
    text = "canary-vector-quetzal the lighthouse was painted green"
    stored = client.remember(text).memories[0]
    vector = newest_vectors(daemon.data_dir, tmp_path)
    pieces = [vector[at : at + PIECE] for at in range(0, len(vector), PIECE)]
    assert remains(daemon.data_dir, pieces), "the vector cannot be seen in the files, so its absence shows nothing"
    client.forget(memory_ids=[stored.memory_id])
    wait_until_gone(daemon.data_dir, [*pieces, text.encode()])


@pytest.mark.parametrize("number", range(ROUNDS))
def test_forgotten_text_leaves_every_file(running: tuple[Daemon, Client], number: int) -> None:
    daemon, client = running
    stored = store(client, number)
    needles = [text.encode() for text in stored.texts]
    seen = remains(daemon.data_dir, needles)
    assert all(any(repr(needle[:40]) in line for line in seen) for needle in needles), "a mark was never in the files"
    WAYS[number % len(WAYS)](client, stored)
    if number % 5 == 4:  # the receipt is there; the scrubbing behind it may not be
        daemon.kill()
        daemon.start()
    wait_until_gone(daemon.data_dir, needles)


def test_expired_text_leaves_every_file(running: tuple[Daemon, Client]) -> None:
    daemon, client = running
    text = "canary-expired-quetzal the tide table of last week"
    client.remember([NewMemory(text, ttl=timedelta(seconds=1))])
    assert remains(daemon.data_dir, [text.encode()])
    wait_until_gone(daemon.data_dir, [text.encode()])


def long_session(client: Client) -> str:
    """A session that was compressed; its summary's text, which is in no event as it stands."""
    client.observe([Event(f"{CANARY} decided {n}: pier {n} gets lamp {n * 7}.", role="user") for n in range(21)])
    deadline = time.monotonic() + WITHIN_S
    while (first := client.working_memory().items[0]).kind != EventKind.SUMMARY:
        assert time.monotonic() < deadline, "nothing was compressed"
        time.sleep(POLL_S)
    return first.content


@pytest.mark.parametrize("killed", [False, True])
def test_summaries_leave_every_file(running: tuple[Daemon, Client], killed: bool) -> None:
    daemon, client = running
    own = client.scoped(user_id="talker", session_id=f"long-{killed}")
    summary = long_session(own)
    needles = [CANARY.encode(), summary.splitlines()[0].encode()]
    seen = remains(daemon.data_dir, [summary[:60].encode()])
    assert seen, "the summary cannot be seen in the files, so its absence shows nothing"
    own.forget(everything=True)
    if killed:
        daemon.kill()
        daemon.start()
    assert own.working_memory().items == ()
    wait_until_gone(daemon.data_dir, needles)
