"""Opening a data directory: what is made, what is refused, and with which words."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from memd.adapters.sqlite import SqliteStores, verify_offline
from memd.adapters.sqlite.connection import connect
from memd.adapters.sqlite.schema import MIGRATIONS
from memd.domain.errors import (
    ConfigError,
    Corruption,
    InvalidArgument,
    ModelMismatch,
    SchemaTooNew,
    WrongState,
)
from tests.contract.builders import MODEL, POLICY, SESSION, draft, event
from tests.sqlite.conftest import Open

NOBODY = 65_534


@pytest.fixture
def read_only() -> Iterator[Path]:
    """A directory that this process may not write to; root, who may everywhere, is nobody meanwhile."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as outer:
        Path(outer).chmod(0o755)
        directory = Path(outer) / "data"
        directory.mkdir(mode=0o555)
        if root:
            os.chown(directory, NOBODY, NOBODY)
            os.seteuid(NOBODY)
        try:
            yield directory
        finally:
            if root:
                os.seteuid(0)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_everything_is_private(open_stores: Open, tmp_path: Path) -> None:
    stores = open_stores(data_dir=tmp_path / "new" / "data")
    await stores.sessions.append(SESSION, [event("a")], POLICY, None)
    assert mode(tmp_path / "new" / "data") == 0o700
    files = {path.name: mode(path) for path in (tmp_path / "new" / "data").iterdir()}
    assert set(files) == {"memd.db", "memd.db-wal", "memd.db-shm", "memd.lock"}
    assert set(files.values()) == {0o600}


async def test_a_directory_of_others_keeps_its_mode_but_the_files_are_private(
    open_stores: Open, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "something").touch()
    open_stores(data_dir=shared)
    assert mode(shared) == 0o755
    assert mode(shared / "memd.db") == 0o600


def test_settings_of_every_connection(open_stores: Open, tmp_path: Path) -> None:
    open_stores()
    for writes in (True, False):
        opened = connect(tmp_path / "data" / "memd.db", vfs=None, writes=writes)
        wanted = {
            "journal_mode": "wal",
            "synchronous": 2,
            "foreign_keys": 1,
            "secure_delete": 1,
            "trusted_schema": 0,
            "auto_vacuum": 2,
            "query_only": int(not writes),
        }
        assert {name: opened.pragma(name) for name in wanted} == wanted
        opened.close()


def test_a_library_that_can_lose_rows_is_refused(monkeypatch: pytest.MonkeyPatch, open_stores: Open) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(ConfigError, match=r"3\.51\.2"):
        open_stores()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.100.0")
    open_stores()


class TestLock:
    def test_a_second_one_is_told_whose_directory_it_is(self, open_stores: Open, tmp_path: Path) -> None:
        open_stores()
        with pytest.raises(WrongState) as refused:
            open_stores()
        assert str(tmp_path / "data") in refused.value.message
        assert "\n" not in refused.value.message
        with pytest.raises(WrongState):
            verify_offline(tmp_path / "data")

    def test_it_is_free_after_closing_and_after_a_failed_start(self, open_stores: Open, tmp_path: Path) -> None:
        open_stores().close()
        with pytest.raises(ModelMismatch):
            open_stores(model=replace(MODEL, digest="cd" * 32))
        open_stores().close()
        assert verify_offline(tmp_path / "data") == []

    def test_closing_twice_is_harmless(self, open_stores: Open) -> None:
        stores = open_stores()
        stores.close()
        stores.close()


