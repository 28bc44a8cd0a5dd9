"""Digests that a hosted model writes, over real HTTP: its failures cost an extract, its slowness only who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import pytest

from memd import _core
from memd.adapters.clock import SystemClock
from memd.adapters.embed_onnx import AbsentEmbedder
from memd.adapters.summarize.extractive import NAME, ExtractiveSummarizer
from memd.adapters.summarize.fallback import Breaker, FallbackSummarizer
from memd.adapters.summarize.http import HttpSettings, HttpSummarizer, default_prompt
from memd.adapters.summarize.protocols import PROTOCOLS
from memd.domain.errors import ModelUnavailable
from memd.domain.model import Event, EventKind, Memory, Scope
from memd.limits import (
    DAY_US,
    DIGEST_PATIENCE_S,
    DIGEST_QUEUE,
    DIGEST_REST_S,
    DIGEST_TOKENS,
    SUMMARIZER_TRIES,
)
from memd.ports import MarkedSession
from memd.service.consolidation import Consolidator
from memd.service.digest_queue import DigestCounts, DigestQueue
from memd.service.digests import MADE_BY, THROUGH
from memd.service.observe import UNSCORED
from tests.service.conftest import SCOPE, House
from tests.service.writing import say
from tests.summarize.model_server import ModelServer

OTHER = Scope("ns", "ada", "", "s47")
MODEL = "openai/m-1"
PATIENCE_S = 30.0
COUNTER = _core.TokenCounter()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer("user: wants the billing database moved in March") as running:
        yield running


@dataclass(frozen=True, slots=True)
class Asking:
    """A consolidator with a model beside the house's own, over the same stores."""

    house: House
    consolidator: Consolidator
    model: FallbackSummarizer

    async def digest(self, scope: Scope = SCOPE) -> Memory:
        """The digest of the one session that is due, by whomever."""
        assert await self.consolidator.digest_once() == 0, "it waits for the model"
        await self.consolidator.ask_model()
        assert await self.consolidator.digest_once() == 1, "and is counted when it is there"
        return (await self.digests())[scope.session_id]

    async def digests(self) -> dict[str, Memory]:
        """By session."""
        page = await self.house.remember.list(OTHER, None, size=1_000)
        return {one.scope.session_id: one for one in page.items if one.source.value == "digest"}

    @contextlib.asynccontextmanager
    async def asked(self) -> AsyncIterator[None]:
        """While the model is asked for the session that waits; it is done at the end."""
        work = asyncio.ensure_future(self.consolidator.ask_model())
        try:
            yield
            await work
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


async def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def asking(house: House, server: ModelServer, timeout_s: float = 10.0) -> Asking:
    settings = HttpSettings(PROTOCOLS["openai"], default_prompt(), server.url, "m-1", "key", timeout_s=timeout_s)
    extractive, stores = ExtractiveSummarizer(COUNTER), house.stores
    model = FallbackSummarizer(HttpSummarizer(settings, COUNTER), extractive, Breaker(SystemClock()))
    consolidator = Consolidator(
        stores.marks,
        stores.memories,
        house.remember,
        house.index,
        house.embedder,
        extractive,
        stores.leases,
        house.clock,
        "test",
        stores.sessions,
        model=model,
    )
    return Asking(house, consolidator, model)


@pytest.fixture
async def asked(house: House, server: ModelServer) -> AsyncIterator[Asking]:
    made = asking(house, server)
    yield made
    await made.model.close()


async def ended(house: House, *said: Event | str, scope: Scope = SCOPE) -> None:
    await say(house, *(said or ("the billing database is to move in March",)), scope=scope)
    await house.sessions.end(scope)


