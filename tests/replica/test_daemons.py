"""Whole daemons on one Postgres: one writes, the other reads; one is killed; the server goes and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from memd_client import Client, RetryPolicy
from memd_client.errors import Unavailable

from tests.daemon import Daemon
from tests.servers.postgres import UNSAFE, Launcher, Postgres

QUERY = "how does Ada like to travel?"
MOVED_S = 60.0
RETAINED_S = 90.0
"""The job comes every ten seconds, on a loaded machine later."""
NO_MEMORIES_BYTES = 2_000
"""What an empty index of procedures takes, and no index that has a vector."""


@pytest.fixture
def server(postgres18: Launcher) -> Iterator[Postgres]:
    made = postgres18.server(UNSAFE)
    yield made
    made.kill()


@pytest.fixture
def pods(server: Postgres, tmp_path: Path) -> Iterator[tuple[Daemon, Daemon]]:
    url = server.url(server.create_database())
    environment = {"MEMD_POSTGRES_URL": url, "MEMD_POSTGRES_TIMEOUT": "1", "MEMD_POSTGRES_CONNECT_TIMEOUT": "1"}
    one, other = (Daemon(tmp_path / name, environment=environment) for name in ("a", "b"))
    try:
        one.start()
        other.start()
        yield one, other
    finally:
        one.close()
        other.close()


def test_what_one_pod_remembers_the_other_recalls(pods: tuple[Daemon, Daemon]) -> None:
    one, other = pods
    with Client(one.address, user_id="ada") as a, Client(other.address, user_id="ada") as b:
        b.recall(QUERY)
        receipt = a.remember("Ada prefers trains to planes")
        found = b.recall(QUERY, min_seq=receipt.receipt.seq)
        assert [hit.memory.content for hit in found.memories] == ["Ada prefers trains to planes"]
        assert {tier.store for tier in b.stats().tiers} == {"postgres"}
        assert a.verify().ok
        assert b.verify().ok


def test_a_killed_pod_and_a_lost_server_come_back(pods: tuple[Daemon, Daemon], server: Postgres) -> None:
    one, other = pods
    with Client(one.address, user_id="ada", retry=RetryPolicy(attempts=1)) as a:
        a.remember("Ada prefers trains to planes")
        other.kill()
        a.remember("Ada lives in Lyon")
        other.start()
        server.stop()
        assert a.recall(QUERY).memories, "reads go on"
        with pytest.raises(Unavailable) as refused:
            a.remember("lost")
        assert refused.value.retry_after_s > 0
        server.start()
    with Client(other.address, user_id="ada") as b:
        b.remember("Ada is back")
        assert b.verify().ok
        assert b.verify().rows == 3


def test_retention_is_done_by_one_of_them_and_seen_by_all(pods: tuple[Daemon, Daemon]) -> None:
    one, other = pods
    with Client(one.address, user_id="ada") as a, Client(other.address, user_id="ada") as b:
        for n in range(4):
            a.remember(f"fact {n}", memory_id=f"m{n}")
        assert b.recall("fact", limit=10, trim_ratio=0.0).memories
        a.update_namespace_settings(retention_max_count=2)
        deadline_s = time.monotonic() + RETAINED_S
        for pod in (a, b):
            while {memory.memory_id for memory in pod.list()} != {"m2", "m3"}:
                assert time.monotonic() < deadline_s, "retention did not come here"
                time.sleep(0.1)
            found = pod.recall("fact", limit=10, trim_ratio=0.0).memories
            assert {hit.memory.memory_id for hit in found} == {"m2", "m3"}
            assert pod.verify().ok
        done = [job.done for pod in (a, b) for job in pod.stats().jobs if job.job == "retention"]
        assert sorted(done) == [0, 2]


def test_a_namespace_moves_to_pgvector_and_back_by_its_setting(pods: tuple[Daemon, Daemon]) -> None:
    one, other = pods
    with Client(one.address, user_id="ada") as a, Client(other.address, user_id="ada") as b:
        receipt = a.remember("Ada prefers trains to planes")
        assert b.recall(QUERY, min_seq=receipt.receipt.seq).memories
        for place in ("pgvector", "memory"):
            a.update_namespace_settings(index=place)
            for pod in (a, b):
                _wait_for(pod, in_memory=place == "memory")
                assert [hit.memory.content for hit in pod.recall(QUERY).memories] == ["Ada prefers trains to planes"]
        assert a.verify().ok


def _wait_for(pod: Client, *, in_memory: bool) -> None:
    """Until the vectors and words of the namespace are in the pod's memory, or are not."""
    deadline_s = time.monotonic() + MOVED_S
    while (pod.stats().namespace.index_bytes > NO_MEMORIES_BYTES) != in_memory:
        assert time.monotonic() < deadline_s, "the namespace did not move"
        time.sleep(0.1)
