"""Export and import against real daemons: equal after the way, run again after a kill, refused where it must be."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from memd_client import AsyncClient, Client, RetryPolicy, errors

from memd.adapters.sqlite.datadir import DATABASE
from memd.domain.errors import WrongState
from memd.limits import MAX_EXPORT_LINE_BYTES
from memd.service.transfer import TransferService
from tests.daemon import Daemon
from tests.reliability.size import scaled

MEMORIES = 150
_STATE = (
    "SELECT memory_id, user_id, agent_id, version, create_time, expire_time, fields, body, content, windows, vectors"
    " FROM memory LEFT JOIN embedding ON memory_pk = pk ORDER BY memory_id"
)
_REVISIONS = (
    "SELECT memory_id, r.version, r.fields, r.body, r.content FROM memory_revision r JOIN memory ON pk = memory_pk"
    " ORDER BY memory_id, r.version"
)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "target") as running:
        yield running


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("source")) as running:
        with Client(running.address, user_id="ada") as client:
            for start in range(0, MEMORIES, 50):
                client.remember([f"note {n}: a tea of kind {n}" for n in range(start, start + 50)])
            client.remember("lives in Rome", memory_id="home", tags=["b", "a"], metadata={"n": 1.5, "l": [True, "x"]})
            client.update("home", content="lives in Milan")
            client.update("home", content="lives in Turin", pinned=True)
            client.remember("lives in Bari", memory_id="home2", supersedes="home")
            client.update_namespace_settings(working_max_items=7)
        with Client(running.address, user_id="bob", agent_id="x") as client:
            client.remember("only for \u00fc x", memory_id="private")
        yield running


@pytest.fixture(scope="module")
def exported(source: Daemon) -> bytes:
    with Client(source.address) as client:
        return b"".join(client.export_namespace())


def _rows(daemon: Daemon) -> list[list[tuple[Any, ...]]]:
    connection = apsw.Connection(str(daemon.data_dir / DATABASE), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        settings = "SELECT * FROM namespace_settings"
        return [connection.execute(sql).fetchall() for sql in (_STATE, _REVISIONS, settings)]
    finally:
        connection.close()


def _lines(exported: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported.splitlines()]


def _file(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def test_every_row_revision_and_link_is_equal_and_found_at_once(
    source: Daemon, target: Daemon, exported: bytes
) -> None:
    with Client(target.address, user_id="ada") as client:
        taken = client.import_namespace([exported])
        assert (taken.imported, taken.skipped, taken.forgotten) == (MEMORIES + 4, 0, 0)
        assert client.verify().ok
        assert client.recall("where does she live?").memories[0].memory.memory_id == "home2"
        again = client.import_namespace([exported])
        assert (again.imported, again.skipped) == (0, MEMORIES + 4)
    assert _rows(target) == _rows(source)


async def test_the_async_client_does_the_same(source: Daemon, target: Daemon) -> None:
    async with AsyncClient(source.address) as from_, AsyncClient(target.address) as to:
        assert (await to.import_namespace(from_.export_namespace())).imported == MEMORIES + 4
    assert _rows(target) == _rows(source)


def test_the_commands_move_a_namespace(source: Daemon, target: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "home.jsonl"
    written = _memd("export", str(file), "--json", "--address", source.address)
    assert json.loads(written.stdout)["bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert "exists already" in _memd("export", str(file), "--address", source.address).stderr
    done = _memd("import", str(file), "--into", "office", "--json", "--address", target.address)
    assert json.loads(done.stdout)["imported"] == MEMORIES + 4
    with Client(target.address, namespace="office") as client:
        assert client.stats().namespace.memories == MEMORIES + 3  # and the settings


def _memd(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memd", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_an_import_killed_anywhere_is_run_again(source: Daemon, target: Daemon, exported: bytes) -> None:
    points = scaled(5)
    for point in range(points):
        cut = len(exported) * (point + 1) // (points + 1)

        def pieces(cut: int = cut) -> Iterator[bytes]:
            for at in range(0, cut, 16_384):
                yield exported[at : min(at + 16_384, cut)]
            target.kill()
            yield exported[cut:]

        with Client(target.address, retry=RetryPolicy(attempts=1)) as client, pytest.raises(errors.Unavailable):
            client.import_namespace(pieces())
        target.start()
        with Client(target.address) as client:
            assert client.verify().ok
    with Client(target.address) as client:
        client.import_namespace([exported])
        assert client.verify().ok
    assert _rows(target) == _rows(source)


def test_what_was_forgotten_after_the_export_stays_forgotten(target: Daemon, exported: bytes) -> None:
    with Client(target.address, user_id="ada") as client:
        client.import_namespace([exported])
        client.forget(memory_ids=["home"])
        taken = client.import_namespace([exported])
        assert (taken.imported, taken.forgotten) == (0, 1)
        client.forget(everything=True)
        assert client.import_namespace([exported]).forgotten == MEMORIES + 2
        assert client.verify().ok
    with Client(target.address, user_id="bob", agent_id="x") as client:
        assert client.get("private").content.startswith("only for")


def test_another_state_under_the_same_id_is_left_alone(target: Daemon, exported: bytes) -> None:
    with Client(target.address, user_id="ada") as client:
        client.remember("lives in Oslo", memory_id="home")
        with pytest.raises(errors.AlreadyExists, match=r"1 differ.*imported 153"):
            client.import_namespace([exported])
        assert client.get("home").content == "lives in Oslo"
        assert client.verify().ok


def test_embeddings_of_another_model_are_made_anew(source: Daemon, target: Daemon, exported: bytes) -> None:
    lines = _lines(exported)
    lines[0]["header"]["model"] += "0"
    for line in lines:
        if "memory" in line:
            line["embeddings"] = [base64.b64encode(b"\0" * 12).decode()]
    with Client(target.address) as client:
        client.import_namespace([_file(lines)])
        assert client.verify().ok
    have, want = _rows(target), _rows(source)
    assert [one[:-1] for one in have[0]] == [one[:-1] for one in want[0]]
    assert {len(one[-1]) for one in have[0]} == {len(want[0][0][-1])}


def test_another_namespace_needs_to_be_said(target: Daemon, exported: bytes) -> None:
    with Client(target.address, namespace="away") as client:
        with pytest.raises(errors.WrongState, match="another namespace"):
            client.import_namespace([exported])
        with pytest.raises(errors.InvalidArgument, match="into"):
            client.import_namespace([exported], into="elsewhere")
        client.import_namespace([exported], into="away")
        assert client.verify().ok


def _changed(exported: bytes, change: Any) -> bytes:
    lines = _lines(exported)
    change(lines)
    return _file(lines)


BAD: dict[str, tuple[Any, str]] = {
    "no end": (lambda e: e[: e.rindex(b"\n", 0, -1) + 1], "was cut: it ends after line"),
    "cut in a line": (lambda e: e[: len(e) // 2], "was cut: it ends after line"),
    "empty": (lambda e: b"", "was cut"),
    "broken JSON": (lambda e: e.replace(b'{"end"', b'{"end"{'), "not JSON"),
    "deep": (lambda e: b"[" * 100_000 + b"\n", "line 1: not JSON"),
    "no object": (lambda e: b"[]\n", "line 1: not a JSON object"),
    "too long": (lambda e: e + b"x" * (MAX_EXPORT_LINE_BYTES + 1), "longer than"),
    "no header": (lambda e: e.split(b"\n", 1)[1], "line 1: an export begins with its header"),
    "after the end": (lambda e: e + b'{"end":{"memories":0,"revisions":0}}\n', "after the end line"),
    "lines missing": (lambda e: _changed(e, lambda ls: ls.pop(3)), "lacks lines"),
    "revisions missing": (
        lambda e: b"".join(x + b"\n" for x in e.splitlines() if b'{"revision"' not in x),
        "fewer revisions",
    ),
    "surrogate": (lambda e: e.replace(b'a tea of kind 1"', b'\\ud800"', 1), "not valid Unicode"),
    "NaN": (lambda e: e.replace(b'"importance":0.5', b'"importance":NaN', 1), "not JSON"),
    "nested metadata": (lambda e: e.replace(b'"metadata":{}', b'"metadata":{"a":{}}', 1), "metadata"),
    "unknown field": (lambda e: e.replace(b'"pinned":', b'"pimmed":', 1), "must have the fields"),
    "no base64": (lambda e: e.replace(b'"embeddings":["', b'"embeddings":["?', 1), "base64"),
    "wrong dimensions": (
        lambda e: _changed(e, lambda ls: ls[2].update(embeddings=[base64.b64encode(b"\0" * 12).decode()])),
        "dimensions",
    ),
    "bad settings": (lambda e: e.replace(b'"working_max_items":7', b'"working_max_items":-7'), "working_max_items"),
}


def test_a_bad_file_is_refused_with_its_line(target: Daemon, exported: bytes) -> None:
    with Client(target.address) as client:
        for name, (spoil, said) in BAD.items():
            with pytest.raises(errors.InvalidArgument) as caught:
                client.import_namespace([spoil(exported)])
            assert said in caught.value.message, (name, caught.value.message)
            assert "imported " in caught.value.message, name
            assert "tea of kind" not in caught.value.message
        with pytest.raises(errors.WrongState, match="line 1: the file was made by a newer memd"):
            client.import_namespace([exported.replace(b'"format":1', b'"format":2', 1)])
        assert client.verify().ok


def test_an_export_is_of_one_moment_and_leaves_nothing_open(source: Daemon, exported: bytes) -> None:
    with Client(source.address, user_id="ada") as client:
        chunks = client.export_namespace()
        first = next(chunks)
        client.remember("came later", memory_id="later")
        rest = b"".join(chunks)
        assert b"came later" not in first + rest
        client.forget(memory_ids=["later"])
        for _ in range(3):  # readers that go away in the middle
            next(client.export_namespace())
        assert [x for x in _lines(b"".join(client.export_namespace())) if "memory" in x] == [
            x for x in _lines(exported) if "memory" in x
        ]


async def test_where_the_rows_are_on_a_server_it_is_refused() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    unused: Any = None
    service = TransferService(None, unused, unused, unused, unused)
    with pytest.raises(WrongState, match="embedded storage only"):
        await anext(service.export("n"))
    with pytest.raises(WrongState, match="embedded storage only"):
        await service.import_("n", nothing(), into="", writer="t")
