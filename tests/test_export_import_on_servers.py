"""Export and import where the rows are on Postgres: from embedded storage there and back, through two sidecars."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memd_client import Client, Outcome

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.servers.postgres import Launcher
from tests.test_export_import import import_killed

MEMORIES = 150
ENTRIES = MEMORIES + 5


@pytest.fixture
def pods(postgres18: Launcher, tmp_path: Path) -> Iterator[tuple[Daemon, Daemon]]:
    server = postgres18.shared
    database = server.create_database()
    environment = {"MEMD_POSTGRES_URL": server.url(database)}
    with Daemon(tmp_path / "a", environment=environment) as one, Daemon(tmp_path / "b", environment=environment) as two:
        yield one, two
    server.drop_database(database)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """By a daemon on embedded storage."""
    with Daemon(tmp_path_factory.mktemp("source")) as running, Client(running.address, user_id="ada") as client:
        client.remember([f"note {n}: a tea of kind {n}" for n in range(MEMORIES)])
        client.remember("lives in Rome", memory_id="home", tags=["b", "a"], metadata={"n": 1.5, "l": [True, "x\0"]})
        client.update("home", content="lives in Turin\0", pinned=True)
        client.remember("lives in Bari", memory_id="home2", supersedes="home")
        client.scoped(user_id="bob", agent_id="x").remember("only for \u00fc x", memory_id="private")
        client.update_namespace_settings(working_max_items=7)
        for content in ("boil", "boil and steep"):
            client.put_procedure("tea", content, trigger="tea is wanted", metadata={"minutes": 4})
        for n in range(30):
            client.report_outcome("tea", 1, Outcome.SUCCESS, outcome_id=f"o{n}", reason="good")
        for _ in range(12):
            client.report_outcome("tea", 2, Outcome.FAILURE)
        return b"".join(client.export_namespace())


def _content(exported: bytes) -> list[dict[str, Any]]:
    """But the header, which tells the moment, and the embeddings."""
    lines = [json.loads(line) for line in exported.splitlines()[1:]]
    return [{name: value for name, value in line.items() if name != "embeddings"} for line in lines]


def _embeddings(exported: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    windows = [one for line in exported.splitlines() for one in json.loads(line).get("embeddings", ())]
    return np.stack([np.frombuffer(base64.b64decode(one), "<f4") for one in windows])


def test_there_and_back_row_for_row_and_at_hand_in_both_sidecars(
    pods: tuple[Daemon, Daemon], exported: bytes, tmp_path: Path
) -> None:
    one, two = pods
    with Client(two.address, user_id="ada") as other:
        other.recall("follow this namespace")
        with Client(one.address, user_id="ada") as client:
            taken = client.import_namespace([exported])
            assert (taken.imported, taken.skipped, taken.forgotten) == (ENTRIES, 0, 0)
            assert client.recall("where does she live?").memories[0].memory.memory_id == "home2"
            seq = client.stats().namespace.seq
            again = client.import_namespace([exported])
            assert (again.imported, again.skipped) == (0, ENTRIES)
            assert client.stats().namespace.seq == seq
            assert client.verify().ok
        found = other.recall("where does she live?", min_seq=seq)
        assert found.memories[0].memory.memory_id == "home2"
        assert other.recall("tea is wanted", min_seq=seq).procedures[0].content == "boil"
        assert other.namespace_settings().working_max_items == 7
        assert other.verify().ok
        between = b"".join(other.export_namespace())
    assert _content(between) == _content(exported)
    with Daemon(tmp_path / "target") as target, Client(target.address, user_id="ada") as client:
        assert client.import_namespace([between]).imported == ENTRIES
        back = b"".join(client.export_namespace())
        assert client.verify().ok
    assert _content(back) == _content(exported)
    assert (_embeddings(back) == _embeddings(between)).all()
    # halfvec keeps 11 bits of each number
    assert np.allclose(_embeddings(between), _embeddings(exported), rtol=2**-11, atol=2**-25)


def test_an_import_killed_anywhere_is_run_again(pods: tuple[Daemon, Daemon], exported: bytes) -> None:
    one, two = pods
    points = scaled(3)
    for point in range(points):
        import_killed(one, exported, len(exported) * (point + 1) // (points + 1))
        one.start()
    with Client(one.address) as client, Client(two.address) as other:
        client.import_namespace([exported])
        assert client.verify().ok
        assert _content(b"".join(other.export_namespace())) == _content(exported)
        assert other.verify().ok


def test_forgotten_by_one_sidecar_not_taken_in_by_the_other(pods: tuple[Daemon, Daemon], exported: bytes) -> None:
    one, two = pods
    with Client(one.address, user_id="ada") as client, Client(two.address, user_id="ada") as other:
        client.import_namespace([exported])
        other.forget(memory_ids=["home"])
        other.delete_procedure("tea")
        taken = client.import_namespace([exported])
        assert (taken.imported, taken.forgotten) == (0, 2)
        assert client.verify().ok


def test_readers_that_go_away_leave_no_transaction(pods: tuple[Daemon, Daemon], exported: bytes) -> None:
    one, _ = pods
    with Client(one.address) as client:
        client.import_namespace([exported])
        for _ in range(3):
            next(client.export_namespace())
        assert len(_content(b"".join(client.export_namespace()))) == len(_content(exported))
        assert client.verify().ok