async def test_the_model_writes_it_and_it_is_as_any_other(asked: Asking, server: ModelServer) -> None:
    await ended(asked.house, *[f"we moved service number {n} to the new cluster" for n in range(80)])
    digest = await asked.digest()
    assert digest.content == server.text
    assert digest.metadata == {THROUGH: 80, MADE_BY: MODEL}
    newest = (await asked.house.sessions.episodes(SCOPE, size=80)).items[::-1]
    assert digest.event_ids == tuple(event.event_id for event in newest[-64:])
    recalled = await asked.house.ask("billing", OTHER)
    assert f"earlier session: {server.text}" in recalled.context.split("## Recent context")[1]
    assert (asked.model.counts.made, asked.model.counts.tokens_in, asked.model.counts.tokens_out) == (1, 100, 7)
    assert asked.consolidator.digests.counts == DigestCounts(made=1)
    assert len(server.requests) == 1
    assert server.requests[0][2]["max_tokens"] == DIGEST_TOKENS


async def test_the_next_one_goes_on_from_it(asked: Asking, server: ModelServer) -> None:
    await ended(asked.house)
    await asked.digest()
    first, server.text = server.text, "user: moved it"
    await ended(asked.house, "and moved it is")
    digest = await asked.digest()
    assert (digest.content, digest.version) == ("user: moved it", 2)
    sent = str(server.requests[1][2])
    assert first in sent
    assert "and moved it is" in sent
    assert "is to move in March" not in sent, "what the first one tells is not told again"


async def test_ephemeral_events_are_not_sent(asked: Asking, server: ModelServer) -> None:
    secret = Event("", EventKind.TURN, "the code is 4711", role="user", importance=UNSCORED, ephemeral=True)
    await ended(asked.house, secret, "we talked about the weather in Lyon")
    await asked.digest()
    assert "4711" not in str(server.requests)


@pytest.mark.parametrize(
    "how", [429, 500, 401, "cut", "nonsense", "no json", "deep", "no text", "no price", "huge", "hang up", "redirect"]
)
async def test_a_model_that_fails_costs_an_extract(asked: Asking, server: ModelServer, how: int | str) -> None:
    await ended(asked.house)
    server.behaviour = [how] * SUMMARIZER_TRIES
    digest = await asked.digest()
    assert digest.content == "user: the billing database is to move in March"
    assert digest.metadata == {THROUGH: 1, MADE_BY: NAME}
    assert asked.model.counts.failed == 1
    assert len(server.requests) in (1, SUMMARIZER_TRIES)


@pytest.mark.parametrize("text", ["", " \n ", "word " * (DIGEST_TOKENS + 1)])
async def test_so_does_one_that_says_nothing_or_too_much(asked: Asking, server: ModelServer, text: str) -> None:
    await ended(asked.house)
    server.text = text
    assert (await asked.digest()).metadata[MADE_BY] == NAME


async def test_so_does_one_that_is_late(house: House, server: ModelServer) -> None:
    hurried = asking(house, server, timeout_s=0.1)
    await ended(house)
    server.behaviour = ["held"]
    assert (await hurried.digest()).metadata[MADE_BY] == NAME
    server.release.set()
    await hurried.model.close()


async def test_so_does_a_text_that_no_memory_can_hold(asked: Asking, server: ModelServer) -> None:
    server.text = "=" * 8_000
    assert COUNTER.count(server.text) <= DIGEST_TOKENS, "few tokens, but too many pieces to be embedded"
    await ended(asked.house)
    assert (await asked.digest()).metadata[MADE_BY] == NAME
    assert asked.consolidator.digests.counts == DigestCounts(made=1, refused=1)


