"""Transfers: what the port promises, on every adapter; and from any of them to any other, row for row."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from memd.domain.errors import InvalidArgument
from memd.domain.model import (
    Memory,
    NamespaceSettings,
    Outcome,
    OutcomeReport,
    Scope,
    SourceKind,
)
from memd.domain.portable import Exported, Header, PortableMemory, TakenIn, model_name
from memd.domain.portable_procedures import PortableProcedure
from memd.domain.visibility import EVERYTHING
from memd.limits import EXPORT_BATCH
from memd.ports import ForgetPlan, MemoryChange
from tests.contract.builders import MODEL, draft, procedure, vector
from tests.contract.conftest import ADAPTERS, START_US, Stores

pytestmark = pytest.mark.ports("memories", "procedures", "settings")

ADA, BOT = Scope("n", "ada"), Scope("n", "ada", "bot")
NUL = "a\0b \ue000\ue001\ue002"
"""What a text may hold and Postgres's text cannot."""


async def exported(stores: Stores, namespace: str = "n") -> list[Exported]:
    async with aclosing(stores.transfers.export(namespace)) as batches:
        return [one async for batch in batches for one in batch]


def memories_of(everything: Sequence[Exported]) -> list[PortableMemory]:
    return [one for one in everything if isinstance(one, PortableMemory)]


def procedures_of(everything: Sequence[Exported]) -> list[PortableProcedure]:
    return [one for one in everything if isinstance(one, PortableProcedure)]


async def remember(stores: Stores, *ids: str, scope: Scope = ADA) -> None:
    fence = await stores.memories.fence(scope.namespace)
    drafts = [draft(one, scope=scope) for one in ids]
    await stores.memories.remember(scope.namespace, drafts, fence=fence, writer="w", request=None)


async def forget(stores: Stores, plan: ForgetPlan) -> None:
    written = await stores.memories.forget(plan, writer="w", request=None)
    await stores.memories.finish_forget(written.value.receipt_id, {})


async def fill(stores: Stores) -> None:
    """All there can be of memories, procedures and settings."""
    fence = await stores.memories.fence("n")
    told = draft(
        "told",
        NUL,
        scope=replace(BOT, session_id="s"),
        windows=3,
        metadata={"n": 1.5, "l": [True, "x", NUL]},
        tags=("a", "b"),
        source=SourceKind.TOOL,
        speaker="Ada",
        event_time=-5,
        position=7,
        importance=0.25,
        pinned=True,
        valid_from=1,
        valid_to=2,
        expire_time=START_US * 2,
        event_ids=("e1", "e2"),
    )
    await stores.memories.remember("n", [told, draft("old", scope=ADA)], fence=fence, writer="w", request=None)
    newer = draft("new", scope=ADA, supersedes="old")
    await stores.memories.remember("n", [newer], fence=fence, writer="v", request=None)
    for content in ("two", NUL):
        change = MemoryChange({"content": content}, (vector(5), vector(6)))
        await stores.memories.update(
            "n", "new", EVERYTHING, change, expected_version=0, fence=fence, writer="u", request=None
        )
    await remember(stores, *(f"m{n}" for n in range(EXPORT_BATCH)), scope=Scope("n", "bob"))
    await learn(stores)
    settings = NamespaceSettings(working_max_items=7, compress=False, compress_at=0.5)
    await stores.settings.put_settings("n", settings, expected_version=0, writer="w", request=None)


async def learn(stores: Stores) -> None:
    """A procedure whose third version was demoted, and one that nobody has used."""
    fence = await stores.memories.fence("n")
    for key, scope, contents in (("deploy", ADA, ("one", NUL, "three")), ("rest", BOT, ("once",))):
        for n, content in enumerate(contents):
            wanted = procedure(key, content, scope=scope, trigger=f"{NUL} {n}", metadata={"n": n})
            await stores.procedures.put(
                wanted, (vector(n + 1),), expected_version=None, fence=fence, writer="w", request=None
            )
    for version, outcome, times in ((2, Outcome.SUCCESS, 30), (3, Outcome.FAILURE, 12)):
        for n in range(times):
            report = OutcomeReport(outcome, f"o{version}-{n}" if n % 2 else "", NUL, n)
            await stores.procedures.report("n", "p-ada--deploy", version, report, None)


async def take_in(stores: Stores, everything: Sequence[Exported], namespace: str = "n") -> TakenIn:
    """As the service does: memories in batches, everything else one by one."""
    header = everything[0]
    assert isinstance(header, Header)
    taken, fence = TakenIn(), await stores.memories.fence(namespace)
    memories = memories_of(everything)
    for at in range(0, len(memories), 16):
        part = memories[at : at + 16]
        written = await stores.transfers.take_in(namespace, part, exported_us=header.time_us, fence=fence, writer="i")
        taken += written.value
    for one in everything:
        if isinstance(one, PortableProcedure):
            written = await stores.transfers.take_in_procedure(
                namespace, one, exported_us=header.time_us, fence=fence, writer="i"
            )
            taken += written.value
        elif isinstance(one, NamespaceSettings):
            taken += (await stores.transfers.take_in_settings(namespace, one, writer="i")).value
    return taken


