"""A session's own numbers of compression, over a real SQLite store."""

from __future__ import annotations

from dataclasses import replace

from memd.adapters.sqlite import SqliteStores
from memd.domain.model import NamespaceSettings, Scope
from memd.domain.session_settings import NO_OVERRIDES, SessionSettings, SettingsChange
from memd.limits import COMPRESSION_SCAN_PAUSE_S
from memd.service.sessions import SessionService
from tests.service.test_compression import SCOPE, Daemon, kinds, lines, stores

__all__ = ["stores"]

SMALLER = replace(SCOPE, session_id="smaller")
LARGER = replace(SCOPE, session_id="larger")


class Configured(Daemon):
    """With the use case that changes settings."""

    async def change(
        self, change: SettingsChange, scope: Scope = SCOPE, *, reset: bool = False, elsewhere: bool = False
    ) -> SessionSettings:
        """``elsewhere``: by another daemon on the same store, of which nothing is heard here."""
        told = None if elsewhere else self.compression.observed
        service = SessionService(self.stores.sessions, self.policy, told)
        return (await service.update_settings(scope, change, reset=reset)).value.settings

    async def change_namespace(self, settings: NamespaceSettings) -> None:
        await self.stores.settings.put_settings("n", settings, expected_version=0, writer="w", request=None)
        self.policy.invalidate("n")

    async def held(self, scope: Scope = SCOPE) -> tuple[int, int]:
        """Summaries and items in working memory, once nothing waits."""
        await self.settle()
        found = kinds(await self.working(scope))
        return sum(found), len(found) - sum(found)


