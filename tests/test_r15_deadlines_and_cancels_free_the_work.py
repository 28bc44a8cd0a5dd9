"""R15: deadlines and cancels free the work: 100 ms later nothing is alive but the model call in flight.

1,000 calls at size A, in bursts over every served RPC: each is given a deadline it can hardly meet or is cancelled at a
random moment. After each burst the daemon's own gauges are read: calls, event loop tasks, texts that wait for the model
and writes that wait for the disk are all back where they were. The same with a model and with a disk that hang.

Two things go on by contract: a write that is in the store's queue is kept though nobody waits for its reply, and a
Forget goes to its end, since half of one would be worse than either.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import socket
import time
import urllib.request
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from memd_client import AsyncClient, Client, F, MemdError, NewMemory, RetryPolicy, Step, errors

from memd.rpc.server import SERVICES
from tests.app.plants import STALL
from tests.client.test_calls import NOT_UNARY
from tests.daemon import Daemon
from tests.reliability.size import scaled

CALLS = scaled(1_000)
BURST = 25
LONGEST_S = 0.05
FREE_WITHIN_S = 0.1
POLL_S = 0.005
USUAL_ANSWER_S = 0.01
GIVE_UP_S = 20.0
SEED = 20_261_122
LONG = " ".join(["the harbour master keeps the old rope near the red crane"] * 22)
STORED = 200
FREED = ("calls_in_flight", "tasks", "embed_queue_depth")
GAUGES = (*FREED, "write_queue_depth")

Send = Callable[[AsyncClient, int], Awaitable[Any]]
TO_THE_END = {"Backup"}
"""Once begun it is finished, whoever still waits: half a copy is none (tests/sqlite/test_backup.py)."""


def of_a_step(use: Callable[[AsyncClient, Step], Awaitable[Any]]) -> Send:
    """What its holder does with a step of its own."""

    async def send(client: AsyncClient, n: int) -> Any:
        return await use(client, await client.begin_step(f"steps-{n % 7}", uuid.uuid4().hex))

    return send


KINDS: dict[str, Send] = {
    "Recall": lambda c, n: c.recall(f"what about rope {n}?", limit=50, candidates=500, trim_ratio=0.0, no_cache=True),
    "Observe": lambda c, n: c.observe(f"event {n}"),
    "Remember": lambda c, n: c.remember([NewMemory(f"{LONG} {n} {i}") for i in range(16)]),
    "Forget": lambda c, n: c.scoped(user_id=f"gone-{n}").forget(everything=True),
    "GetMemory": lambda c, n: c.get(f"m{n % STORED}"),
    "ListMemories": lambda c, n: c.list_page(filter=F.metadata["n"] > n % STORED, page_size=1_000),
    "UpdateMemory": lambda c, n: c.update(f"m{n % STORED}", content=f"{LONG} {n}"),
    "ListMemoryRevisions": lambda c, n: c.revisions_page(f"m{n % STORED}"),
    "RestoreMemoryRevision": lambda c, n: c.restore_revision(f"m{n % STORED}", 1),
    "GetWorkingMemory": lambda c, n: c.working_memory(),
    "ClearWorkingMemory": lambda c, n: c.clear_working_memory(),
    "ListEpisodes": lambda c, n: c.episodes_page(page_size=1_000),
    "ListSessions": lambda c, n: c.sessions_page(),
    "EndSession": lambda c, n: c.end_session(),
    "UpdateSessionSettings": lambda c, n: c.update_session_settings(compress_keep=1 + n % 9),
    "PutProcedure": lambda c, n: c.put_procedure("moor", f"tie it {n} times", trigger=LONG),
    "GetProcedure": lambda c, n: c.get_procedure("splice"),
    "ListProcedures": lambda c, n: c.list_procedures_page(),
    "DeleteProcedure": lambda c, n: c.delete_procedure("moor"),
    "ReportOutcome": lambda c, n: c.report_outcome("splice", 1, "success"),
    "SaveCheckpoint": lambda c, n: c.save_checkpoint(f"task-{n % 7}", b"x" * 100_000),
    "LoadCheckpoint": lambda c, n: c.load_checkpoint("task"),
    "ListCheckpoints": lambda c, n: c.list_checkpoints_page(),
    "DeleteCheckpoint": lambda c, n: c.delete_checkpoint(f"task-{n % 7}"),
    "BeginStep": lambda c, n: c.begin_step(f"task-{n % 7}", f"step-{n}"),
    "RenewStep": of_a_step(lambda c, s: c.renew_step(s.task_id, s.step_id, fencing_token=s.fencing_token)),
    "CompleteStep": of_a_step(
        lambda c, s: c.complete_step(s.task_id, s.step_id, fencing_token=s.fencing_token, result=b"done")
    ),
    "FailStep": of_a_step(lambda c, s: c.fail_step(s.task_id, s.step_id, fencing_token=s.fencing_token)),
    "ListSteps": lambda c, n: c.list_steps_page(f"steps-{n % 7}"),
    "GetStats": lambda c, n: c.stats(),
    "GetNamespaceSettings": lambda c, n: c.namespace_settings(),
    "UpdateNamespaceSettings": lambda c, n: c.update_namespace_settings(working_max_items=20 + n % 5),
    "Verify": lambda c, n: c.verify(),
    "RunLifecycle": lambda c, n: c.run_lifecycle(),
}


@dataclass(frozen=True)
class Running:
    """A daemon, where its metrics are, and where files make its disk or its model hang."""

    daemon: Daemon
    metrics: str
    stalls: Path

    def page(self) -> str:
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as reply:
            return str(reply.read().decode())

    def gauges(self) -> dict[str, float]:
        page = self.page()
        return {name: float(re.findall(rf"^memd_{name} (\S+)$", page, re.M)[0]) for name in GAUGES}

    @contextlib.contextmanager
    def hanging(self, what: str) -> Iterator[None]:
        """The ``disk`` or the ``model`` hangs inside the block."""
        switch = self.stalls / what
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()

    def threads(self) -> int:
        return len(os.listdir(f"/proc/{self.daemon.pid}/task"))

    def cpu_s(self) -> float:
        user, system = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("r15")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        metrics = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        "MEMD_TESTING": "1",
        "MEMD_TEST_PLANT": "tests.app.plants:commits_wait,tests.app.plants:model_waits",
        STALL: str(directory),
    }
    with Daemon(directory / "d", arguments=["--metrics-listen", metrics], environment=environment) as daemon:
        with Client(daemon.address, user_id="u", session_id="s", timeout_s=60) as client:
            client.remember([NewMemory(f"rope {n}", memory_id=f"m{n}", metadata={"n": n}) for n in range(STORED)])
            client.put_procedure("splice", "weave the strands", trigger="splicing a rope")
            client.observe("hello")
            client.save_checkpoint("task", b"state")
        yield Running(daemon, metrics, directory)


def impatient(running: Running) -> AsyncClient:
    return AsyncClient(running.daemon.address, user_id="u", session_id="s", retry=RetryPolicy(attempts=1))


async def until_rest(running: Running, resting: Mapping[str, float], names: Iterable[str]) -> float:
    """Wait until no gauge is above ``resting``; the seconds it took, without those in which the machine was busy with
    something else: what a poll or a sleep took beyond its usual time."""
    begun, lost_s = time.monotonic(), 0.0
    while True:
        asked = time.monotonic()
        gauges = await asyncio.to_thread(running.gauges)
        answered = time.monotonic()
        lost_s += max(0.0, answered - asked - USUAL_ANSWER_S)
        if all(gauges[name] <= resting[name] for name in names) or answered - begun > GIVE_UP_S:
            return answered - begun - lost_s
        await asyncio.sleep(POLL_S)
        lost_s += max(0.0, time.monotonic() - answered - POLL_S)


async def cut_short(client: AsyncClient, send: Send, number: int, choose: random.Random) -> str:
    """One call that is given up by deadline or by cancel; the class of what came out."""
    limit_s = choose.uniform(0.001, LONGEST_S)
    try:
        if choose.random() < 0.5:
            await send(client.scoped(timeout_s=limit_s), number)
        else:
            await asyncio.wait_for(send(client.scoped(timeout_s=30), number), limit_s)
    except MemdError as error:
        return type(error).__name__
    except TimeoutError:
        return "cancelled"
    return "ok"


async def resting(running: Running) -> dict[str, float]:
    """The gauges of a daemon with nothing to do."""
    await asyncio.sleep(0.5)
    return await asyncio.to_thread(running.gauges)


def test_every_served_rpc_is_among_them() -> None:
    methods = {method.name for service in SERVICES.values() for method in service.methods}
    assert set(KINDS) == methods - NOT_UNARY - TO_THE_END


async def test_nothing_is_alive_after_the_deadline(running: Running) -> None:
    choose = random.Random(SEED)
    outcomes: list[str] = []
    took_s: list[float] = []
    names = [name for name in KINDS if name != "Forget"] * (CALLS // (len(KINDS) - 1) + 1)
    choose.shuffle(names)
    async with impatient(running) as client:
        await asyncio.gather(*(cut_short(client, send, 0, choose) for send in KINDS.values()))
        quiet, threads = await resting(running), running.threads()
        for start in range(0, CALLS, BURST):
            calls = enumerate(names[start : start + BURST], start)
            outcomes += await asyncio.gather(*(cut_short(client, KINDS[name], n, choose) for n, name in calls))
            took_s.append(await until_rest(running, quiet, FREED))
        assert await until_rest(running, quiet, GAUGES) < GIVE_UP_S
    counted = {outcome: outcomes.count(outcome) for outcome in set(outcomes)}
    assert max(took_s) < FREE_WITHIN_S, took_s
    assert set(counted) <= {"ok", "cancelled", "DeadlineExceeded", "NotFound"}, counted
    assert counted["cancelled"] + counted["DeadlineExceeded"] > CALLS // 4, counted
    assert running.threads() <= threads + 4, "threads come from bounded pools"


async def test_a_forget_goes_to_its_end_and_no_further(running: Running) -> None:
    choose = random.Random(SEED)
    quiet = await resting(running)
    async with impatient(running) as client:
        owners = [client.scoped(user_id=f"gone-{n}", timeout_s=30) for n in range(50)]
        await asyncio.gather(*(own.observe("hello") for own in owners))
        await asyncio.gather(*(cut_short(own, KINDS["Forget"], n, choose) for n, own in enumerate(owners)))
        assert await until_rest(running, quiet, GAUGES) < GIVE_UP_S


async def test_the_daemon_is_idle_and_well_afterwards(running: Running) -> None:
    await asyncio.sleep(1)  # what was forgotten is being scrubbed
    before_s = running.cpu_s()
    await asyncio.sleep(1)
    assert running.cpu_s() - before_s < 0.1
    async with impatient(running) as client:
        patient = client.scoped(timeout_s=60)
        for name, send in KINDS.items():
            if name in ("DeleteProcedure", "DeleteCheckpoint"):
                await KINDS[{"DeleteProcedure": "PutProcedure", "DeleteCheckpoint": "SaveCheckpoint"}[name]](patient, 1)
            await send(patient, 1)
        assert (await patient.verify()).ok
    log = running.daemon.log_path.read_text()
    assert " ERROR " not in log
    assert "never retrieved" not in log


async def test_with_a_model_that_hangs_calls_end_in_time_and_other_tiers_answer(running: Running) -> None:
    quiet = await resting(running)
    async with impatient(running) as client:
        await client.observe("said before")
        with running.hanging("model"):
            writes = [
                KINDS[name](client.scoped(timeout_s=0.2), n) for n in range(10) for name in ("Remember", "UpdateMemory")
            ]
            recalls = [client.scoped(timeout_s=0.3 + n / 20).recall(f"rope {n}", no_cache=True) for n in range(20)]
            begun = time.monotonic()
            outcomes = await asyncio.gather(*writes, *recalls, return_exceptions=True)
            waited_s = time.monotonic() - begun
            took_s = await until_rest(running, quiet, FREED)
        assert all(isinstance(outcome, errors.DeadlineExceeded) for outcome in outcomes[: len(writes)])
        answered = [outcome for outcome in outcomes[len(writes) :] if not isinstance(outcome, BaseException)]
        assert answered, "a late tier costs its own section, not the call"
        assert all("said before" in found.context for found in answered)
        assert waited_s < 2
        assert took_s < FREE_WITHIN_S
        assert (await client.scoped(timeout_s=30).recall("rope 1")).memories


async def test_with_a_disk_that_hangs_calls_end_in_time_and_reads_go_on(running: Running) -> None:
    quiet = await resting(running)
    names = (
        "Observe",
        "SaveCheckpoint",
        "ReportOutcome",
        "UpdateNamespaceSettings",
        "EndSession",
        "ClearWorkingMemory",
    )
    async with impatient(running) as client:
        with running.hanging("disk"):
            hasty = client.scoped(timeout_s=2, session_id="hung")
            outcomes = await asyncio.gather(
                *(KINDS[name](hasty, n) for n in range(10) for name in names), return_exceptions=True
            )
            took_s = await until_rest(running, quiet, FREED)
            assert (await client.recall("rope 1", timeout_s=5)).memories
        assert all(isinstance(outcome, errors.DeadlineExceeded) for outcome in outcomes)
        assert took_s < FREE_WITHIN_S
        await client.observe("a write that waits behind them", timeout_s=10)
        assert await until_rest(running, quiet, GAUGES) < GIVE_UP_S
        kept = [event.content async for event in client.scoped(session_id="hung", timeout_s=10).episodes()]
    assert sorted(kept) == sorted(f"event {n}" for n in range(10)), "a write in the queue is kept though nobody waits"
