"""R12: deleted stays deleted: against late writers, retries, restarts, SIGKILL in the middle, and restored copies.

500 rounds at size A. In each, a write is held at the model when a Forget of what it touches goes out, then both run.
Whichever comes first, nothing of it is there afterwards, also not after old requests are sent again or the daemon was
killed. What is promised for a copy of the data directory made before the Forget is what the receipt says: it holds what
it held, the daemon on it is whole, and forgetting again removes it there too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from memd_client import AsyncClient, Client, Event, F, ForgetReceipt, MemdError, NewMemory, RetryPolicy, errors

from tests.app.plants import STALL
from tests.daemon import Daemon
from tests.reliability.size import scaled

ROUNDS = scaled(500)
TOGETHER = 25
RESTART_EVERY = 125
KILLS = scaled(5)
CANCELS = scaled(20)
SEED = 20_261_122
QUERY = "what is known about the harbour and the pier"
CHANGED = "the harbour is closed"
NO_RETRIES = RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("r12")
    environment = {
        "MEMD_EMBEDDING_THREADS": "1",
        "MEMD_TESTING": "1",
        "MEMD_TEST_PLANT": "tests.app.plants:model_waits",
        STALL: str(directory),
    }
    with Daemon(directory, environment=environment) as daemon:
        yield daemon


class Round:
    """One user with something to forget, something that stays, and a write that comes late."""

    def __init__(self, client: AsyncClient, number: int, way: str) -> None:
        namespace = f"all-{number}" if way == "all_users" else "r12"
        self.way = way
        self.tag = f"doomed-{number}"
        self.client = client.scoped(namespace=namespace, user_id=f"user-{number}", session_id="s")
        self._number = number

    def id(self, name: str) -> str:
        """An id of this round: a memory's or a request's."""
        return f"{self._number}-{name}"

    async def prepare(self) -> None:
        await asyncio.gather(
            self.client.remember(
                [NewMemory("the harbour is old", memory_id=self.id("m"), tags=[self.tag])], request_id=self.id("m-1")
            ),
            self.client.remember("the pier is made of oak", memory_id=self.id("stays"), request_id=self.id("s-1")),
        )
        await self.client.update(self.id("m"), content="the harbour is deep", request_id=self.id("m-2"))
        if self.everything:
            await asyncio.gather(
                self.client.observe("tell me about the harbour", request_id=self.id("o-1")),
                self.client.put_procedure("moor", "tie it twice", trigger="mooring a boat", request_id=self.id("p-1")),
                self.client.save_checkpoint(self.tag, b"state", request_id=self.id("c-1")),
            )

    @property
    def everything(self) -> bool:
        return self.way in ("everything", "all_users")

    async def forget(self) -> ForgetReceipt:
        match self.way:
            case "ids":
                return await self.client.forget([self.id("m"), self.id("new")], request_id=self.id("f"))
            case "filter":
                return await self.client.forget(filter=F.tag == self.tag, request_id=self.id("f"))
            case "everything":
                user = self.client.scoped(session_id="")  # with a session it would be the session's only
                return await user.forget(everything=True, task_ids=[self.tag], request_id=self.id("f"))
        whole = self.client.scoped(user_id="", session_id="")
        return await whole.forget(everything=True, all_users=True, request_id=self.id("f"))

    async def check_gone(self) -> None:
        stays = set() if self.everything else {self.id("stays")}
        listed, found = await asyncio.gather(
            self.client.list_page(include_invalid=True),
            self.client.recall(QUERY, limit=10, trim_ratio=0.0),
        )
        assert {memory.memory_id for memory in listed.items} == stays
        assert {hit.memory.memory_id for hit in found.memories} == stays
        assert "harbour" not in found.context
        gone = self.id("m")
        for call in (self.client.get(gone), self.client.revisions_page(gone), self.client.restore_revision(gone, 1)):
            with pytest.raises(errors.NotFound):
                await call
        if self.everything:
            await self._check_other_tiers(found)

    async def _check_other_tiers(self, found: Any) -> None:
        assert not found.working
        assert not found.episodes
        assert not found.procedures
        for call in (self.client.get_procedure("moor"), self.client.load_checkpoint(self.tag)):
            with pytest.raises(errors.NotFound):
                await call

    async def send_again(self) -> None:
        """Every request that was answered, once more as it was: none of them may bring anything back."""
        await self.client.remember(
            [NewMemory("the harbour is old", memory_id=self.id("m"), tags=[self.tag])], request_id=self.id("m-1")
        )
        with pytest.raises(errors.NotFound):
            await self.client.update(self.id("m"), content="the harbour is deep", request_id=self.id("m-2"))
        if self.everything:
            await self.client.observe("tell me about the harbour", request_id=self.id("o-1"))
            with pytest.raises(errors.NotFound):
                await self.client.put_procedure(
                    "moor", "tie it twice", trigger="mooring a boat", request_id=self.id("p-1")
                )
            await self.client.save_checkpoint(self.tag, b"state", request_id=self.id("c-1"))
        await self.forget()


Late = Callable[[Round], Awaitable[Any]]
LATE: dict[str, tuple[Late, tuple[str, ...]]] = {
    "replace": (
        lambda r: r.client.remember([NewMemory(CHANGED, memory_id=r.id("m"), tags=[r.tag])], request_id=r.id("late")),
        ("ids", "filter", "everything", "all_users"),
    ),
    "new": (
        lambda r: r.client.remember(CHANGED, memory_id=r.id("new"), tags=[r.tag], request_id=r.id("late")),
        ("ids", "everything", "all_users"),
    ),
    "by content": (lambda r: r.client.remember(CHANGED, request_id=r.id("late")), ("everything", "all_users")),
    "supersede": (
        lambda r: r.client.remember(CHANGED, memory_id=r.id("new"), supersedes=r.id("m"), request_id=r.id("late")),
        ("everything", "all_users"),
    ),
    "update": (
        lambda r: r.client.update(r.id("m"), content=CHANGED, request_id=r.id("late")),
        ("ids", "filter", "everything", "all_users"),
    ),
    "procedure": (
        lambda r: r.client.put_procedure("moor", "tie it thrice", trigger=CHANGED, request_id=r.id("late")),
        ("everything", "all_users"),
    ),
}
MIX = [(name, way) for name, (_, ways) in LATE.items() for way in ways]


async def refused(writing: Awaitable[Any]) -> bool:
    """Whether a late write was refused. An update that finds nothing is no less refused."""
    try:
        await writing
    except (errors.Forgotten, errors.NotFound):
        return True
    return False


async def at_the_model(idle: AsyncClient, texts: int) -> None:
    """Wait until the model has one of ``texts`` and the others wait for it: nobody takes a fence later than that."""
    while True:
        process = (await idle.stats()).process
        assert process is not None
        if process.embed_queue_depth == texts - 1:
            return
        await asyncio.sleep(0.002)


async def race(rounds: Sequence[tuple[Round, Late]], running: Daemon, idle: AsyncClient, head_start_s: float) -> int:
    """Hold the late writes at the model; then let them go and send the Forgets, these ``head_start_s`` after (before,
    where it is negative) those. How many writes were refused; the others were stored before their Forget."""
    with hanging(running):
        writing = [asyncio.ensure_future(refused(late(round_))) for round_, late in rounds]
        await at_the_model(idle, len(rounds))
        forgetting = [asyncio.ensure_future(round_.forget()) for round_, _ in rounds if head_start_s < 0]
        await asyncio.sleep(-min(head_start_s, 0.0))
    await asyncio.sleep(max(head_start_s, 0.0))
    forgetting += [asyncio.ensure_future(round_.forget()) for round_, _ in rounds if head_start_s >= 0]
    await asyncio.gather(*forgetting)
    return sum(await asyncio.gather(*writing))


@contextlib.contextmanager
def hanging(running: Daemon) -> Iterator[None]:
    """The model hangs inside the block."""
    switch = Path(running.environment[STALL], "model")
    switch.touch()
    yield
    switch.unlink()


async def all_of(rounds: Iterable[Round], *steps: Callable[[Round], Awaitable[None]]) -> None:
    """Each step for all rounds at once."""
    for step in steps:
        await asyncio.gather(*(step(round_) for round_ in rounds))


async def test_late_writers_and_retries_bring_nothing_back(running: Daemon) -> None:
    choose = random.Random(SEED)
    done: list[Round] = []
    late = 0
    async with AsyncClient(running.address, timeout_s=60) as client:
        for start in range(0, ROUNDS, TOGETHER):
            kinds = [MIX[number % len(MIX)] for number in range(start, start + TOGETHER)]
            rounds = [(Round(client, start + n, way), LATE[name][0]) for n, (name, way) in enumerate(kinds)]
            batch = [round_ for round_, _ in rounds]
            await all_of(batch, Round.prepare)
            late += await race(rounds, running, client.scoped(namespace="idle"), choose.uniform(-0.1, 0.2))
            await all_of(batch, Round.check_gone)
            await all_of(batch[::3], Round.send_again, Round.check_gone)
            done += batch
            if start % RESTART_EVERY == RESTART_EVERY - TOGETHER:
                await asyncio.to_thread(running.kill if choose.random() < 0.5 else running.terminate)
                await asyncio.to_thread(running.start)
                await all_of(choose.sample(done, TOGETHER), Round.check_gone, Round.send_again, Round.check_gone)
        kept = sum(not one.everything for one in done)
        assert (await client.scoped(namespace="r12").stats()).namespace.memories == kept
        assert (await client.scoped(namespace="r12").verify()).ok
    assert len(done) == ROUNDS
    assert ROUNDS // 10 < late < ROUNDS, f"{late} writes came after their Forget: both orders must occur"


async def test_a_page_after_the_forget_shows_nothing_of_it(running: Daemon) -> None:
    async with AsyncClient(running.address, user_id="pages") as client:
        await client.remember([NewMemory(f"fact {n}", memory_id=f"m{n}") for n in range(9)])
        first = await client.list_page(page_size=3)
        await client.forget([f"m{n}" for n in range(9)])
        second = await client.list_page(page_size=3, page_token=first.next_page_token)
    assert not second.items


async def test_an_old_retry_does_not_show_what_somebody_else_stored_since(running: Daemon) -> None:
    async with AsyncClient(running.address, user_id="first") as first, AsyncClient(running.address) as any_user:
        second = any_user.scoped(user_id="second")
        await first.remember("mine", memory_id="shared-id")
        await first.update("shared-id", content="still mine", request_id="update")
        await first.forget("shared-id")
        await second.remember("not yours", memory_id="shared-id")
        await second.update("shared-id", content="not yours either")
        with pytest.raises(errors.NotFound):
            await first.update("shared-id", content="still mine", request_id="update")


# -- a Forget of everything that is cut short


def furnish(client: Client, user: str) -> Client:
    """Memories, sessions, a procedure and a checkpoint of one user."""
    own = client.scoped(user_id=user)
    own.remember([NewMemory(f"{user} fact {n}", memory_id=f"{user}-{n}") for n in range(5)])
    for n in range(5):
        own.scoped(session_id=f"s{n}").observe([Event(f"{user} said {i}") for i in range(5)])
    own.put_procedure("moor", "tie it twice", trigger="mooring a boat")
    own.save_checkpoint(f"task-{user}", b"state")
    return own


def left(own: Client) -> tuple[int, int, int, int]:
    """How many memories, sessions, procedures and checkpoints a user still has."""
    try:
        own.load_checkpoint(f"task-{own.scope.user_id}")
        checkpoints = 1
    except errors.NotFound:
        checkpoints = 0
    procedures = len(list(own.list_procedures()))
    return len(list(own.list(include_invalid=True))), len(list(own.sessions())), procedures, checkpoints


WHOLE, NOTHING = (5, 5, 1, 1), (0, 0, 0, 0)


def forget_all(own: Client) -> ForgetReceipt:
    task = f"task-{own.scope.user_id}"
    return own.forget(everything=True, task_ids=[task], request_id=f"forget-{own.scope.user_id}", timeout_s=5)


@pytest.mark.parametrize("store", ["sessions", "tasks", "receipt"])
def test_a_forget_killed_between_two_stores_is_finished_at_the_next_start(running: Daemon, store: str) -> None:
    planted = {"MEMD_TEST_PLANT": f"tests.app.plants:die_before_forgetting_{store}"}
    environment = running.environment
    with Client(running.address, namespace=f"killed-{store}", retry=NO_RETRIES) as client:
        ada, bob = (furnish(client, f"{name}-{store}") for name in ("ada", "bob"))
        running.terminate()
        running.environment = {**environment, **planted}
        running.start()
        running.environment = environment
        with pytest.raises(errors.Unavailable):
            forget_all(ada)
        assert running.process is not None
        assert running.process.wait(10) == -signal.SIGKILL
        running.start()
    with Client(running.address, namespace=f"killed-{store}") as client:
        ada, bob = (client.scoped(user_id=own.scope.user_id) for own in (ada, bob))
        assert left(ada) == NOTHING
        assert left(bob) == WHOLE
        receipt = forget_all(ada)
        assert (receipt.counts["memories"], receipt.counts["sessions"], receipt.counts["checkpoints"]) == (5, 5, 1)
        assert client.verify().ok


def test_a_forget_killed_at_any_time_is_whole_or_not_at_all(running: Daemon) -> None:
    choose = random.Random(SEED)
    with ThreadPoolExecutor(1) as pool, Client(running.address, namespace="kills", retry=NO_RETRIES) as client:
        for number in range(KILLS):
            own = furnish(client, f"victim-{number}")
            forgetting: Future[ForgetReceipt] = pool.submit(forget_all, own)
            wait_s = choose.uniform(0.0, 0.02)
            acknowledged = _succeeds(forgetting, wait_s)
            running.kill()
            acknowledged = acknowledged or _succeeds(forgetting, 10)
            running.start()
            with Client(running.address, namespace="kills") as again:
                view = again.scoped(user_id=own.scope.user_id)
                assert left(view) == NOTHING if acknowledged else left(view) in (WHOLE, NOTHING)
                assert forget_all(view).counts["sessions"] == 5
                assert left(view) == NOTHING


def _succeeds(forgetting: Future[ForgetReceipt], within_s: float) -> bool:
    try:
        return bool(forgetting.result(within_s).receipt_id)
    except (MemdError, TimeoutError):
        return False


async def test_a_forget_whose_caller_gave_up_is_whole_and_spares_what_is_said_later(running: Daemon) -> None:
    choose = random.Random(SEED)
    with Client(running.address, namespace="cancels") as client:
        owners = [furnish(client, f"fickle-{number}") for number in range(CANCELS)]
        async with AsyncClient(running.address, namespace="cancels") as fickle:
            for own in owners:
                forgetting = fickle.scoped(user_id=own.scope.user_id).forget(
                    everything=True, task_ids=[f"task-{own.scope.user_id}"]
                )
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(forgetting, choose.uniform(0.0, 0.012))
        await asyncio.sleep(1)
        outcomes = [left(own) for own in owners]
        assert set(outcomes) <= {WHOLE, NOTHING}
        gone = [
            own.scoped(session_id="after") for own, outcome in zip(owners, outcomes, strict=True) if not any(outcome)
        ]
        for view in gone:
            view.observe("said afterwards")
        running.kill()
        running.start()
        assert all([event.content for event in view.episodes()] == ["said afterwards"] for view in gone)
    assert gone


# -- copies


def test_a_copy_from_before_holds_what_the_receipt_says_and_can_be_made_to_forget(
    running: Daemon, tmp_path: Path
) -> None:
    with Client(running.address, namespace="copies") as client:
        own = furnish(client, "ada")
        furnish(client, "bob")
        running.terminate()
        copy = shutil.copytree(running.data_dir, tmp_path / "copy")
        running.start()
        receipt = forget_all(own)
        assert any("copies of the data directory made before" in text for text in receipt.out_of_reach)
        running.terminate()
        shutil.rmtree(running.data_dir)
        shutil.copytree(copy, running.data_dir)
        running.start()
        assert left(own) == WHOLE, "the copy holds what it held"
        assert own.verify().ok
        again = forget_all(own)  # the same request: the copy has never seen it
        assert again.receipt_id != receipt.receipt_id
        assert left(own) == NOTHING
        running.kill()
        running.start()
        assert left(own) == NOTHING
        assert left(client.scoped(user_id="bob")) == WHOLE
        assert own.verify().ok