class TestExport:
    async def test_an_empty_namespace_is_a_header(self, stores: Stores) -> None:
        (header,) = await exported(stores)
        assert isinstance(header, Header)
        assert (header.namespace, header.seq, header.model) == ("n", 0, model_name(MODEL))

    async def test_all_there_is_in_the_order_it_came(self, stores: Stores) -> None:
        await fill(stores)
        await remember(stores, "elsewhere", scope=Scope("m", "ada"))
        everything = await exported(stores)
        header = everything[0]
        assert isinstance(header, Header)
        assert header.seq == (await stores.settings.counts("n"))["seq"]
        assert isinstance(everything[1], NamespaceSettings)
        old, told, new, *rest = memories_of(everything)
        assert [one.memory.memory_id for one in (old, told, new)] == ["old", "told", "new"]
        assert [one.memory.memory_id for one in rest] == sorted(f"m{n}" for n in range(EXPORT_BATCH))
        assert told.memory.content == NUL
        assert told.embeddings == (vector(1), vector(2), vector(3))
        assert (old.memory.superseded_by, new.memory.supersedes) == ("new", "old")
        assert [one.version for one in new.revisions] == [1, 2]
        assert new.embeddings == (vector(5), vector(6))

    async def test_procedures_come_with_versions_records_and_reports(self, stores: Stores) -> None:
        await learn(stores)
        rest, deploy = sorted(procedures_of(await exported(stores)), key=lambda one: one.key, reverse=True)
        assert (rest.scope, rest.offer.version, len(rest.versions), rest.outcomes) == (BOT, 1, 1, ())
        assert deploy.offer.version == 2, "the third is demoted"
        assert deploy.offer.demotion is not None
        assert deploy.offer.demotion.version == 3
        assert [one.record.outcomes for one in deploy.versions] == [0, 30, 12]
        assert deploy.versions[2].demotion is not None
        assert deploy.versions[2].test.total > 0
        assert [one.embeddings for one in deploy.versions] == [(vector(n),) for n in (1, 2, 3)]
        assert len(deploy.outcomes) == 42
        assert [one.report.duration_us for one in deploy.outcomes[:30]] == list(range(30))

    async def test_it_is_of_one_moment(self, stores: Stores) -> None:
        await fill(stores)
        async with aclosing(stores.transfers.export("n")) as batches:
            found = list(await anext(batches))
            await remember(stores, "later")
            await forget(stores, ForgetPlan(ADA, EVERYTHING, memory_ids=("m0", "told")))
            found += [one async for batch in batches for one in batch]
        ids = {one.memory.memory_id for one in memories_of(found)}
        assert "later" not in ids
        assert {"m0", "told"} <= ids

    async def test_what_has_expired_is_not_in_it(self, stores: Stores) -> None:
        await fill(stores)
        stores.clock.advance(START_US * 2)
        assert "told" not in {one.memory.memory_id for one in memories_of(await exported(stores))}


