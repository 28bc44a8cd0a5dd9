"""The checkpoints job: tasks that nobody saves keep no more than their namespace does."""

from __future__ import annotations

import pytest

from memd.domain.model import NamespaceSettings
from memd.limits import CHECKPOINT_PAGES, SECOND_US
from memd.service.jobs import Ran
from memd.service.pruning import CheckpointPruner
from tests.service.conftest import House


async def save(house: House, namespace: str, task_id: str, versions: int) -> None:
    for _ in range(versions):
        await house.stores.tasks.save(
            namespace, task_id, b"x", expected_version=None, ttl_us=3_600 * SECOND_US, keep=100, request=None
        )


async def left(house: House, namespace: str) -> int:
    return (await house.admin.stats(namespace)).checkpoints


def pruner(house: House) -> CheckpointPruner:
    return CheckpointPruner(house.stores.tasks, house.stores.settings, 5, house.stores.leases, "test")


async def test_each_namespace_keeps_its_number(house: House) -> None:
    for namespace in ("a", "b"):
        await save(house, namespace, "t", 7)
    await save(house, "b", "few", 1)
    await house.admin.update_settings("b", NamespaceSettings(checkpoint_history=2), writer="w")
    for _ in range(2):
        assert await house.lifecycle.run("checkpoints", dry_run=True) == Ran(7, 0)
    assert await house.lifecycle.run("checkpoints", dry_run=False) == Ran(7, 7)
    assert await house.lifecycle.run("checkpoints", dry_run=False) == Ran(0, 0)
    assert (await left(house, "a"), await left(house, "b")) == (5, 3)


async def test_a_lowered_number_is_followed_without_a_save(house: House) -> None:
    await save(house, "a", "t", 5)
    job = pruner(house)
    assert await job.run_once() == Ran(0, 0)
    await house.admin.update_settings("a", NamespaceSettings(checkpoint_history=1), writer="w")
    assert await job.run_once() == Ran(4, 4)


async def test_a_large_namespace_is_walked_in_steps_and_the_others_have_their_turn(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memd.service.pruning.CHECKPOINT_TASKS", 3)
    for n in range(3 * CHECKPOINT_PAGES + 2):
        await save(house, "large", f"t{n:03}", 2)
    await save(house, "small", "t", 9)
    await house.admin.update_settings("large", NamespaceSettings(checkpoint_history=1), writer="w")
    job = pruner(house)
    assert await job.run_once() == Ran(3 * CHECKPOINT_PAGES, 3 * CHECKPOINT_PAGES)
    assert await left(house, "small") == 9
    assert await job.run_once() == Ran(2 + 4, 2 + 4), "it goes on where it was"
    assert await job.run_once() == Ran(0, 0)


async def test_one_daemon_at_a_time(house: House) -> None:
    await save(house, "a", "t", 7)
    other = CheckpointPruner(house.stores.tasks, house.stores.settings, 5, house.stores.leases, "other")
    assert (await pruner(house).run_once()).changed == 2
    await save(house, "a", "t", 1)
    assert await other.run_once() == Ran(0, 0)
