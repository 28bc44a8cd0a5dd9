"""The two protocols against a real server, and its failures: late, busy, broken, cut off, nonsense, too long, redirecting."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from memd import _core
from memd.adapters.clock import SystemClock
from memd.adapters.summarize.bounded import BoundedInput
from memd.adapters.summarize.extractive import NAME, ExtractiveSummarizer
from memd.adapters.summarize.fallback import Breaker, FallbackSummarizer
from memd.adapters.summarize.http import HttpSettings, HttpSummarizer, default_prompt
from memd.adapters.summarize.protocols import PROTOCOLS
from memd.domain.errors import Unavailable
from memd.domain.model import Event, EventKind
from memd.limits import (
    SUMMARIZER_BREAKER_FAILURES,
    SUMMARIZER_BREAKER_S,
    SUMMARIZER_INPUT_TOKENS,
    SUMMARIZER_TRIES,
)
from memd.ports import SummaryRequest
from tests.summarize.model_server import ANTHROPIC, ModelServer

KEY = "sk-canary-7f3a"
TEXT = "the port is 5432, says the canary"
REQUEST = SummaryRequest((Event("e", EventKind.TURN, TEXT, role="user"),), 50, earlier="user: hello 17")
COUNTER = _core.TokenCounter()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture(params=sorted(PROTOCOLS))
async def asked(request: pytest.FixtureRequest, server: ModelServer) -> AsyncIterator[HttpSummarizer]:
    settings = HttpSettings(PROTOCOLS[request.param], default_prompt(), server.url, "m-1", KEY, timeout_s=5.0)
    summarizer = HttpSummarizer(settings, COUNTER)
    yield summarizer
    await summarizer.close()


async def test_what_is_sent_and_what_comes_back(server: ModelServer, asked: HttpSummarizer) -> None:
    summary = await asked.summarize(REQUEST)
    assert (summary.text, summary.tokens) == (server.text, COUNTER.count(server.text))
    assert (summary.tokens_in, summary.tokens_out) == (100, 7)
    [(path, headers, body)] = server.requests
    assert summary.made_by in ("anthropic/m-1", "openai/m-1")
    said = str(body)
    assert TEXT in said
    assert "hello 17" in said
    assert "at most 50" in said
    assert body["max_tokens"] == 50
    assert headers["x-api-key" if path == ANTHROPIC else "authorization"].endswith(KEY)


def test_the_default_model_is_the_cheap_one() -> None:
    assert PROTOCOLS["anthropic"].default_model == "claude-haiku-4-5"


@pytest.mark.parametrize("status", [429, 500, 503, 529, "hang up"])
async def test_what_may_pass_is_tried_again(server: ModelServer, asked: HttpSummarizer, status: int | str) -> None:
    server.behaviour = [status] * (SUMMARIZER_TRIES - 1)
    assert (await asked.summarize(REQUEST)).text == server.text
    assert len(server.requests) == SUMMARIZER_TRIES
    server.behaviour = [status] * SUMMARIZER_TRIES
    with pytest.raises(Unavailable):
        await asked.summarize(REQUEST)


UNUSABLE = [400, 401, 404, "cut", "nonsense", "no json", "deep", "no text", "no price", "huge", "redirect"]


@pytest.mark.parametrize("how", UNUSABLE)
async def test_what_will_not_pass_is_not(server: ModelServer, asked: HttpSummarizer, how: int | str) -> None:
    server.behaviour = [how]
    with pytest.raises(Unavailable) as refused:
        await asked.summarize(REQUEST)
    assert len(server.requests) == 1, "also the redirect was not followed"
    assert KEY not in str(refused.value)
    assert "canary" not in str(refused.value)


async def test_a_redirect_to_another_host_takes_neither_key_nor_text_there(
    server: ModelServer, asked: HttpSummarizer
) -> None:
    with ModelServer() as other:
        server.behaviour, server.redirects_to = ["redirect"], f"{other.url}/v1/messages"
        with pytest.raises(Unavailable, match="redirects, which is not followed"):
            await asked.summarize(REQUEST)
        assert other.requests == []


async def test_a_slow_model_is_given_up(server: ModelServer) -> None:
    settings = HttpSettings(PROTOCOLS["openai"], "", server.url, "m", KEY, timeout_s=0.1)
    summarizer = HttpSummarizer(settings, COUNTER)
    server.behaviour = ["slow"]
    with pytest.raises(Unavailable, match="in time"):
        await summarizer.summarize(REQUEST)
    await summarizer.close()


@pytest.mark.parametrize("text", ["", "  \n", "word " * 60])
async def test_an_answer_that_is_empty_or_too_long_is_no_summary(
    server: ModelServer, asked: HttpSummarizer, text: str
) -> None:
    server.text = text
    with pytest.raises(Unavailable):
        await asked.summarize(REQUEST)


async def test_nobody_there_and_what_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    settings = HttpSettings(PROTOCOLS["anthropic"], "", "http://127.0.0.1:9", "m", KEY, timeout_s=5.0)
    both = FallbackSummarizer(HttpSummarizer(settings, COUNTER), ExtractiveSummarizer(COUNTER), Breaker(SystemClock()))
    with caplog.at_level(logging.DEBUG):
        summary = await both.summarize(REQUEST)
    await both.close()
    assert summary.made_by == NAME
    assert "5432" in summary.text
    assert both.counts.failed == 1
    assert KEY not in caplog.text
    assert "canary" not in caplog.text
    assert KEY not in repr(settings)


async def test_no_more_than_a_models_window_is_sent(server: ModelServer, asked: HttpSummarizer) -> None:
    said = [f"Machine {n} of the second rack was moved to room {n * 7} on a Tuesday." for n in range(3_000)]
    tokens = [COUNTER.count(one) for one in said]
    assert sum(tokens) > SUMMARIZER_INPUT_TOKENS
    events = [Event(str(n), EventKind.TURN, one, role="user", tokens=tokens[n]) for n, one in enumerate(said)]
    bounded = BoundedInput(asked, ExtractiveSummarizer(COUNTER))
    await bounded.summarize(SummaryRequest(tuple(events[:9]), 50, earlier="user: hello 17"))
    assert (await bounded.summarize(SummaryRequest(tuple(events), 50))).text == server.text
    (_, _, whole), (_, _, part) = server.requests
    assert said[8] in str(whole)
    assert "hello 17" in str(whole)
    assert SUMMARIZER_INPUT_TOKENS // 2 < COUNTER.count(str(part)) < SUMMARIZER_INPUT_TOKENS * 1.2


class ManualClock(SystemClock):
    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic_s(self) -> float:
        return self.at_s


async def test_a_service_that_fails_in_a_row_is_left_alone_for_a_while(server: ModelServer) -> None:
    clock = ManualClock()
    settings = HttpSettings(PROTOCOLS["anthropic"], "", server.url, "m", KEY)
    both = FallbackSummarizer(HttpSummarizer(settings, COUNTER), ExtractiveSummarizer(COUNTER), Breaker(clock))
    server.behaviour = [400] * SUMMARIZER_BREAKER_FAILURES
    for _ in range(SUMMARIZER_BREAKER_FAILURES + 3):
        assert (await both.summarize(REQUEST)).made_by == NAME
    assert (both.counts.failed, both.counts.skipped) == (SUMMARIZER_BREAKER_FAILURES, 3)
    clock.at_s += SUMMARIZER_BREAKER_S
    assert (await both.summarize(REQUEST)).made_by == "anthropic/m"
    assert both.counts == replace(both.counts, made=1, tokens_in=100, tokens_out=7)
    await both.close()


async def test_who_asks_the_same_service_for_something_else_counts_apart_and_fails_together(
    server: ModelServer,
) -> None:
    settings = HttpSettings(PROTOCOLS["openai"], "", server.url, "m", KEY)
    one = FallbackSummarizer(HttpSummarizer(settings, COUNTER), ExtractiveSummarizer(COUNTER), Breaker(ManualClock()))
    other = one.beside()
    server.behaviour = [400] * SUMMARIZER_BREAKER_FAILURES
    for _ in range(SUMMARIZER_BREAKER_FAILURES):
        await one.summarize(REQUEST)
    assert (await other.summarize(REQUEST)).made_by == NAME
    assert (one.counts.failed, other.counts.failed, other.counts.skipped) == (SUMMARIZER_BREAKER_FAILURES, 0, 1)
    await one.close()
