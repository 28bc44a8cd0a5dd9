"""Backups: whole or absent, while writes go on; restored without what was forgotten since, over kills and bad input."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memd_client import Client, F, errors

from memd.adapters.clock import SystemClock
from memd.adapters.sqlite import SqliteStores, verify_offline
from memd.adapters.sqlite.backup import MANIFEST, Restored, restore
from memd.adapters.sqlite.datadir import DATABASE
from memd.domain.errors import AlreadyExists, ConfigError, Corruption, InvalidArgument, SchemaTooNew, WrongState
from tests.contract.builders import MODEL, POLICY, SESSION, draft, event
from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.servers.redis import RedisServer

SECRET = "canary-8d1f-of-the-forgotten"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[SqliteStores]:
    opened = _open(tmp_path / "data")
    yield opened
    opened.close()


def _open(data_dir: Path) -> SqliteStores:
    return SqliteStores.open(data_dir, model=MODEL, clock=SystemClock(), sink=lambda changes: None)


def _quiet(_said: str) -> None:
    return None


def bring_back(backup: Path, data_dir: Path, *, replace: bool = False) -> Restored:
    return restore(data_dir, backup, replace=replace, progress=_quiet)


async def remember(stores: SqliteStores, *ids: str, content: str = "") -> None:
    drafts = [draft(one, content) for one in ids]
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", drafts, fence=fence, writer="t", request=None)


def ids_of(data_dir: Path) -> set[str]:
    opened = _open(data_dir)
    try:
        return {row.entry_id for batch in opened.memories.load("n", "memory")[1] for row in batch}
    finally:
        opened.close()


async def test_every_write_acknowledged_before_the_start_is_in_it(stores: SqliteStores, tmp_path: Path) -> None:
    written: list[str] = []
    enough = asyncio.Event()

    async def keep_writing() -> None:
        while not enough.is_set():
            name = f"m{len(written)}"
            await remember(stores, name)
            written.append(name)
            await stores.sessions.append(SESSION, [event(name)], POLICY, None)

    writing = asyncio.ensure_future(keep_writing())
    for number in range(5):
        await asyncio.sleep(0.05)
        before = set(written)
        made = await stores.backups.backup(f"b{number}")
        assert made.bytes > 0
        restored = tmp_path / f"restored{number}"
        bring_back(tmp_path / "data" / "backups" / f"b{number}", restored)
        assert before <= ids_of(restored)
        assert verify_offline(restored) == []
    enough.set()
    await writing
    assert len(written) > 20, "nothing went on meanwhile"


async def test_an_empty_store_has_a_backup_too(stores: SqliteStores, tmp_path: Path) -> None:
    await stores.backups.backup("empty")
    assert bring_back(tmp_path / "data/backups/empty", tmp_path / "other").forgotten == 0
    assert ids_of(tmp_path / "other") == set()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b", "-x", ".hidden", "é", "x" * 65])
async def test_a_name_is_never_a_path(stores: SqliteStores, name: str) -> None:
    with pytest.raises(InvalidArgument):
        await stores.backups.backup(name)


async def test_a_backup_is_never_overwritten(stores: SqliteStores) -> None:
    await stores.backups.backup("b")
    with pytest.raises(AlreadyExists):
        await stores.backups.backup("b")


async def test_what_a_fallen_daemon_left_is_cleared_away(stores: SqliteStores, tmp_path: Path) -> None:
    left = tmp_path / "data/backups/.partial-0011"
    left.mkdir(parents=True)
    (left / DATABASE).write_bytes(b"half")
    await stores.backups.backup("b")
    assert [path.name for path in (tmp_path / "data/backups").iterdir()] == ["b"]


async def test_what_was_deleted_before_is_not_in_its_bytes(stores: SqliteStores, tmp_path: Path) -> None:
    await remember(stores, "m", content=SECRET)
    await remember(stores, "m", content="another text")
    await stores.sessions.append(SESSION, [event("e", SECRET)], POLICY, None)
    await stores.sessions.forget(SESSION, all_users=False, receipt_id="f")
    await stores.backups.backup("b")
    data = (tmp_path / "data/backups/b" / DATABASE).read_bytes()
    assert data.count(SECRET.encode()) == 1, "the revision that is still kept, and nothing else"


class TestRestore:
    """At the daemon: what was forgotten after the backup stays forgotten, whatever it was."""

    def test_what_was_forgotten_stays_forgotten(self, tmp_path: Path) -> None:
        with Daemon(tmp_path) as daemon:
            with (
                Client(daemon.address, user_id="ada", session_id="s") as ada,
                Client(daemon.address, user_id="bob") as bob,
            ):
                one = ada.remember(f"{SECRET} by id").memories[0].memory_id
                ada.remember(f"{SECRET} by filter", tags=["gone"])
                ada.remember("stays")
                ada.observe("stays in the session")
                said = ada.observe(f"remember that {SECRET} was said").events[0].event_id
                bob.remember(f"{SECRET} of bob")
                bob.scoped(session_id="b").observe(f"{SECRET} said bob")
                bob.put_procedure("how", f"{SECRET} steps", trigger="when")
                bob.save_checkpoint("bob-task", SECRET.encode())
                step = bob.begin_step("bob-task", "one")
                bob.complete_step("bob-task", "one", fencing_token=step.fencing_token, result=SECRET.encode())
                ada.save_checkpoint("ada-task", b"stays")
                ada.backup("before")
                ada.forget(one)
                ada.forget(filter=F.tag == "gone")
                ada.forget(event_ids=said)
                bob.forget(everything=True, task_ids=["bob-task"])
                ada.remember("after the backup")
            daemon.terminate()
            restored = bring_back(daemon.data_dir / "backups/before", daemon.data_dir, replace=True)
            assert restored.forgotten >= 6
            for path in (path for path in daemon.data_dir.rglob("*") if path.is_file()):
                if "backups" not in path.parts:
                    assert SECRET.encode() not in path.read_bytes(), path
            daemon.start()
            with (
                Client(daemon.address, user_id="ada", session_id="s") as ada,
                Client(daemon.address, user_id="bob") as bob,
            ):
                assert [memory.content for memory in ada.list()] == ["stays"]
                assert [event.content for event in ada.episodes()] == ["stays in the session"]
                assert ada.recall("stays").memories[0].memory.content == "stays"
                assert ada.load_checkpoint("ada-task").state == b"stays"
                assert (list(bob.list()), list(bob.sessions()), list(bob.list_procedures())) == ([], [], [])
                assert list(bob.list_steps("bob-task")) == []
                with pytest.raises(errors.NotFound):
                    bob.load_checkpoint("bob-task")
                assert ada.verify().ok
                ada.backup("again")

    def test_the_whole_namespace(self, tmp_path: Path) -> None:
        with Daemon(tmp_path) as daemon:
            with Client(daemon.address) as memd:
                memd.scoped(user_id="ada", session_id="s").observe("hello")
                memd.scoped(user_id="ada").remember("of ada")
                memd.save_checkpoint("t", b"state")
                memd.scoped(namespace="other").remember("of another namespace")
                memd.backup("before")
                memd.forget(everything=True, all_users=True)
            daemon.terminate()
            bring_back(daemon.data_dir / "backups/before", daemon.data_dir, replace=True)
            daemon.start()
            with Client(daemon.address) as memd:
                stats = memd.stats().namespace
                assert (stats.memories, stats.sessions, stats.checkpoints) == (0, 0, 0)
                assert len(list(memd.scoped(namespace="other").list())) == 1

    def test_from_the_shell(self, tmp_path: Path) -> None:
        def memd(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "memd", *words]
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

        with Daemon(tmp_path) as daemon:
            with Client(daemon.address) as client:
                client.remember("kept")
            made = memd("backup", "b1", "--address", daemon.address, "--json")
            assert (made.returncode, json.loads(made.stdout)["name"]) == (0, "b1")
            again = memd("backup", "b1", "--address", daemon.address)
            assert (again.returncode, again.stderr.count("\n")) == (1, 1)
            running = memd("restore", "b1", "--data-dir", str(daemon.data_dir), "--replace")
            assert running.returncode == 1
            assert "in use by another memd" in running.stderr
            daemon.terminate()
            in_the_way = memd("restore", "b1", "--data-dir", str(daemon.data_dir))
            assert in_the_way.returncode == 1
            assert "--replace" in in_the_way.stderr
            done = memd("restore", "b1", "--data-dir", str(daemon.data_dir), "--replace", "--json")
            assert (done.returncode, json.loads(done.stdout)["forgotten"]) == (0, 0)
            daemon.start()
            with Client(daemon.address) as client:
                assert [memory.content for memory in client.list()] == ["kept"]


class TestBadInput:
    async def test_what_is_no_backup(self, stores: SqliteStores, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no backup"):
            bring_back(tmp_path, tmp_path / "other")
        (tmp_path / MANIFEST).write_text("[]")
        with pytest.raises(ConfigError, match="no backup"):
            bring_back(tmp_path, tmp_path / "other")

    async def test_a_damaged_one(self, stores: SqliteStores, tmp_path: Path) -> None:
        await remember(stores, "m")
        await stores.backups.backup("b")
        database = tmp_path / "data/backups/b" / DATABASE
        data = bytearray(database.read_bytes())
        data[len(data) // 2] ^= 1
        database.write_bytes(data)
        with pytest.raises(Corruption, match="digest"):
            bring_back(database.parent, tmp_path / "other")
        assert not (tmp_path / "other" / DATABASE).exists()

    async def test_one_of_a_newer_memd(self, stores: SqliteStores, tmp_path: Path) -> None:
        await stores.backups.backup("b")
        manifest = tmp_path / "data/backups/b" / MANIFEST
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": 99}))
        with pytest.raises(SchemaTooNew):
            bring_back(manifest.parent, tmp_path / "other")

    async def test_a_database_in_the_way(self, stores: SqliteStores, tmp_path: Path) -> None:
        await stores.backups.backup("b")
        with pytest.raises(ConfigError, match="--replace"):
            bring_back(tmp_path / "data/backups/b", tmp_path / "data")
        with pytest.raises(WrongState, match="in use"):
            bring_back(tmp_path / "data/backups/b", tmp_path / "data", replace=True)

    async def test_a_damaged_database_in_the_way_is_not_guessed_at(self, stores: SqliteStores, tmp_path: Path) -> None:
        await remember(stores, *(f"m{n}" for n in range(200)))
        await stores.backups.backup("b")
        stores.close()
        database = tmp_path / "data" / DATABASE
        data = bytearray(database.read_bytes())
        data[4096 : len(data) // 2] = bytes(len(data) // 2 - 4096)
        database.write_bytes(data)
        with pytest.raises(Corruption):
            bring_back(tmp_path / "data/backups/b", tmp_path / "data", replace=True)
        assert database.read_bytes() == data


KILLS = scaled(12)


def test_a_restore_that_is_killed_is_done_or_not_begun(tmp_path: Path) -> None:
    """At random moments; then it is run again. The database is the old one or the new one at every moment."""
    source = tmp_path / "source"
    asyncio.run(_fill(source, 2_000))
    data_dir = tmp_path / "data"
    asyncio.run(_fill(data_dir, 3))
    dice = random.Random(5)
    code = (
        "import sys; from pathlib import Path; from memd.adapters.sqlite.backup import restore;"
        "restore(Path(sys.argv[1]), Path(sys.argv[2]), replace=True, progress=print)"
    )
    command = [sys.executable, "-c", code, str(data_dir), str(source / "backups/b")]
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(dice.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert verify_offline(data_dir) == []
        assert len(ids_of(data_dir)) in (3, 2_000)
    assert killed, "nothing was killed in the middle"
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert len(ids_of(data_dir)) == 2_000


async def _fill(data_dir: Path, memories: int) -> None:
    stores = _open(data_dir)
    for start in range(0, memories, 250):
        await remember(stores, *(f"m{n}" for n in range(start, min(memories, start + 250))))
    await stores.backups.backup("b")
    stores.close()


def test_what_redis_has_is_said_not_to_be_in_it(redis_servers: Callable[[str], RedisServer], tmp_path: Path) -> None:
    server = redis_servers("redis")
    with Daemon(tmp_path, arguments=["--redis", server.url]) as daemon, Client(daemon.address) as client:
        assert "sessions" in client.backup("b1").not_included
    with Daemon(tmp_path / "embedded") as daemon, Client(daemon.address) as client:
        assert client.backup("b1").not_included == ()