class TestAModelThatHangs:
    async def test_holds_up_who_waits_for_it_and_nobody_else(self, asked: Asking, server: ModelServer) -> None:
        server.behaviour = ["held"] * (1 + DIGEST_QUEUE)
        await ended(asked.house, scope=Scope("ns", "ada", "", "first"))
        await asked.consolidator.digest_once()
        async with asked.asked():
            await until(lambda: server.requests)
            for n in range(DIGEST_QUEUE + 5):
                await ended(asked.house, scope=Scope("ns", "ada", "", f"s{n}"))
            await asked.consolidator.digest_once()
            await asked.consolidator.digest_once()
            made = await asked.digests()
            assert len(made) == 5, "those for whom there was no room"
            assert {one.metadata[MADE_BY] for one in made.values()} == {NAME}
            assert asked.consolidator.digests.counts.crowded == 5
            server.release.set()
        assert (await asked.digests())["first"].metadata[MADE_BY] == MODEL

    async def test_does_not_keep_the_sweep_waiting(self, asked: Asking, server: ModelServer) -> None:
        server.behaviour = ["held"]
        await ended(asked.house)
        await asked.consolidator.digest_once()
        async with asked.asked():
            await until(lambda: server.requests)
            await ended(asked.house, scope=OTHER)
            asked.house.clock.advance(3 * DAY_US)
            await asked.consolidator.drain_expired()
            assert set(await asked.digests()) == {OTHER.session_id}, "an extract, as nobody waits for a model here"
            server.release.set()
        assert set(await asked.digests()) == {OTHER.session_id, SCOPE.session_id}

    async def test_and_is_given_up_at_a_stop_is_asked_again_after_it(self, asked: Asking, server: ModelServer) -> None:
        server.behaviour = ["held"]
        await ended(asked.house)
        await asked.consolidator.digest_once()
        work = asyncio.ensure_future(asked.consolidator.ask_model())
        await until(lambda: server.requests)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        server.release.set()
        assert await asked.digests() == {}
        assert (await asked.digest()).metadata == {THROUGH: 1, MADE_BY: MODEL}

    async def test_loses_against_a_forget(self, asked: Asking, server: ModelServer) -> None:
        server.behaviour = ["held"]
        await ended(asked.house)
        await asked.consolidator.digest_once()
        async with asked.asked():
            await until(lambda: server.requests)
            await asked.house.forget.forget(Scope("ns", "ada"), everything=True, writer="ada")
            server.release.set()
        assert await asked.consolidator.digest_once() == 0
        assert await asked.digests() == {}
        await ended(asked.house, "and on we go")
        assert (await asked.digest()).metadata[MADE_BY] == MODEL, "it is no reason to spare the namespace"


async def test_what_cannot_be_stored_is_not_paid_for_again_and_again(asked: Asking, server: ModelServer) -> None:
    await ended(asked.house)
    good, asked.house.remember._embedder = (
        asked.house.remember._embedder,
        AbsentEmbedder(ModelUnavailable("no model")),
    )
    await asked.consolidator.digest_once()
    await asked.consolidator.ask_model()
    for _ in range(3):
        assert await asked.consolidator.digest_once() == 0
    assert len(server.requests) == 1
    asked.house.remember._embedder = good
    assert await asked.consolidator.digest_once() == 1, "an extract, as soon as it can be stored"


class ManualClock(SystemClock):
    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic_s(self) -> float:
        return self.at_s


class TestQueue:
    """By a clock of its own."""

    @staticmethod
    def session(n: int) -> MarkedSession:
        return MarkedSession(str(n), Scope("ns", "ada", "", f"s{n}"), 1, 0, 0, 1)

    async def test_who_waited_too_long_does_without_the_model(self) -> None:
        clock, counts = ManualClock(), DigestCounts()
        queue = DigestQueue(clock, counts)
        assert queue.takes(self.session(0))
        clock.at_s += DIGEST_PATIENCE_S
        assert queue.takes(self.session(1))
        assert await queue.next() == (self.session(0), True)
        clock.at_s += DIGEST_PATIENCE_S + 1
        assert await queue.next() == (self.session(1), False)
        assert counts.crowded == 1
        assert queue.has(self.session(0))
        assert queue.depth == 2
        queue.done(self.session(0), 1)
        queue.done(self.session(1), 0)
        assert (queue.finished(), queue.finished(), queue.depth) == (1, 0, 0)

    async def test_a_namespace_rests_for_a_while_and_the_others_do_not(self) -> None:
        clock = ManualClock()
        queue = DigestQueue(clock, DigestCounts())
        queue.rest("ns")
        assert not queue.takes(self.session(0))
        assert queue.takes(MarkedSession("9", Scope("elsewhere", "ada"), 1, 0, 0, 1))
        clock.at_s += DIGEST_REST_S
        assert queue.takes(self.session(0))
