"""TaskStore: what the port promises, on every adapter."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import pytest

from memd.domain.errors import InvalidArgument, NotFound, VersionConflict
from memd.domain.model import Checkpoint, RequestKey, Written
from tests.contract.builders import request
from tests.contract.conftest import Stores

pytestmark = pytest.mark.ports("tasks")

TTL_US = 1_000_000


async def save(
    stores: Stores,
    state: bytes = b"state",
    *,
    task_id: str = "t",
    expected: int | None = None,
    keep: int = 3,
    key: RequestKey | None = None,
) -> Written[Checkpoint]:
    return await stores.tasks.save(
        "n", task_id, state, expected_version=expected, ttl_us=TTL_US, keep=keep, request=key
    )


async def versions(stores: Stores, task_id: str = "t") -> list[int]:
    return [one.version for one in (await stores.tasks.page("n", task_id, size=100, cursor="")).items]


class TestSave:
    async def test_what_was_saved_comes_back(self, stores: Stores) -> None:
        state = bytes(range(256)) * 5_000
        saved = await save(stores, state)
        assert (saved.value.version, saved.value.state, saved.value.size_bytes) == (1, b"", len(state))
        assert saved.value.sha256 == hashlib.sha256(state).digest()
        await stores.reopen()
        assert await stores.tasks.load("n", "t", 0) == replace(saved.value, state=state)
        assert await stores.tasks.load("n", "t", 1) == replace(saved.value, state=state)

    async def test_an_empty_state_is_a_state(self, stores: Stores) -> None:
        await save(stores, b"")
        assert (await stores.tasks.load("n", "t", 0)).state == b""

    async def test_compare_and_set(self, stores: Stores) -> None:
        with pytest.raises(VersionConflict) as conflict:
            await save(stores, expected=1)
        assert conflict.value.current_version == 0
        await save(stores, expected=0)
        await save(stores, expected=1)
        with pytest.raises(VersionConflict) as conflict:
            await save(stores, expected=1)
        assert conflict.value.current_version == 2
        assert (await save(stores)).value.version == 3

    async def test_exactly_one_of_many_wins_each_round(self, stores: Stores) -> None:
        for current in range(5):
            calls = [save(stores, f"{i}".encode(), expected=current) for i in range(16)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            winners = [i for i, result in enumerate(results) if isinstance(result, Written)]
            losers = [result for result in results if isinstance(result, VersionConflict)]
            assert (len(winners), len(losers)) == (1, 15)
            assert {loser.current_version for loser in losers} == {current + 1}
            assert (await stores.tasks.load("n", "t", 0)).state == f"{winners[0]}".encode()

    async def test_only_the_newest_are_kept(self, stores: Stores) -> None:
        for i in range(6):
            await save(stores, f"{i}".encode())
        assert await versions(stores) == [6, 5, 4]
        assert (await stores.tasks.load("n", "t", 4)).state == b"3"
        with pytest.raises(NotFound):
            await stores.tasks.load("n", "t", 3)
        await save(stores, keep=1)
        assert await versions(stores) == [7]

    async def test_a_repeat_has_one_effect(self, stores: Stores) -> None:
        first = await save(stores, expected=0, key=request("r"))
        await save(stores)
        assert await save(stores, expected=0, key=request("r")) == replace(first, replayed=True)
        assert await versions(stores) == [2, 1]

    async def test_tasks_and_namespaces_are_apart(self, stores: Stores) -> None:
        await save(stores, b"a")
        await save(stores, b"b", task_id="t%")
        with pytest.raises(NotFound):
            await stores.tasks.load("m", "t", 0)
        assert (await stores.tasks.load("n", "t", 0)).state == b"a"


class TestExpiry:
    async def test_every_save_refreshes_the_whole_task(self, stores: Stores) -> None:
        await save(stores)
        stores.clock.advance(TTL_US - 100)
        await save(stores)
        stores.clock.advance(TTL_US - 100)
        assert await versions(stores) == [2, 1]
        stores.clock.advance(200)
        assert await versions(stores) == []
        with pytest.raises(NotFound):
            await stores.tasks.load("n", "t", 0)
        assert (await stores.tasks.page("n", "", size=9, cursor="")).items == ()

    @pytest.mark.parametrize("swept", [False, True])
    async def test_versions_go_on_from_the_old_number(self, stores: Stores, swept: bool) -> None:
        await save(stores)
        await save(stores)
        stores.clock.advance(TTL_US)
        if swept:
            assert await stores.tasks.sweep(100) == 2
        with pytest.raises(VersionConflict) as conflict:
            await save(stores, expected=2)
        assert conflict.value.current_version == 0
        assert (await save(stores, expected=0)).value.version == 3
        assert await versions(stores) == [3], "what had expired does not come back"

    async def test_sweep_is_bounded(self, stores: Stores) -> None:
        for i in range(5):
            await save(stores, task_id=f"t{i}")
        stores.clock.advance(TTL_US)
        await save(stores, task_id="fresh")
        assert [await stores.tasks.sweep(2) for _ in range(4)] == [2, 2, 1, 0]
        assert await versions(stores, "fresh") == [1]


class TestPages:
    async def test_versions_newest_first(self, stores: Stores) -> None:
        for _ in range(3):
            await save(stores)
        first = await stores.tasks.page("n", "t", size=2, cursor="")
        rest = await stores.tasks.page("n", "t", size=2, cursor=first.next_cursor)
        assert [one.version for one in first.items + rest.items] == [3, 2, 1]
        assert rest.next_cursor == ""
        assert all(one.state == b"" and one.size_bytes == 5 for one in first.items)

    async def test_the_newest_of_every_task(self, stores: Stores) -> None:
        for task_id in ("b", "a", "c", "a"):
            await save(stores, task_id=task_id)
        first = await stores.tasks.page("n", "", size=2, cursor="")
        rest = await stores.tasks.page("n", "", size=2, cursor=first.next_cursor)
        assert [(one.task_id, one.version) for one in first.items + rest.items] == [("a", 2), ("b", 1), ("c", 1)]

    @pytest.mark.parametrize(("task_id", "cursor"), [("t", '["a"]'), ("", "[1]"), ("", "x")])
    async def test_a_foreign_page_token_is_refused(self, stores: Stores, task_id: str, cursor: str) -> None:
        with pytest.raises(InvalidArgument):
            await stores.tasks.page("n", task_id, size=2, cursor=cursor)


class TestDelete:
    async def test_the_number_stays_reserved(self, stores: Stores) -> None:
        await save(stores)
        await save(stores)
        deleted = await stores.tasks.delete("n", "t", request("r"))
        assert deleted.value == 2
        with pytest.raises(NotFound):
            await stores.tasks.load("n", "t", 0)
        with pytest.raises(VersionConflict) as conflict:
            await save(stores, expected=2)
        assert conflict.value.current_version == 0
        assert (await save(stores, expected=0)).value.version == 3
        assert await stores.tasks.delete("n", "t", request("r")) == replace(deleted, replayed=True)
        assert await versions(stores) == [3]

    async def test_nothing_to_delete(self, stores: Stores) -> None:
        assert (await stores.tasks.delete("n", "t", None)).value == 0
        await save(stores)
        stores.clock.advance(TTL_US)
        assert (await stores.tasks.delete("n", "t", None)).value == 0


class TestForget:
    async def test_named_tasks_once(self, stores: Stores) -> None:
        for task_id in ("a", "b", "c"):
            await save(stores, task_id=task_id)
        counts = await stores.tasks.forget("n", ["a", "b", "unknown"], all_tasks=False, receipt_id="r")
        assert counts == {"checkpoints": 2}
        await save(stores, task_id="a")
        assert await stores.tasks.forget("n", ["a"], all_tasks=False, receipt_id="r") == counts
        assert await versions(stores, "a") == [2]

    async def test_all_tasks_of_the_namespace(self, stores: Stores) -> None:
        for task_id in ("a", "b"):
            await save(stores, task_id=task_id)
        await stores.tasks.save("m", "a", b"x", expected_version=0, ttl_us=TTL_US, keep=1, request=None)
        assert await stores.tasks.forget("n", (), all_tasks=True, receipt_id="r") == {"checkpoints": 2}
        assert (await stores.tasks.load("m", "a", 0)).state == b"x"
        with pytest.raises(VersionConflict):
            await save(stores, task_id="a", expected=1)


class TestPrune:
    """Histories are walked, and what a lowered bound no longer keeps is deleted."""

    async def walk(self, stores: Stores, size: int = 2) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        cursor = ""
        while True:
            page = await stores.tasks.histories(size=size, cursor=cursor)
            found |= {(one.namespace, one.task_id): one.versions for one in page.items}
            cursor = page.next_cursor
            if not cursor:
                return found

    async def test_a_walk_meets_every_task(self, stores: Stores) -> None:
        assert await self.walk(stores) == {}
        for n in range(7):
            for _ in range(n % 3 + 1):
                await save(stores, task_id=f"t:{n}")
        await stores.tasks.save("m:é", "t", b"x", expected_version=None, ttl_us=TTL_US, keep=1, request=None)
        await save(stores, task_id="gone")
        await stores.tasks.delete("n", "gone", None)
        expected = {("n", f"t:{n}"): n % 3 + 1 for n in range(7)} | {("m:é", "t"): 1}
        for size in (1, 2, 100):
            assert await self.walk(stores, size) == expected

    async def test_the_newest_stay(self, stores: Stores) -> None:
        for n in range(6):
            await save(stores, b"%d" % n, keep=10)
        await save(stores, task_id="other", keep=10)
        assert await stores.tasks.prune("n", "t", 6) == 0
        assert await stores.tasks.prune("n", "t", 2) == 4
        assert await stores.tasks.prune("n", "t", 2) == 0
        assert await versions(stores) == [6, 5]
        assert (await stores.tasks.load("n", "t", 0)).state == b"5"
        assert (await stores.tasks.load("n", "t", 5)).state == b"4"
        with pytest.raises(NotFound):
            await stores.tasks.load("n", "t", 4)
        assert await versions(stores, "other") == [1]
        assert (await save(stores, expected=6, keep=10)).value.version == 7
        assert await versions(stores) == [7, 6, 5]

    async def test_what_is_not_there_is_no_error(self, stores: Stores) -> None:
        assert await stores.tasks.prune("n", "nothing", 1) == 0
        await save(stores)
        await stores.tasks.delete("n", "t", None)
        assert await stores.tasks.prune("n", "t", 1) == 0

    async def test_beside_saves(self, stores: Stores) -> None:
        """Whatever comes first: the newest stay, and every save counts."""
        for _ in range(4):
            await save(stores, keep=100)
        saving = [save(stores, keep=100) for _ in range(8)]
        pruning = [stores.tasks.prune("n", "t", 3) for _ in range(8)]
        await asyncio.gather(*(one for both in zip(saving, pruning, strict=True) for one in both))
        left = await versions(stores)
        assert left == list(range(12, 12 - len(left), -1))
        assert len(left) >= 3
        await stores.tasks.prune("n", "t", 3)
        assert await versions(stores) == [12, 11, 10]
