"""Export and import against real daemons: equal after the way, run again after a kill, refused where it must be."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from memd_client import AsyncClient, Client, Outcome, RetryPolicy, errors

from memd.adapters.sqlite import SqliteStores
from memd.adapters.sqlite.datadir import DATABASE
from memd.domain.errors import LimitExceeded
from memd.limits import EXPORT_BATCH, MAX_EXPORT_LINE_BYTES
from memd.service.transfer import TransferService
from tests.contract.builders import MODEL, draft
from tests.contract.conftest import ManualClock
from tests.daemon import Daemon
from tests.reliability.size import scaled

MEMORIES = 150
ENTRIES = MEMORIES + 5
"""With the three others, the settings and the procedure."""
_STATE = (
    "SELECT memory_id, user_id, agent_id, version, create_time, expire_time, fields, body, content, windows, vectors"
    " FROM memory LEFT JOIN embedding ON memory_pk = pk ORDER BY memory_id"
)
_PROCEDURES = (
    "SELECT procedure_id, user_id, agent_id, key, p.version, offered, offered_time, p.demotion, v.* FROM procedure p"
    " JOIN procedure_version v ON v.procedure_pk = p.pk ORDER BY procedure_id, v.version"
)
_OUTCOMES = (
    "SELECT procedure_id, o.* FROM procedure_outcome o JOIN procedure p ON p.pk = procedure_pk"
    " ORDER BY procedure_id, o.pk"
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
            for content in ("boil", "boil and steep"):
                client.put_procedure("tea", content, trigger="tea is wanted", metadata={"minutes": 4})
            for n in range(30):
                client.report_outcome("tea", 1, Outcome.SUCCESS, outcome_id=f"o{n}", reason="good")
            for _ in range(12):
                client.report_outcome("tea", 2, Outcome.FAILURE)
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
        return [connection.execute(sql).fetchall() for sql in (_STATE, _REVISIONS, _PROCEDURES, _OUTCOMES, settings)]
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
        assert (taken.imported, taken.skipped, taken.forgotten) == (ENTRIES, 0, 0)
        assert client.verify().ok
        assert client.recall("where does she live?").memories[0].memory.memory_id == "home2"
        offered = client.get_procedure("tea")
        assert (offered.content, offered.successes) == ("boil", 30)
        assert client.recall("tea is wanted").procedures[0].content == "boil"
        again = client.import_namespace([exported])
        assert (again.imported, again.skipped) == (0, ENTRIES)
    assert _rows(target) == _rows(source)


async def test_the_async_client_does_the_same(source: Daemon, target: Daemon) -> None:
    async with AsyncClient(source.address) as from_, AsyncClient(target.address) as to:
        assert (await to.import_namespace(from_.export_namespace())).imported == ENTRIES
    assert _rows(target) == _rows(source)


def test_the_commands_move_a_namespace(source: Daemon, target: Daemon, tmp_path: Path) -> None:
    file = tmp_path / "home.jsonl"
    written = _memd("export", str(file), "--json", "--address", source.address)
    assert json.loads(written.stdout)["bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert "exists already" in _memd("export", str(file), "--address", source.address).stderr
    done = _memd("import", str(file), "--into", "office", "--json", "--address", target.address)
    assert json.loads(done.stdout)["imported"] == ENTRIES
    with Client(target.address, namespace="office") as client:
        assert client.stats().namespace.memories == MEMORIES + 3


def _memd(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "memd", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def import_killed(daemon: Daemon, exported: bytes, cut: int) -> None:
    """An import whose daemon is killed when ``cut`` bytes have been sent."""

    def pieces() -> Iterator[bytes]:
        for at in range(0, cut, 16_384):
            yield exported[at : min(at + 16_384, cut)]
        daemon.kill()
        yield exported[cut:]

    with Client(daemon.address, retry=RetryPolicy(attempts=1)) as client, pytest.raises(errors.Unavailable):
        client.import_namespace(pieces())


def test_an_import_killed_anywhere_is_run_again(source: Daemon, target: Daemon, exported: bytes) -> None:
    points = scaled(5)
    for point in range(points):
        import_killed(target, exported, len(exported) * (point + 1) // (points + 1))
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
        assert client.import_namespace([exported]).forgotten == MEMORIES + 3
        assert client.verify().ok
    with Client(target.address, user_id="bob", agent_id="x") as client:
        assert client.get("private").content.startswith("only for")


def test_another_state_under_the_same_id_is_left_alone(target: Daemon, exported: bytes) -> None:
    with Client(target.address, user_id="ada") as client:
        client.remember("lives in Oslo", memory_id="home")
        with pytest.raises(errors.AlreadyExists, match=r"1 differ.*imported 154"):
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
    "versions missing": (
        lambda e: b"".join(x + b"\n" for x in e.splitlines() if not x.startswith(b'{"version"')),
        "fewer versions",
    ),
    "outcomes missing": (
        lambda e: b"".join(x + b"\n" for x in e.splitlines() if not x.startswith(b'{"outcome"')),
        "fewer versions or outcomes",
    ),
    "procedure missing": (
        lambda e: b"".join(x + b"\n" for x in e.splitlines() if not x.startswith(b'{"procedure"')),
        "without its procedure",
    ),
    "offered version not there": (lambda e: e.replace(b'"offered":1', b'"offered":9', 1), "the offered one among them"),
    "versions in disorder": (
        lambda e: e.replace(b'{"version":{"version":1', b'{"version":{"version":3', 1),
        "oldest first",
    ),
    "outcome twice": (lambda e: e.replace(b'"outcome_id":"o2"', b'"outcome_id":"o1"', 1), "outcome_id stands twice"),
    "neither success nor failure": (
        lambda e: e.replace(b'"outcome":"success"', b'"outcome":"maybe"', 1),
        "success or failure",
    ),
    "counts that no store holds": (lambda e: e.replace(b'"successes":30', b'"successes":3000000000', 1), "successes"),
    "a long vector": (
        lambda e: _changed(e, lambda ls: ls[2].update(embeddings=[base64.b64encode(b"\0\0\x80\x3f" * 384).decode()])),
        "the length 1",
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
            client.import_namespace([exported.replace(b'"format":2', b'"format":3', 1)])
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


def test_a_file_of_format_1_is_taken_in(source: Daemon, target: Daemon, exported: bytes) -> None:
    """What the first version of memd that could export has written: no procedures, two counts at its end."""
    older = [one for one in _lines(exported) if not one.keys() & {"procedure", "version", "outcome"}]
    older[0]["header"]["format"] = 1
    older[-1]["end"] = {name: older[-1]["end"][name] for name in ("memories", "revisions")}
    with Client(target.address) as client:
        assert client.import_namespace([_file(older)]).imported == ENTRIES - 1
        assert client.verify().ok
    assert _rows(target)[:2] == _rows(source)[:2]


async def test_an_export_that_is_read_too_slowly_is_ended(tmp_path: Path) -> None:
    """The snapshot it holds keeps the log of the store from being emptied."""
    clock = ManualClock()
    stores = SqliteStores.open(tmp_path, model=MODEL, clock=clock, sink=lambda changes: None)
    for start in range(0, 3 * EXPORT_BATCH, EXPORT_BATCH):
        drafts = [draft(f"m{n}", "x" * 10_000) for n in range(start, start + EXPORT_BATCH)]
        await stores.memories.remember("n", drafts, fence=0, writer="w", request=None)
    unused: Any = None
    service = TransferService(
        stores.transfers, stores.memories, stores.procedures, stores.settings, unused, unused, clock, max_s=60.0
    )
    export = service.export("n")
    await anext(export)
    clock.monotonic += 61.0
    with pytest.raises(LimitExceeded, match="not read within 60 s"):
        async for _ in export:
            pass
    stores.close()
    assert (tmp_path / f"{DATABASE}-wal").exists() is False, "nobody holds the log any more"