async def test_a_smaller_bound_compresses_earlier_and_a_larger_one_later(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    await daemon.change({"working_max_items": 8}, SMALLER)
    await daemon.change({"working_max_items": 40}, LARGER)
    for scope in (SMALLER, SCOPE, LARGER):
        await daemon.say(*lines(9), scope=scope)
    assert [await daemon.held(scope) for scope in (SMALLER, SCOPE, LARGER)] == [(1, 5), (0, 9), (0, 9)]
    for scope in (SCOPE, LARGER):
        await daemon.say(*lines(12, 10), scope=scope)
    assert [await daemon.held(scope) for scope in (SCOPE, LARGER)] == [(1, 5), (0, 21)]
    await daemon.say(*lines(20, 22), scope=LARGER)
    assert await daemon.held(LARGER) == (1, 5)


async def test_the_token_budget_and_its_threshold_are_the_sessions(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    await daemon.say(*lines(6))
    tokens = (await daemon.working()).tokens
    await daemon.change({"working_max_tokens": 2 * tokens, "compress_keep": 2})
    assert await daemon.held() == (0, 6), "at 80 % of twice as much it is not over the threshold"
    await daemon.change({"compress_at": 0.4})
    assert await daemon.held() == (1, 2)


async def test_how_long_a_summary_is_and_when_they_become_one(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    shorter = {"working_max_items": 10, "compress_keep": 2, "compress_to": 0.1}
    longer = {**shorter, "compress_to": 0.5}
    for scope, change in ((SMALLER, shorter), (LARGER, longer)):
        await daemon.change(change, scope)
        await daemon.say(*lines(40), scope=scope)
        await daemon.settle()
    short, long = [(await daemon.working(scope)).items[0].tokens for scope in (SMALLER, LARGER)]
    assert short < long
    for start in range(41, 201, 20):
        for scope in (SMALLER, LARGER):
            await daemon.say(*lines(20, start), scope=scope)
            await daemon.settle()
    assert (await daemon.held(LARGER))[0] > 1, "together less than the share of 8,000 tokens that is the namespace's"
    await daemon.change({"summary_share": 0.02}, LARGER)
    await daemon.say(*lines(20, 201), scope=LARGER)
    assert await daemon.held(LARGER) == (1, 2)


async def test_it_is_switched_on_and_off_for_a_session(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    await daemon.change({"compress": False}, SMALLER)
    await daemon.say(*lines(30), scope=SMALLER)
    assert await daemon.held(SMALLER) == (0, 20)
    await daemon.change_namespace(NamespaceSettings(compress=False, compress_keep=3))
    await daemon.change({"compress": True}, LARGER)
    for scope in (SCOPE, LARGER):
        await daemon.say(*lines(30), scope=scope)
    assert [await daemon.held(scope) for scope in (SCOPE, LARGER)] == [(0, 20), (1, 3)]


async def test_a_change_takes_effect_at_the_next_append(stores: SqliteStores) -> None:
    """Also one that another daemon made, of which this one has heard nothing."""
    daemon = Configured(stores)
    await daemon.say(*lines(12))
    assert await daemon.held() == (0, 12)
    await daemon.change({"working_max_items": 8}, elsewhere=True)
    assert await daemon.held() == (0, 12)
    await daemon.say("one more")
    assert await daemon.held() == (1, 5)
    await daemon.change({"working_max_items": 30}, elsewhere=True)
    await daemon.say(*lines(24, 13))
    assert await daemon.held() == (1, 29)
    await daemon.change({}, reset=True, elsewhere=True)
    await daemon.say("and one more")
    assert await daemon.held() == (2, 5)


async def test_a_session_over_its_new_bound_is_compressed_at_once(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    await daemon.say(*lines(12))
    assert await daemon.held() == (0, 12)
    await daemon.change({"working_max_items": 8})
    assert await daemon.held() == (1, 5)


async def test_the_scan_goes_by_the_sessions_own(stores: SqliteStores) -> None:
    """A change that a daemon made which died, found without an append; and what is within its own bounds is let be."""
    daemon = Configured(stores)
    await daemon.change({"working_max_items": 40}, LARGER)
    await daemon.say(*lines(30), scope=LARGER)
    await daemon.say(*lines(12))
    assert [await daemon.held(scope) for scope in (SCOPE, LARGER)] == [(0, 12), (0, 30)]
    await daemon.change({"working_max_items": 8}, elsewhere=True)
    assert await daemon.scan.run_once() == 2
    assert daemon.compression.queue_depth == 1, "the other is known to be within its own bounds"
    assert [await daemon.held(scope) for scope in (SCOPE, LARGER)] == [(1, 5), (0, 30)]
    daemon.clock.at_s += COMPRESSION_SCAN_PAUSE_S
    daemon.restart()
    assert await daemon.scan.run_once() == 2
    assert [await daemon.held(scope) for scope in (SCOPE, LARGER)] == [(1, 5), (0, 30)]


async def test_the_scan_finds_a_session_that_compresses_though_its_namespace_does_not(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    await daemon.change_namespace(NamespaceSettings(compress=False))
    await daemon.say(*lines(12))
    await daemon.say(*lines(12), scope=SMALLER)
    await daemon.change({"compress": True, "working_max_items": 8}, SMALLER, elsewhere=True)
    assert await daemon.scan.run_once() == 2
    assert daemon.compression.queue_depth == 1
    assert [await daemon.held(scope) for scope in (SCOPE, SMALLER)] == [(0, 12), (1, 5)]


async def test_a_change_of_the_namespace_reaches_what_a_session_has_not_set(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    await daemon.change({"working_max_items": 30}, LARGER)
    for scope in (SCOPE, LARGER):
        await daemon.say(*lines(12), scope=scope)
    await daemon.change_namespace(NamespaceSettings(working_max_items=8, compress_keep=2))
    for scope in (SCOPE, LARGER):
        await daemon.say("one more", scope=scope)
    assert [await daemon.held(scope) for scope in (SCOPE, LARGER)] == [(1, 2), (0, 13)]
    await daemon.say(*lines(18, 13), scope=LARGER)
    assert await daemon.held(LARGER) == (1, 2), "its own items, the namespace's number that stays"


async def test_reset_is_of_what_is_not_named(stores: SqliteStores) -> None:
    daemon = Configured(stores)
    await daemon.change({"working_max_items": 8, "compress": False, "compress_keep": 2})
    assert await daemon.change({"compress_keep": 3}, reset=True) == SessionSettings(compress_keep=3)
    assert await daemon.change({}, reset=True) is NO_OVERRIDES


async def test_it_is_compressed_by_the_settings_of_its_turn(stores: SqliteStores) -> None:
    """What waits in the queue may be changed meanwhile."""
    daemon = Configured(stores)
    await daemon.say(*lines(21))
    await daemon.change({"working_max_items": 40}, elsewhere=True)
    assert await daemon.held() == (0, 21)
    await daemon.say(*lines(20, 22))
    await daemon.change({"compress_keep": 9}, elsewhere=True)
    assert await daemon.held() == (1, 9)
