"""The way to Redis that everything takes: bounded, timed, retried where that is safe, and cut when nobody answers.

A hung server costs the calls in flight one timeout. The breaker then refuses every call at once until a PING behind them
is answered, so that Recall goes on without sessions and they come back by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar

from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoScriptError

from memd.adapters.redis import probe
from memd.adapters.redis.address import parse
from memd.adapters.redis.breaker import Breaker
from memd.adapters.redis.client import Client, make_client
from memd.adapters.redis.errors import FOREIGN, Failure, closed_is_lost, failure
from memd.adapters.redis.persistence import RedisFacts
from memd.adapters.redis.scripts import Script
from memd.adapters.redis.settings import RedisSettings
from memd.domain.errors import AWAY_US, MemdError, StoreBusy, Unavailable
from memd.domain.model import Durability
from memd.limits import MAX_REDIS_TIMEOUT_S, REDIS_BATCH, REDIS_PROBE_INTERVAL_S, REDIS_RETRY_BASE_S
from memd.ports import Clock

logger = logging.getLogger(__name__)
T = TypeVar("T")
_LOOKS = 3
"""Probes after which durability is UNKNOWN, when each time another connection was new."""
Argument = str | bytes | int


class RedisLink:
    """``clock`` replaces the server's for stored times: for tests."""

    def __init__(self, settings: RedisSettings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.address = parse(settings.url)
        self._clock = clock
        self._client = make_client(self.address, settings, self._connected)
        self._slots = asyncio.Semaphore(settings.pool)
        self._breaker = Breaker(settings.breaker_failures)
        self._away_from_s = 0.0
        """When the breaker opened last."""
        self._background: set[asyncio.Task[Any]] = set()
        self._healing: asyncio.Task[Any] | None = None
        self._closed = False
        self._facts = RedisFacts(str(self.address))
        self._facts_from_s: float | None = None
        self._probing: asyncio.Task[Any] | None = None

    @classmethod
    async def open(cls, settings: RedisSettings, clock: Clock | None = None) -> Self:
        """Connect and look what server it is. ConfigError for what a restart of memd with the same settings would find
        again; a server that is down is not an error: memd serves without it until it comes."""
        settings.check_files()
        link = cls(settings, clock)
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                with closed_is_lost():
                    link._learned(await probe.first(link._client, link.address))
        except FOREIGN as error:
            refused = probe.refused(error, link.address) or await probe.no_such_service(link._client, link.address)
            if refused is not None:
                await link.close()
                raise refused from error
            link._cut("Redis at %s is not there yet; serving without it until it is")
        except MemdError:
            await link.close()
            raise
        return link

    async def close(self) -> None:
        """Finish what callers gave up waiting for, then let go of every connection."""
        await asyncio.gather(*self._background, return_exceptions=True)
        self._closed = True
        ending = [task for task in (self._healing, self._probing) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        with contextlib.suppress(*FOREIGN):
            await self._client.aclose()

    # -- calls

    def now(self) -> str:
        """For a script's first argument: "" is the server's own time."""
        return "" if self._clock is None else str(self._clock.now_us())

    async def run(self, script: Script, keys: Sequence[str], *args: Argument, repeatable: bool = True) -> Any:
        """The script's reply. ``repeatable``: running it twice is the same as running it once."""
        return await self._attempts(lambda: self._evaluate(script, keys, args), repeatable=repeatable)

    async def command(self, *args: Argument, repeatable: bool = True) -> Any:
        """One command on one key."""
        return await self._attempts(lambda: self._client.execute_command(*args), repeatable=repeatable)

    async def commands(self, many: Sequence[Sequence[Argument]]) -> list[Any]:
        """Replies to many commands on one key each, that may be repeated, few round trips."""
        replies: list[Any] = []
        for start in range(0, len(many), REDIS_BATCH):
            pipelined = partial(self._pipeline, many[start : start + REDIS_BATCH])
            replies += await self._attempts(pipelined, repeatable=True)
        return replies

    async def on_primaries(self, ask: Callable[[Client, Mapping[str, Any]], Awaitable[T]]) -> list[T]:
        """As ``probe.on_primaries``; ``ask`` may be repeated."""
        return await self._attempts(lambda: probe.on_primaries(self._client, ask), repeatable=True)

    async def now_us(self) -> int:
        """The time that counts for stored times."""
        if self._clock is not None:
            return self._clock.now_us()
        return await self._attempts(self._server_time, repeatable=True)

    async def finished(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end also when the caller stops waiting: a write must not be half of what it was to be."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_seen)
            raise

    async def _evaluate(self, script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
        try:
            return await self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        except NoScriptError:  # a server that was restarted or failed over; EVAL leaves the script with it
            return await self._client.execute_command("EVAL", script.body, len(keys), *keys, *args)

    async def _pipeline(self, batch: Sequence[Sequence[Argument]]) -> list[Any]:
        pipeline: Any = self._client.pipeline(transaction=False)
        async with pipeline:
            for command in batch:
                pipeline.execute_command(*command)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _server_time(self) -> int:
        target = {}
        if isinstance(self._client, RedisCluster):
            target = {"target_nodes": self._client.get_default_node()}
        seconds, micros = await self._client.execute_command("TIME", **target)
        return int(seconds) * 1_000_000 + int(micros)

    async def _attempts(self, operation: Callable[[], Awaitable[T]], *, repeatable: bool) -> T:
        for attempt in range(self.settings.retries + 1):
            if attempt:
                await asyncio.sleep(REDIS_RETRY_BASE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
            try:
                return await self._attempt(operation)
            except FOREIGN as error:
                meaning = failure(error)
                self._failed(meaning)
                if meaning is None:
                    raise
                last = attempt == self.settings.retries or self._breaker.open
                if last or meaning.hung or not (meaning.undone or (repeatable and meaning.lost)):
                    raise meaning.ours(meaning.message) from error
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, operation: Callable[[], Awaitable[T]]) -> T:
        self._check()
        try:
            async with asyncio.timeout(MAX_REDIS_TIMEOUT_S):  # those in front of it have a timeout each
                await self._slots.acquire()
        except TimeoutError as error:
            raise StoreBusy("every connection to Redis is in use") from error
        try:
            self._check()  # what it waited for may have been a server that hangs
            async with asyncio.timeout(self.settings.timeout_s):
                with closed_is_lost():
                    reply = await operation()
        finally:
            self._slots.release()
        if self._breaker.succeeded():
            logger.info("Redis at %s answers again", self.address)
        return reply

    # -- when it does not answer

    def _check(self) -> None:
        if self._closed:
            raise Unavailable("the connection to Redis is closed")
        if self._breaker.open:
            away_us = int((_monotonic() - self._away_from_s) * 1e6)
            words = "Redis does not answer; sessions are back as soon as it does"
            raise Unavailable(words, metadata={AWAY_US: str(away_us)})

    def _failed(self, meaning: Failure | None) -> None:
        if meaning is None or not meaning.lost:
            return
        self._facts_from_s = None
        if self._breaker.failed(decisive=meaning.hung):
            self._cut("Redis at %s does not answer; serving without it until it does")

    def _cut(self, why: str) -> None:
        self._breaker.failed(decisive=True)
        self._away_from_s = _monotonic()
        if not self._closed:
            logger.warning(why, self.address)
            self._healing = asyncio.ensure_future(self._heal())

    async def _heal(self) -> None:
        """Ask until there is an answer, behind everybody's back."""
        while self._breaker.open:
            await asyncio.sleep(self.settings.breaker_cool_down_s * random.uniform(0.75, 1.0))
            try:
                async with asyncio.timeout(self.settings.timeout_s):
                    with closed_is_lost():
                        await probe.ping(self._client)
            except FOREIGN as error:
                logger.debug("Redis is still away: %s", type(error).__name__)
                continue
            if self._breaker.succeeded():
                logger.info("Redis at %s answers again", self.address)

    # -- what it is

    def describe(self) -> RedisFacts:
        """As last probed; ``reachable`` as of now."""
        if self._breaker.open:
            return replace(self._facts, reachable=False, durability=Durability.UNKNOWN)
        return replace(self._facts, reachable=True)

    async def persistence(self) -> Durability:
        """How durable a write was that has just been answered.

        Asked anew after every new connection, since the server may be another one, and every REDIS_PROBE_INTERVAL_S,
        since its settings may be changed while it runs.
        """
        for _ in range(_LOOKS):
            if self._facts_from_s is not None:
                break
            await self.look()  # which may need a new connection itself
        if self._facts_from_s is not None and _monotonic() - self._facts_from_s > REDIS_PROBE_INTERVAL_S:
            self._start_probe()
        return self._facts.durability if self._facts_from_s is not None else Durability.UNKNOWN

    async def look(self) -> RedisFacts:
        """Probe now; what is known stays as it was when the server does not answer."""
        await asyncio.wait([self._start_probe()])
        return self.describe()

    def _start_probe(self) -> asyncio.Task[Any]:
        if self._probing is None or self._probing.done():
            self._probing = asyncio.ensure_future(self._probe())
        return self._probing

    async def _probe(self) -> None:
        begun_s = _monotonic()
        self._facts_from_s = begun_s  # a connection made from now on means another probe
        try:
            facts = await self._attempts(lambda: probe.facts(self._client, self.address), repeatable=True)
        except (MemdError, *FOREIGN):
            self._facts_from_s = None
            return
        self._learned(facts, anew=False)

    def _learned(self, facts: RedisFacts, *, anew: bool = True) -> None:
        if anew:
            self._facts_from_s = _monotonic()
        for warning in facts.warnings:
            if warning not in self._facts.warnings:
                logger.warning("%s", warning)
        self._facts = facts

    async def _connected(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        self._facts_from_s = None


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
