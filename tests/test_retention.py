"""Retention against a real daemon: through the client and the command line, told to watchers, and killed in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from memd_client import Client, MemdError, NewMemory, Position, RetryPolicy, errors

from tests.daemon import CLIENTS_ONLY, Daemon
from tests.reliability.size import scaled
from tests.test_watch import Listener

DAY = timedelta(days=1)
KILLS = scaled(10)
NAMESPACES = ("a", "b", "c", "d")
EACH = 5
"""Memories that are to go between two kills, in each namespace."""
VERSIONS = 40
"""Of a checkpoint; one is to go between two kills."""
LONGEST_S = (0.06, 0.6)
"""Half of the kills in retention and pruning, which take some hundredths of a second, half in compaction."""
BULK = 8
"""Megabytes that are free in the file when compaction begins."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path, environment=CLIENTS_ONLY) as running:
        yield running


def memd(daemon: Daemon, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "memd", *words],
        env={**os.environ, "MEMD_ADDRESS": daemon.address},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def listed(client: Client) -> list[str]:
    """Ids, oldest first."""
    return [memory.memory_id for memory in client.list(page_size=1_000)][::-1]


def test_the_oldest_go_and_watchers_are_told(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as client:
        for name in ("one", "two", "three"):
            client.remember(f"fact {name}", memory_id=name)
        last = client.remember("kept", memory_id="kept", pinned=True)
        listener = Listener(client, after=Position(last.receipt.seq))
        client.update_namespace_settings(retention_max_count=2)
        client.run_lifecycle("retention")
        assert listener.next() == ("one", None)
        listener.close()
        assert listed(client) == ["two", "three", "kept"]
        assert {hit.memory.memory_id for hit in client.recall("fact", limit=10, trim_ratio=0.0).memories} == {
            "two",
            "three",
            "kept",
        }
        with pytest.raises(errors.NotFound):
            client.revisions_page("one")
        assert client.verify().ok


def test_the_jobs_are_told_of_in_the_stats(daemon: Daemon) -> None:
    with Client(daemon.address, user_id="ada") as client:
        for name in ("one", "two", "three"):
            client.remember(name, memory_id=name)
        client.update_namespace_settings(retention_max_count=2)
        client.run_lifecycle("retention")
        jobs = {job.job: job for job in client.stats().jobs}
        assert list(jobs) == ["sweep", "retention", "checkpoints", "compact"], "without those that are switched off"
        retention = jobs["retention"]
        assert retention.runs >= 1
        assert (retention.done, retention.waiting, retention.failures, retention.last_error) == (1, 0, 0, "")
        assert retention.last_time is not None


def test_on_the_command_line(daemon: Daemon) -> None:
    for name in ("one", "two", "three"):
        memd(daemon, "remember", f"fact {name}", "--id", name)
    refused = memd(daemon, "namespace", "set", "--max-count", "1", code=1)
    assert "would delete 2 of 3 memories" in refused.stderr
    dry = memd(daemon, "lifecycle", "run", "retention", "--dry-run", "--max-count", "1")
    assert dry.stdout.split() == ["examined", "2", "changed", "0", "one", "two"]
    memd(daemon, "namespace", "set", "--max-count", "1", "--max-age", "90d", "--confirm-retention")
    shown = json.loads(memd(daemon, "namespace", "show", "--json").stdout)
    assert (shown["retention_max_count"], shown["retention_max_age"]) == (1, 90 * DAY.total_seconds())
    assert "changed" in memd(daemon, "lifecycle", "run", "retention").stdout
    assert len(memd(daemon, "list").stdout.splitlines()) == 1
    table = memd(daemon, "lifecycle", "status").stdout.splitlines()
    assert [word for word in table[0].split() if word in ("job", "took", "waiting", "next")] == [
        "job",
        "took",
        "waiting",
        "next",
    ]
    assert "retention" in {line.split()[0] for line in table[1:]}
    jobs = json.loads(memd(daemon, "lifecycle", "status", "--json").stdout)
    assert next(job for job in jobs if job["job"] == "retention")["done"] == 2
    memd(daemon, "namespace", "set", "--max-count", "0", "--max-age", "0")
    assert json.loads(memd(daemon, "namespace", "show", "--json").stdout)["retention_max_count"] is None


def test_an_import_brings_no_policy_that_takes_what_is_here(daemon: Daemon) -> None:
    with Client(daemon.address, namespace="one", user_id="ada") as one, Client(daemon.address, namespace="two") as two:
        one.remember("kept", memory_id="kept")
        one.update_namespace_settings(retention_max_count=1)
        export = list(one.scoped(user_id="").export_namespace())
        for name in ("here", "there", "everywhere"):
            two.remember(name, memory_id=name)
        with pytest.raises(errors.ConfirmationNeeded, match="2 of 3 memories"):
            two.import_namespace(export, into="two")
        two.update_namespace_settings(retention_max_count=5)
        with pytest.raises(errors.AlreadyExists, match="1 differ"):
            two.import_namespace(export, into="two")
        assert two.namespace_settings().retention_max_count == 5
        assert two.stats().namespace.memories == 4


class Kept:
    """What a namespace may have lost: nothing that its policy keeps, and of the rest the oldest first. There are
    at least ``least``, and no more than ``most``, as many as there were the last time."""

    def __init__(self, client: Client, namespace: str, count: int) -> None:
        self._namespace = namespace
        self._names = [f"m{n:05}" for n in range(count)]
        self.most = self.least = count
        memd = self.of(client)
        for start in range(0, count, 200):
            names = self._names[start : start + 200]
            memd.remember([NewMemory(f"fact {name} of {namespace}", memory_id=name) for name in names])
        for _ in range(VERSIONS):
            memd.save_checkpoint("task", b"state")

    def of(self, client: Client) -> Client:
        return client.scoped(namespace=self._namespace, user_id="ada")

    def lower(self, client: Client, history: int) -> None:
        self.least -= EACH
        self.of(client).update_namespace_settings(
            retention_max_count=self.least, checkpoint_history=history, confirm_retention=True
        )

    def check(self, client: Client, history: int) -> None:
        memd = self.of(client)
        found = listed(memd)
        assert found == self._names[len(self._names) - len(found) :], "only the oldest are gone"
        assert self.least <= len(found) <= self.most
        assert self.least <= memd.stats().namespace.memories <= len(found), "the job may have come in between"
        self.most = len(found)
        assert memd.verify().ok
        versions = [one.version for one in memd.list_checkpoints_page(task_id="task", page_size=VERSIONS).items]
        assert versions == list(range(VERSIONS, VERSIONS - len(versions), -1)), "only the oldest are gone"
        assert len(versions) >= history
        assert memd.load_checkpoint("task").state == b"state"


def run_jobs(address: str) -> None:
    """In the daemon there, as far as it lives."""
    once = RetryPolicy(attempts=1)
    with Client(address, timeout_s=30.0, retry=once) as client, contextlib.suppress(MemdError):  # killed meanwhile
        for job in ("retention", "checkpoints", "compact"):
            client.run_lifecycle(job)


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Again and again at a random moment of these jobs: nothing that is kept is lost, and the rest goes in the end."""
    dice = random.Random(6)
    environment = {**CLIENTS_ONLY, "MEMD_CHECKPOINTS_HISTORY": str(VERSIONS)}
    with Daemon(tmp_path / "daemon", environment=environment) as daemon:
        with Client(daemon.address) as client:
            kept = [Kept(client, namespace, EACH * (KILLS + 2)) for namespace in NAMESPACES]
        for kill in range(KILLS):
            history = VERSIONS - kill % (VERSIONS - 1) - 1
            with Client(daemon.address) as client:
                for one in kept:
                    one.lower(client, history)
                for _ in range(BULK):
                    client.save_checkpoint("bulk", dice.randbytes(1 << 20))
                client.delete_checkpoint("bulk")
                working = threading.Thread(target=run_jobs, args=(daemon.address,))
                working.start()
                time.sleep(dice.random() * LONGEST_S[kill % 2])
                daemon.kill()
                working.join()
            daemon.start()
            with Client(daemon.address) as client:
                for one in kept:
                    one.check(client, 1 if kill >= VERSIONS - 2 else history)
        with Client(daemon.address) as client:
            client.run_lifecycle("retention")
            for one in kept:
                one.check(client, 1)
                assert one.of(client).stats().namespace.memories == one.least
