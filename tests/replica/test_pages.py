"""A list is one list, whichever sidecar is asked for its next page."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memd.adapters.rows.cursors import encode_cursor
from memd.domain.errors import NotReady
from memd.domain.model import Memory, Page
from memd.domain.visibility import EVERYTHING
from memd.limits import REPLICA_WAIT_S
from memd.ports import MemoryChange
from tests.replica.conftest import OpenSidecar
from tests.replica.sidecar import Sidecar

N = "n"
CALLS, OF_ONE_CALL = 6, 7
SIZE = 4


async def page(sidecar: Sidecar, cursor: str, size: int = SIZE) -> Page[Memory]:
    return await sidecar.memories.page(N, EVERYTHING, size=size, cursor=cursor)


async def write_meanwhile(sidecar: Sidecar, number: int, changed: str) -> None:
    """A new memory, and a change of one that is to be listed yet or was."""
    await sidecar.remember(N, f"later-{number}")
    change = MemoryChange({"importance": 0.25 + number / 100})
    fence = await sidecar.memories.fence(N)
    await sidecar.memories.update(
        N, changed, EVERYTHING, change, expected_version=0, fence=fence, writer="w", request=None
    )


async def test_pages_of_two_sidecars_are_one_list_while_writes_go_on_and_one_is_rebuilt(
    open_sidecar: OpenSidecar, tmp_path: Path
) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await a.follower.follow(N, 0, REPLICA_WAIT_S)
    ids = [f"m{(call * OF_ONE_CALL + i) * 29 % 97:02}" for call in range(CALLS) for i in range(OF_ONE_CALL)]
    for start in range(0, len(ids), OF_ONE_CALL):  # those of one call have one create_time
        await a.remember(N, *ids[start : start + OF_ONE_CALL])
    seen: list[Memory] = []
    cursor, turn = "", 0
    while turn == 0 or cursor:
        got = await page((a, b)[turn % 2], cursor)
        seen += got.items
        cursor = got.next_cursor
        await write_meanwhile((b, a)[turn % 2], turn, ids[-1 - turn])
        if turn == 4:
            await b.close()
            shutil.rmtree(tmp_path / "b")
            b = await open_sidecar("b")
        turn += 1
    assert turn > 8
    assert sorted(one.memory_id for one in seen) == sorted(ids)
    keys = [(one.create_time, one.memory_id) for one in seen]
    assert keys == sorted(keys, reverse=True)


async def test_the_next_page_has_what_the_sidecar_of_the_first_one_knew(open_sidecar: OpenSidecar) -> None:
    a, b = await open_sidecar("a"), await open_sidecar("b")
    await b.follower.follow(N, 0, REPLICA_WAIT_S)
    await a.remember(N, *"abcdef")
    first = await page(a, "")
    assert (await b.memories.page(N, EVERYTHING, size=9, cursor=first.next_cursor)).items[0].memory_id == "b"
    assert [one.memory_id for one in first.items] == [*"fedc"]


async def test_a_sidecar_that_cannot_have_that_says_so(open_sidecar: OpenSidecar) -> None:
    a = await open_sidecar("a")
    seq = await a.remember(N, "m")
    with pytest.raises(NotReady, match="first page"):
        await page(a, encode_cursor(seq + 1, 1 << 60, "m"))
