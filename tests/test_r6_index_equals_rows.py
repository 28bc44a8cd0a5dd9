"""R6: the index equals the rows, whatever was done and whenever it fell.

Random operations on the real stores and the real index, with restarts between: after each few of them ``Verify`` must find
the same ids, versions and change number on both sides, every memory must be found by its own text in its newest state, and
what is gone must not be found at all. (After crashes: R1 runs ``Verify`` at every kill and every power cut.) Differences
planted into the index must be found.

Each restart reads the saved indexes and what changed since: here every index is worth a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from memd.adapters import index_upkeep
from memd.domain.errors import AlreadyExists, NotFound
from memd.domain.filters import Compare
from memd.domain.model import Memory, Scope, VerifyReport
from memd.domain.visibility import EVERYTHING
from memd.limits import SECOND_US
from memd.ports import IndexChange, IndexRow, SearchOptions
from memd.service.remember import Draft
from tests.reliability import stack as stacks
from tests.reliability.pool import in_memory
from tests.reliability.size import scaled
from tests.reliability.stack import Stack, vector

OPERATIONS = scaled(1_200)
CHECK_EVERY = 20
RESTART_EVERY = 120
NAMESPACES = ("left", "right")
USERS = ("", "ada", "bob")
SAMPLED = 8


@pytest.fixture(autouse=True)
def _everything_is_worth_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_upkeep, "INDEX_SAVE_MIN_ROWS", 1)
    monkeypatch.setattr(index_upkeep, "INDEX_SAVE_INTERVAL_S", 0.0)
    monkeypatch.setattr(index_upkeep, "INDEX_UPKEEP_INTERVAL_S", 0.01)


@dataclass
class Clock:
    """Goes on by itself, and in leaps when a test wants rows to expire."""

    now: int = 1_700_000_000 * SECOND_US
    monotonic: float = 0.0

    def now_us(self) -> int:
        self.now += 1
        return self.now

    def monotonic_s(self) -> float:
        self.monotonic += 0.001
        return self.monotonic


@dataclass
class Walk:
    """The random walk: what it may still find, and words of what it must not find any more."""

    rng: random.Random
    clock: Clock
    written: int = 0
    gone: list[tuple[str, str]] = field(default_factory=list)
    """(namespace, word) of contents that were replaced, forgotten or expired."""

    def text(self) -> str:
        self.written += 1
        return f"unique{self.written:06d} and a few common words"

    async def step(self, stack: Stack) -> None:
        namespace = self.rng.choice(NAMESPACES)
        acts: dict[Callable[[Stack, str, Scope], object], int] = {
            self.remember: 8,
            self.update: 6,
            self.restore: 2,
            self.forget_ids: 3,
            self.forget_where: 1,
            self.forget_user: 1,
            self.put_procedure: 3,
            self.delete_procedure: 1,
            self.expire: 1,
        }
        act = self.rng.choices(list(acts), list(acts.values()))[0]
        before = await _memories(stack, namespace)
        with contextlib.suppress(NotFound, AlreadyExists):
            await act(stack, namespace, Scope(namespace, self.rng.choice(USERS), self.rng.choice(("", "agent"))))  # type: ignore[misc]
        after = {memory.content for memory in await _memories(stack, namespace)}
        self.gone += [(namespace, _word(m)) for m in before if m.content not in after]

    async def remember(self, stack: Stack, namespace: str, scope: Scope) -> None:
        known = [m for m in await _memories(stack, namespace) if m.scope.user_id == scope.user_id]
        old = self.rng.choice(known).memory_id if known and self.rng.random() < 0.3 else ""
        drafts = [
            Draft(Memory(f"m{self.rng.randrange(10**9)}", scope, self.text(), supersedes=old if n == 0 else ""))
            for n in range(self.rng.randint(1, 4))
        ]
        if known and self.rng.random() < 0.3:  # replace one that is there
            drafts.append(Draft(Memory(self.rng.choice(known).memory_id, scope, self.text())))
        if self.rng.random() < 0.2:
            drafts[0] = Draft(drafts[0].memory, ttl_us=60 * SECOND_US)
        private = self.rng.random() < 0.3
        await stack.remember.remember(scope, drafts, agent_private=private, writer="w")

    async def update(self, stack: Stack, namespace: str, scope: Scope) -> None:
        memory = await self._some(stack, namespace)
        values = {"content": self.text()} if self.rng.random() < 0.7 else {"tags": (f"t{self.rng.randrange(5)}",)}
        await stack.remember.update(memory.scope, memory.memory_id, values, writer="w")

    async def restore(self, stack: Stack, namespace: str, scope: Scope) -> None:
        memory = await self._some(stack, namespace)
        await stack.remember.restore(memory.scope, memory.memory_id, max(1, memory.version - 1), writer="w")

    async def forget_ids(self, stack: Stack, namespace: str, scope: Scope) -> None:
        memory = await self._some(stack, namespace)
        await stack.forget.forget(memory.scope, memory_ids=[memory.memory_id], writer="w")

    async def forget_where(self, stack: Stack, namespace: str, scope: Scope) -> None:
        tagged = Compare("eq", "tags", f"t{self.rng.randrange(5)}")
        await stack.forget.forget(scope, filter=tagged, writer="w")

    async def forget_user(self, stack: Stack, namespace: str, scope: Scope) -> None:
        if self.rng.random() < 0.2:
            await stack.forget.forget(Scope(namespace), everything=True, all_users=True, writer="w")
        else:
            await stack.forget.forget(scope, everything=True, writer="w")

    async def put_procedure(self, stack: Stack, namespace: str, scope: Scope) -> None:
        key = f"p{self.rng.randrange(6)}"
        await stack.procedures.put(scope, key, self.text(), self.text(), {}, writer="w")

    async def delete_procedure(self, stack: Stack, namespace: str, scope: Scope) -> None:
        await stack.procedures.delete(scope, f"p{self.rng.randrange(6)}", writer="w")

    async def expire(self, stack: Stack, namespace: str, scope: Scope) -> None:
        self.clock.now += 120 * SECOND_US
        await stack.stores.memories.sweep(1_000)

    async def _some(self, stack: Stack, namespace: str) -> Memory:
        memories = await _memories(stack, namespace)
        if not memories:
            raise NotFound("the namespace is empty")
        return self.rng.choice(memories)


async def _memories(stack: Stack, namespace: str) -> tuple[Memory, ...]:
    return (await stack.stores.memories.page(namespace, EVERYTHING, size=1_000, cursor="")).items


def _word(memory: Memory) -> str:
    return memory.content.split()[0]


def test_index_and_rows_agree_through_random_operations_and_restarts() -> None:
    walk = Walk(random.Random(6), Clock())
    with in_memory() as directory:
        for _ in range(OPERATIONS // RESTART_EVERY):
            asyncio.run(_some_operations(directory / "data", walk))
    assert walk.written > OPERATIONS // 2
    assert len(walk.gone) > OPERATIONS // 10


async def _some_operations(data_dir: Path, walk: Walk) -> None:
    async with stacks.opened(data_dir, clock=walk.clock) as stack:
        for n in range(RESTART_EVERY):
            if n % CHECK_EVERY == 0:
                await _check(stack, walk)
            await walk.step(stack)
        await _check(stack, walk)


async def _check(stack: Stack, walk: Walk) -> None:
    for namespace in NAMESPACES:
        report = await stack.admin.verify(namespace)
        assert report.ok, report
        memories = await _memories(stack, namespace)
        for memory in walk.rng.sample(memories, min(SAMPLED, len(memories))):
            assert (memory.memory_id, memory.version) == _best(stack, namespace, _word(memory), memory.content)
        there = set(map(_word, memories))  # a restored revision brings its words back
        gone = [word for where, word in walk.gone if where == namespace and word not in there]
        for word in walk.rng.sample(gone, min(SAMPLED, len(gone))):
            hits = _search(stack, namespace, word, None)
            assert [hit for hit in hits if hit[2]] == [], f"{word} is gone and was found"
        await _check_procedures(stack, namespace)


async def _check_procedures(stack: Stack, namespace: str) -> None:
    """No Verify covers procedures: their index is compared with the rows as they are loaded."""
    _, batches = await asyncio.to_thread(stack.stores.memories.load, namespace, "procedure")
    rows = {row.entry_id: row.version for batch in batches for row in batch}
    assert stack.index.state(namespace, "procedure").entries == rows


def _search(stack: Stack, namespace: str, word: str, embedding: bytes | None) -> list[tuple[str, int, int]]:
    answer = stack.index.search(namespace, "memory", word, embedding, EVERYTHING, SearchOptions(limit=5))
    return [(hit.entry_id, hit.version, hit.matched_terms) for hit in answer.hits]


def _best(stack: Stack, namespace: str, word: str, content: str) -> tuple[str, int]:
    return _search(stack, namespace, word, vector(content))[0][:2]


ROW = IndexRow("m0", 1, "text", vector("text"), b"{}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(IndexChange("left", "memory", 1, delete=("m0",)), {"missing": 1}, id="missing"),
        pytest.param(
            IndexChange("left", "memory", 1, put=(IndexRow("x", 1, "x", vector("x"), b"{}"),)),
            {"phantom": 1},
            id="phantom",
        ),
        pytest.param(
            IndexChange("left", "memory", 1, put=(IndexRow("m0", 2, "x", vector("x"), b"{}"),)),
            {"stale": 1},
            id="stale",
        ),
        pytest.param(IndexChange("left", "memory", 2), {"index_seq": 3}, id="ahead"),
    ],
)
async def test_a_planted_difference_is_found(tmp_path: Path, change: IndexChange, expected: dict[str, int]) -> None:
    async with stacks.opened(tmp_path / "data") as stack:
        scope = Scope("left")
        await stack.remember.remember(scope, [Draft(Memory(f"m{n}", scope, f"text {n}")) for n in range(3)], writer="w")
        report = await stack.admin.verify("left")
        assert (report.ok, report.rows, report.index_entries, report.seq) == (True, 3, 3, 1)
        stack.index.apply([IndexChange(change.namespace, change.kind, change.seq + 1, change.put, change.delete)])
        report = await stack.admin.verify("left")
        assert not report.ok
        if "index_seq" not in expected:
            assert _differences(report) == {"missing": 0, "phantom": 0, "stale": 0, **expected}
        else:
            assert report.index_seq == expected["index_seq"]


def _differences(report: VerifyReport) -> dict[str, int]:
    return {"missing": report.missing, "phantom": report.phantom, "stale": report.stale}
