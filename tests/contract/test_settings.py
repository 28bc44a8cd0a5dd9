"""SettingsStore: what the port promises, on every adapter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memd.domain.errors import VersionConflict
from memd.domain.model import NamespaceSettings, RequestKey, Scope, Written
from tests.contract.builders import POLICY, SESSION, draft, event, procedure, request, vector
from tests.contract.conftest import Stores

pytestmark = pytest.mark.ports("settings")


async def put(
    stores: Stores, settings: NamespaceSettings, *, expected: int = 0, key: RequestKey | None = None
) -> Written[NamespaceSettings]:
    return await stores.settings.put_settings("n", settings, expected_version=expected, writer="w", request=key)


async def test_nothing_is_overridden_at_first(stores: Stores) -> None:
    assert await stores.settings.settings("n") == NamespaceSettings()


async def test_they_are_replaced_as_a_whole(stores: Stores) -> None:
    first = await put(stores, NamespaceSettings(working_max_items=7, episodic_ttl_us=5))
    assert first.value == NamespaceSettings(working_max_items=7, episodic_ttl_us=5, version=1)
    second = await put(stores, NamespaceSettings(checkpoint_history=2))
    assert second.value == NamespaceSettings(checkpoint_history=2, version=2)
    await stores.reopen()
    assert await stores.settings.settings("n") == second.value
    assert await stores.settings.settings("m") == NamespaceSettings()


async def test_compare_and_set(stores: Stores) -> None:
    with pytest.raises(VersionConflict) as conflict:
        await put(stores, NamespaceSettings(), expected=1)
    assert conflict.value.current_version == 0
    await put(stores, NamespaceSettings())
    await put(stores, NamespaceSettings(working_max_items=1), expected=1)
    with pytest.raises(VersionConflict) as conflict:
        await put(stores, NamespaceSettings(), expected=1)
    assert conflict.value.current_version == 2


async def test_a_repeat_has_one_effect(stores: Stores) -> None:
    first = await put(stores, NamespaceSettings(working_max_items=7), key=request("r"))
    await put(stores, NamespaceSettings(working_max_items=8))
    assert await put(stores, NamespaceSettings(working_max_items=7), key=request("r")) == replace(first, replayed=True)
    assert (await stores.settings.settings("n")).working_max_items == 8


@pytest.mark.ports("memories", "procedures", "sessions", "settings", "tasks")
async def test_counts(stores: Stores) -> None:
    assert set((await stores.settings.counts("n")).values()) == {0}
    fence = await stores.memories.fence("n")
    await stores.memories.remember("n", [draft("m1"), draft("m2")], fence=fence, writer="w", request=None)
    await stores.procedures.put(
        procedure("k"), (vector(),), expected_version=None, fence=fence, writer="w", request=None
    )
    await stores.sessions.append(SESSION, [event("a"), event("b"), event("c")], POLICY, None)
    await stores.sessions.append(Scope("m", "u", "a", "s"), [event("a")], POLICY, None)
    for _ in range(2):
        await stores.tasks.save("n", "t", b"x", expected_version=None, ttl_us=10_000_000, keep=5, request=None)
    expected = {"memories": 2, "procedures": 1, "sessions": 1, "events": 3, "checkpoints": 2, "seq": 2}
    assert dict(await stores.settings.counts("n")) == expected
    stores.clock.advance(POLICY.ttl_us)
    assert dict(await stores.settings.counts("n")) == {**expected, "sessions": 0, "events": 0}