class TestTakeIn:
    async def test_it_comes_out_as_it_went_in(self, stores: Stores) -> None:
        await fill(stores)
        before = await exported(stores)
        await forget(stores, ForgetPlan(Scope("n"), EVERYTHING, everything=True, all_users=True))
        assert memories_of(await exported(stores)) == []
        header = before[0]
        assert isinstance(header, Header)
        stones_are_older = [replace(header, time_us=stores.clock.now_us() + 1), *before[1:]]
        taken = await take_in(stores, stones_are_older)
        assert taken == TakenIn(imported=len(memories_of(before)) + 2, skipped=1)
        after = await exported(stores)
        assert sorted_rows(after) == sorted_rows(before)
        assert vectors_of(after) == vectors_of(before)

    async def test_again_it_changes_nothing(self, stores: Stores) -> None:
        await fill(stores)
        everything = await exported(stores)
        seq = (await stores.settings.counts("n"))["seq"]
        taken = await take_in(stores, everything)
        assert taken == TakenIn(skipped=len(everything) - 1)
        assert (await stores.settings.counts("n"))["seq"] == seq

    async def test_another_state_is_left_alone(self, stores: Stores) -> None:
        await fill(stores)
        everything = await exported(stores)
        fence = await stores.memories.fence("n")
        await stores.memories.remember("n", [draft("old", "other", scope=ADA)], fence=fence, writer="w", request=None)
        await stores.procedures.report("n", "p-ada-bot-rest", 1, OutcomeReport(Outcome.SUCCESS), None)
        now = await exported(stores)
        taken = await take_in(stores, everything)
        assert taken == TakenIn(skipped=len(everything) - 3, conflicts=2)
        assert sorted_rows(await exported(stores)) == sorted_rows(now)

    async def test_the_id_of_another_owner_is_a_conflict(self, stores: Stores) -> None:
        await remember(stores, "m")
        everything = await exported(stores)
        foreign = [replace(one, memory=replace(one.memory, scope=Scope("n", "eve"))) for one in memories_of(everything)]
        assert await take_in(stores, [everything[0], *foreign]) == TakenIn(conflicts=1)
        (memory,) = await stores.fetch("n", ["m"])
        assert memory.scope == ADA

    async def test_what_was_forgotten_since_stays_so(self, stores: Stores) -> None:
        await fill(stores)
        everything = await exported(stores)
        await stores.procedures.delete("n", "p-ada--deploy", writer="w", request=None)
        await forget(stores, ForgetPlan(ADA, EVERYTHING, memory_ids=("old",)))
        taken = await take_in(stores, everything)
        assert (taken.forgotten, taken.imported, taken.conflicts) == (2, 0, 0)
        await forget(stores, ForgetPlan(ADA, EVERYTHING, everything=True))
        taken = await take_in(stores, everything)
        assert taken.forgotten == 5, "three memories and two procedures of hers"
        assert await stores.fetch("n", ["told", "old", "new"]) == []
        assert len(await stores.fetch("n", ["m0", "m1"])) == 2

    async def test_what_has_expired_is_skipped(self, stores: Stores) -> None:
        await fill(stores)
        everything = await exported(stores)
        await forget(stores, ForgetPlan(ADA, EVERYTHING, memory_ids=("told",)))
        stores.clock.advance(START_US * 2)
        header = everything[0]
        assert isinstance(header, Header)
        told = [one for one in memories_of(everything) if one.memory.memory_id == "told"]
        stale = replace(header, time_us=stores.clock.now_us() + 1)
        assert await take_in(stores, [stale, *told]) == TakenIn(skipped=1)

    async def test_it_is_at_hand_and_in_the_index_at_once(self, stores: Stores) -> None:
        await fill(stores)
        everything = await exported(stores)
        elsewhere = [moved(one) for one in everything]
        assert (await take_in(stores, elsewhere, "m")).imported == len(everything) - 1
        found = await stores.fetch("m", ["told", "m3"])
        assert [one.content for one in found] == [NUL, "content of m3"]
        (deploy,) = await stores.fetch_procedures("m", ["p-ada--deploy"])
        assert (deploy.version, deploy.successes) == (2, 30)
        entries = {row.entry_id: row for kind in ("memory", "procedure") for row in await stores.entries("m", kind)}
        assert len(entries) == len(everything) - 2
        assert entries["told"].embeddings == vector(1) + vector(2) + vector(3)
        assert entries["p-ada--deploy"].version == 2

    async def test_wrong_embeddings_are_refused(self, stores: Stores) -> None:
        await remember(stores, "m")
        header, one = await exported(stores)
        assert isinstance(header, Header)
        assert isinstance(one, PortableMemory)
        bad = replace(one, embeddings=(vector() + vector(),))
        with pytest.raises(InvalidArgument, match="dimensions"):
            await stores.transfers.take_in("n", [bad], exported_us=header.time_us, fence=0, writer="i")


def moved(one: Exported) -> Exported:
    """To namespace m."""

    def there(memory: Memory) -> Memory:
        return replace(memory, scope=replace(memory.scope, namespace="m"))

    match one:
        case PortableMemory():
            return replace(one, memory=there(one.memory), revisions=tuple(map(there, one.revisions)))
        case PortableProcedure():
            return replace(one, scope=replace(one.scope, namespace="m"))
    return one


def sorted_rows(everything: Sequence[Exported]) -> list[Exported]:
    """But the header, which tells the moment."""
    return [one for one in everything if not isinstance(one, Header)]


def vectors_of(everything: Sequence[Exported]) -> list[tuple[bytes, ...]]:
    """Of procedures: those of memories are part of what is compared."""
    return [version.embeddings for one in procedures_of(everything) for version in one.versions]


async def test_from_the_embedded_store_and_back_row_for_row(
    stores: Stores, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SQLite -> this store -> SQLite."""
    opened = ADAPTERS["sqlite"].open
    source = await opened(request, tmp_path_factory.mktemp("source"))
    target = await opened(request, tmp_path_factory.mktemp("target"))
    try:
        await fill(source)
        first = await exported(source)
        await take_in(stores, first)
        between = await exported(stores)
        await take_in(target, between)
        last = await exported(target)
        assert sorted_rows(first) == sorted_rows(between) == sorted_rows(last)
        assert vectors_of(first) == vectors_of(between) == vectors_of(last)
    finally:
        await source.close()
        await target.close()
