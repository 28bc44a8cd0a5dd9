"""R13: Redis may die, hang, be emptied or fail over. Nothing that was acknowledged as durable is lost by it, a hang costs
one timeout and not every call, and sessions come back by themselves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from memd_client import Client, F, Recall, RetryPolicy, TierState

from memd.adapters.redis import RedisSessions, RedisSettings
from memd.domain.errors import MemdError, Unavailable
from memd.domain.model import Durability, Scope
from memd.limits import HOUR_US
from tests.contract.builders import POLICY, SESSION, event, request
from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.servers.redis import BINARIES, MISSING, SYNCED, RedisServer, cluster, find

FAULTS = scaled(20)
EMPTIED = scaled(5)
RECALLS = 5
"""Before each fault and in it."""
TIMEOUT_S = 0.3
COOL_DOWN_S = 0.05
BACK_S = 20.0
LONG = replace(
    POLICY, ttl_us=HOUR_US, episodic_max_items=1_000_000, working_max_items=1_000, working_max_tokens=1_000_000
)
PAGE = 1_000


@pytest.fixture(params=sorted(BINARIES))
def binary(request: pytest.FixtureRequest) -> Path:
    found = find(request.param)
    if found is None:
        pytest.skip(MISSING[request.param])
    return found


def settings(url: str) -> RedisSettings:
    return RedisSettings(url, timeout_s=TIMEOUT_S, breaker_cool_down_s=COOL_DOWN_S)


class Writer:
    """Appends all the time, as a client that repeats what failed with the same request_id."""

    def __init__(self, sessions: RedisSessions, scope: Scope) -> None:
        self.sessions = sessions
        self.scope = scope
        self.synced: list[str] = []
        self.refused = 0
        self._stop = False

    async def run(self) -> None:
        number = 1
        while not self._stop:
            if await self._append(f"{self.scope.session_id}-{number}"):
                number += 1
            else:
                await asyncio.sleep(0.01)

    async def _append(self, name: str) -> bool:
        try:
            written = await self.sessions.append(self.scope, [event(name)], LONG, request(name))
        except Unavailable:
            self.refused += 1
            return False
        if written.durability is Durability.SYNCED:
            self.synced.append(name)
        return True

    def stop(self) -> None:
        self._stop = True


async def back(sessions: RedisSessions) -> None:
    for _ in range(int(BACK_S / 0.01)):
        if sessions.describe().reachable:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come back by itself")


async def episode_ids(sessions: RedisSessions, scope: Scope) -> list[str]:
    found, cursor = [], ""
    while True:
        page = await sessions.episodes(scope, LONG, kinds=frozenset(), size=PAGE, cursor=cursor)
        found += [one.event_id for one in page.items]
        cursor = page.next_cursor
        if not cursor:
            return found[::-1]


async def test_what_was_synced_survives_deaths_and_hangs(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, SYNCED) as server:
        sessions = await RedisSessions.open(settings(server.url))
        try:
            writers = [Writer(sessions, replace(SESSION, session_id=f"s{i}")) for i in range(4)]
            running = [asyncio.ensure_future(writer.run()) for writer in writers]
            for fault in range(FAULTS):
                await asyncio.sleep(0.05)
                if fault % 2:
                    server.hang()
                    await asyncio.sleep(2 * TIMEOUT_S)
                    server.resume()
                else:
                    await asyncio.to_thread(server.kill)
                    await asyncio.sleep(0.05)
                    server.start()
                await back(sessions)
            for writer in writers:
                writer.stop()
            await asyncio.gather(*running)
            assert sum(writer.refused for writer in writers) > 0, "no fault was felt"
            for writer in writers:
                stored = await episode_ids(sessions, writer.scope)
                assert set(writer.synced) <= set(stored), "an acknowledged event is lost"
                assert len(stored) == len(set(stored)), "a repeat had two effects"
                assert stored == sorted(stored, key=lambda name: int(name.split("-")[1])), "the order is another one"
        finally:
            await sessions.close()


@pytest.mark.parametrize("fault", ["emptied", "restarted empty"])
async def test_an_emptied_server_starts_anew(binary: Path, tmp_path: Path, fault: str) -> None:
    with RedisServer(binary, tmp_path, SYNCED) as server:
        faults: dict[str, Callable[[], object]] = {
            "emptied": lambda: server.send("FLUSHALL"),
            "restarted empty": lambda: server.restart(empty=True),
        }
        sessions = await RedisSessions.open(settings(server.url))
        try:
            for i in range(EMPTIED):
                await sessions.append(SESSION, [event(f"a{i}"), event(f"b{i}")], LONG, request(f"r{i}"))
                faults[fault]()
                working, older = await sessions.recent(SESSION, LONG, 3)
                assert (working.items, older) == ((), ())
                assert await sessions.count(Scope("n"), all_users=True) == {"events": 0, "sessions": 0}
                written = await sessions.append(SESSION, [event(f"a{i}")], LONG, request(f"again{i}"))
                assert [one.position for one in written.value] == [1]
                assert (await sessions.sessions(SESSION, size=9, cursor="")).items[0].event_count == 1
                await sessions.forget(SESSION, all_users=False, receipt_id=f"f{i}")
        finally:
            await sessions.close()


async def test_a_hang_costs_one_timeout_and_not_every_call(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, SYNCED) as server:
        sessions = await RedisSessions.open(settings(server.url))
        try:
            await sessions.append(SESSION, [event("a")], LONG, None)
            server.hang()
            with pytest.raises(Unavailable):
                await sessions.recent(SESSION, LONG, 3)
            begun = time.monotonic()
            for _ in range(1_000):
                with pytest.raises(Unavailable):
                    await sessions.recent(SESSION, LONG, 3)
            assert time.monotonic() - begun < 1_000 * TIMEOUT_S / 10, "calls wait for a server that is known to hang"
            server.resume()
            await back(sessions)
            working, _ = await sessions.recent(SESSION, LONG, 3)
            assert [one.event_id for one in working.items] == ["a"]
        finally:
            await sessions.close()


async def test_callers_in_a_hang_are_all_let_go(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, SYNCED) as server:
        sessions = await RedisSessions.open(replace(settings(server.url), pool=2))
        try:
            server.hang()
            begun = time.monotonic()
            results = await asyncio.gather(
                *(sessions.recent(SESSION, LONG, 3) for _ in range(200)), return_exceptions=True
            )
            assert all(isinstance(result, MemdError) for result in results)
            assert time.monotonic() - begun < 20 * TIMEOUT_S, (
                "those who queue wait for one timeout, not for two hundred"
            )
            server.resume()
            await back(sessions)
        finally:
            await sessions.close()


async def test_a_cluster_that_fails_over_comes_back(binary: Path, tmp_path: Path) -> None:
    with cluster(binary, tmp_path, SYNCED) as formed:
        sessions = await RedisSessions.open(settings(formed.url))
        try:
            writers = [Writer(sessions, replace(SESSION, session_id=f"s{i}")) for i in range(6)]
            running = [asyncio.ensure_future(writer.run()) for writer in writers]
            await asyncio.sleep(0.2)
            await asyncio.to_thread(formed.kill_primary, 0)
            await back(sessions)
            counts = [len(writer.synced) for writer in writers]
            for _ in range(int(BACK_S / 0.02)):
                if all(len(w.synced) > n for w, n in zip(writers, counts, strict=True)):
                    break
                await asyncio.sleep(0.02)
            for writer in writers:
                writer.stop()
            await asyncio.gather(*running)
            assert all(len(w.synced) > n for w, n in zip(writers, counts, strict=True)), "a slot did not come back"
        finally:
            await sessions.close()


def test_a_daemon_recalls_and_remembers_without_redis(binary: Path, tmp_path: Path) -> None:
    """Memories are embedded: they are stored and recalled through every fault, the sections of a session say they are
    missing, and they come back without anybody's help."""
    quick = {"MEMD_REDIS_TIMEOUT": str(TIMEOUT_S), "MEMD_REDIS_BREAKER_COOL_DOWN": str(COOL_DOWN_S)}
    with (
        RedisServer(binary, tmp_path / "redis", SYNCED) as server,
        Daemon(tmp_path / "daemon", arguments=["--redis", server.url], environment=quick) as daemon,
        Client(daemon.address, user_id="u", session_id="s", retry=RetryPolicy(attempts=1)) as client,
    ):
        faults: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (server.kill, server.start),
            (server.hang, server.resume),
            (lambda: server.send("FLUSHALL"), lambda: None),
            (server.kill, lambda: server.restart(empty=True)),
        ]
        took: dict[str, list[float]] = {"no fault": [], "first in a fault": [], "in a fault": []}
        for i in range(FAULTS):
            begin, end = faults[i % len(faults)]
            client.observe(f"turn {i}", role="user")
            for _ in range(RECALLS):
                took["no fault"].append(_timed(lambda: client.recall("fact"))[1])
            begin()
            client.remember(f"fact number {i}", tags=[f"t{i}"])
            for n in range(RECALLS):
                found, took_s = _timed(lambda i=i: client.recall(f"fact number {i}", filter=F.tag == f"t{i}"))  # type: ignore[misc]
                took["first in a fault" if n == 0 else "in a fault"].append(took_s)
                assert [hit.memory.content for hit in found.memories] == [f"fact number {i}"]
                assert ("working" in unserved(found)) == (i % len(faults) != 2)
                assert ("episodic" in unserved(found)) == (i % len(faults) != 2)
            end()
            for _ in range(int(BACK_S / 0.01)):
                if not unserved(client.recall("fact")):
                    break
                time.sleep(0.01)
            assert not unserved(client.recall("fact")), "sessions did not come back by themselves"
        daemon.restart()
        for i in range(FAULTS):
            (hit,) = client.recall("fact", filter=F.tag == f"t{i}").memories
            assert hit.memory.content == f"fact number {i}", "an acknowledged memory is lost"
        for name, times in took.items():
            print(f"recall, {name}: {len(times)} calls, p50 {_ms(times, 50)} ms, p99 {_ms(times, 99)} ms")


def _timed(call: Callable[[], Recall]) -> tuple[Recall, float]:
    """What it gave and the seconds it took: reported (``pytest -rP``), never judged."""
    begun = time.monotonic()
    found = call()
    return found, time.monotonic() - begun


def _ms(times: Sequence[float], percent: int) -> float:
    return round(1e3 * sorted(times)[(len(times) - 1) * percent // 100], 1)


def unserved(found: Recall) -> set[str]:
    """The tiers that do not answer, each of which says why."""
    missing = [one for one in found.tier_status if one.state is not TierState.OK]
    assert all("store of sessions" in one.explanation for one in missing if one.state is TierState.SKIPPED)
    return {one.tier for one in missing}
