"""Background jobs by hand: what a dry run counts, a run does, and a second one finds done."""

from __future__ import annotations

import pytest

from memd.domain.errors import InvalidArgument, WrongState
from memd.limits import DAY_US
from memd.service.jobs import Ran
from memd.service.lifecycle import LifecycleService
from tests.service.conftest import House
from tests.service.writing import say


async def test_a_dry_run_counts_and_changes_nothing(house: House) -> None:
    jobs = house.lifecycle
    await say(house, "remember that I prefer tea")
    for _ in range(2):
        assert await jobs.run("promote", dry_run=True) == Ran(1, 0)
    assert (await house.admin.stats("ns")).memories == 0
    assert await jobs.run("promote", dry_run=False) == Ran(1, 1)
    assert await jobs.run("promote", dry_run=False) == Ran(0, 0)
    assert (await house.admin.stats("ns")).memories == 1


async def test_without_a_name_all_of_them_run(house: House) -> None:
    await say(house, "remember that I prefer tea")
    house.clock.advance(3 * DAY_US)
    ran = await house.lifecycle.run("", dry_run=False)
    assert ran.changed >= 4, "promoted, digested, the event and the session went"
    assert (await house.admin.stats("ns")).memories == 2


async def test_what_cannot_be_run_says_so(house: House) -> None:
    jobs = LifecycleService(house.board(None))
    for job in ("vacuum", "Sweep"):
        with pytest.raises(InvalidArgument, match="one of promote, digest, sweep"):
            await jobs.run(job, dry_run=False)
    for job in ("", "sweep"):
        with pytest.raises(InvalidArgument, match="dry run"):
            await jobs.run(job, dry_run=True)
    with pytest.raises(WrongState, match="switched off"):
        await jobs.run("digest", dry_run=False)
    assert (await jobs.run("", dry_run=False)).examined == 0