class TestSchema:
    def test_a_fresh_file_gets_all_migrations(self, open_stores: Open, tmp_path: Path) -> None:
        open_stores().close()
        database = apsw.Connection(str(tmp_path / "data" / "memd.db"))
        assert database.pragma("user_version") == len(MIGRATIONS)
        database.close()
        open_stores()

    def test_a_file_of_a_newer_memd_is_left_alone(self, open_stores: Open, tmp_path: Path) -> None:
        open_stores().close()
        path = tmp_path / "data" / "memd.db"
        database = apsw.Connection(str(path))
        database.pragma("user_version", len(MIGRATIONS) + 1)
        database.close()
        before = path.read_bytes()
        with pytest.raises(SchemaTooNew, match="newer memd"):
            open_stores()
        assert path.read_bytes() == before

    def test_a_migration_that_fails_leaves_nothing(
        self, open_stores: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(name: str) -> str:
            return "CREATE TABLE half (x); CREATE TABLE half (x);"

        with monkeypatch.context() as patched:
            patched.setattr("memd.adapters.sqlite.schema._script", broken)
            with pytest.raises(apsw.SQLError):
                open_stores()
        open_stores()

    def test_somebody_elses_database_is_refused(self, open_stores: Open, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        database = apsw.Connection(str(tmp_path / "data" / "memd.db"))
        database.execute("CREATE TABLE notes (x)")
        database.close()
        with pytest.raises(Corruption, match="not one of memd"):
            open_stores()


class TestUnusable:
    @pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5_000])
    def test_a_damaged_file_is_one_plain_line(self, open_stores: Open, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "memd.db").write_bytes(content)
        with pytest.raises(Corruption) as refused:
            open_stores()
        assert "\n" not in refused.value.message

    async def test_a_damaged_page_is_corruption_not_a_crash(self, open_stores: Open, tmp_path: Path) -> None:
        stores = open_stores()
        drafts = [draft(f"m{i}", "x" * 3_000) for i in range(200)]  # so many that the file's second half is rows alone
        await stores.memories.remember("n", drafts, fence=await stores.memories.fence("n"), writer="w", request=None)
        stores.close()
        path = tmp_path / "data" / "memd.db"
        data = bytearray(path.read_bytes())
        damaged = len(data) // 2
        data[damaged:] = b"\xa5" * (len(data) - damaged)
        path.write_bytes(data)
        again = open_stores()
        with pytest.raises(Corruption):
            again.memories.fetch("n", [one.memory.memory_id for one in drafts])
        again.close()
        assert verify_offline(tmp_path / "data") != []

    def test_a_file_where_the_directory_should_be(self, open_stores: Open, tmp_path: Path) -> None:
        (tmp_path / "data").touch()
        with pytest.raises(ConfigError) as refused:
            open_stores()
        assert str(tmp_path / "data") in refused.value.message

    def test_a_read_only_directory(self, open_stores: Open, read_only: Path) -> None:
        with pytest.raises(ConfigError, match=r"not writable|cannot be used") as refused:
            open_stores(data_dir=read_only)
        assert str(read_only) in refused.value.message
        assert list(read_only.iterdir()) == []

    def test_a_symbolic_link_is_not_followed(self, open_stores: Open, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "elsewhere").touch()
        (tmp_path / "data" / "memd.db").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ConfigError):
            open_stores()
        assert (tmp_path / "elsewhere").read_bytes() == b""

    def test_verify_needs_a_database(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError):
            verify_offline(tmp_path / "nothing")


class TestModel:
    @pytest.mark.parametrize(
        "other",
        [{"model_id": "other"}, {"digest": "cd" * 32}, {"dimensions": 8}, {"precision": "int8"}],
        ids=lambda fields: next(iter(fields)),
    )
    def test_another_model_is_refused_with_what_to_do(self, open_stores: Open, other: dict[str, object]) -> None:
        open_stores().close()
        with pytest.raises(ModelMismatch, match="configure"):
            open_stores(model=replace(MODEL, **other))  # type: ignore[arg-type]
        open_stores()

    async def test_without_a_model_the_rest_works_and_it_can_come_later(self, open_stores: Open) -> None:
        stores = open_stores(model=None)
        await stores.sessions.append(SESSION, [event("a")], POLICY, None)
        fence = await stores.memories.fence("n")
        await stores.memories.remember(
            "n", [replace(draft("words"), embeddings=())], fence=fence, writer="w", request=None
        )
        with pytest.raises(WrongState):
            await stores.memories.remember("n", [draft("m")], fence=fence, writer="w", request=None)
        assert await stores.frozen_model() is None
        await stores.use_model(MODEL)
        await stores.memories.remember("n", [draft("m")], fence=fence, writer="w", request=None)
        assert await stores.frozen_model() == MODEL
        with pytest.raises(ModelMismatch):
            await stores.use_model(replace(MODEL, digest="cd" * 32))
        with pytest.raises(InvalidArgument):
            await stores.memories.remember(
                "n", [replace(draft("x"), embeddings=(b"\0" * 32,))], fence=fence, writer="w", request=None
            )

    def test_opening_without_a_model_keeps_the_old_one(self, open_stores: Open) -> None:
        open_stores().close()
        open_stores(model=None).close()
        with pytest.raises(ModelMismatch):
            open_stores(model=replace(MODEL, digest="cd" * 32))


async def test_what_a_reader_holds_is_closed(open_stores: Open) -> None:
    stores: SqliteStores = open_stores()
    drafts = [draft(f"m{i}") for i in range(3)]
    await stores.memories.remember("n", drafts, fence=await stores.memories.fence("n"), writer="w", request=None)
    seq, batches = stores.memories.load("n", "memory")
    next(iter(batches))
    stores.close()
    assert seq == 1
