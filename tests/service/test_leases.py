"""A lease that is held as long as work takes, and let go of when it is another's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from memd.limits import CONSOLIDATE_LEASE_US
from memd.ports import Leases
from memd.service import leases
from memd.service.leases import HeldLeases
from tests.service.conftest import House

PATIENCE_S = 30.0
CLAIM = "ns", "digest"


async def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


class Watched:
    """The store's leases, and how often they were claimed through this."""

    def __init__(self, real: Leases) -> None:
        self._real = real
        self.claims = 0

    async def claim(self, namespace: str, job: str, holder: str, ttl_us: int) -> int | None:
        token = await self._real.claim(namespace, job, holder, ttl_us)
        self.claims += 1
        return token

    async def claimed_anew(self) -> None:
        """Until a claim is there that began after this."""
        before = self.claims
        await until(lambda: self.claims >= before + 2)

    async def release(self, namespace: str, job: str, token: int) -> None:
        await self._real.release(namespace, job, token)


@pytest.fixture(autouse=True)
def _looked_at_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_LOOK_S", 0.002)


async def test_is_prolonged_as_long_as_the_work_takes(house: House) -> None:
    watched, end = Watched(house.stores.leases), asyncio.Event()
    held = HeldLeases(watched, house.clock, "one")

    async def work() -> str:
        await end.wait()
        return "done"

    working = asyncio.ensure_future(held.during(*CLAIM, work))
    for _ in range(3):
        await watched.claimed_anew()
        house.clock.advance(CONSOLIDATE_LEASE_US - 1_000_000)
        assert await house.stores.leases.claim(*CLAIM, "two", CONSOLIDATE_LEASE_US) is None
    end.set()
    assert await working == "done"


async def test_work_without_it_is_not_begun_and_with_it_gone_is_cancelled(house: House) -> None:
    held = HeldLeases(house.stores.leases, house.clock, "one")
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
            return "done"
        except asyncio.CancelledError:
            cancelled.set()
            raise

    other = await house.stores.leases.claim(*CLAIM, "two", CONSOLIDATE_LEASE_US)
    assert other is not None
    assert await held.during(*CLAIM, work) is None
    assert not begun.is_set()
    await house.stores.leases.release(*CLAIM, other)
    working = asyncio.ensure_future(held.during(*CLAIM, work))
    await begun.wait()
    deadline = time.monotonic() + PATIENCE_S
    while await house.stores.leases.claim(*CLAIM, "two", CONSOLIDATE_LEASE_US) is None:
        house.clock.advance(CONSOLIDATE_LEASE_US)  # as if the machine had slept
        assert time.monotonic() < deadline
    assert await working is None
    assert cancelled.is_set()


async def test_what_the_work_raises_is_raised(house: House) -> None:
    async def work() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await HeldLeases(house.stores.leases, house.clock, "one").during(*CLAIM, work)
