"""A long session through a real daemon: it compresses behind the replies, nothing is lost or doubled when it is killed in
the middle, and a Forget leaves nothing of a summary."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from memd_client import Client, Event, EventKind, SessionSettings

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.summarize.model_server import ModelServer
from tests.test_sessions_leave_memories_on_servers import one_or_two

TALK: dict[str, Any] = {"user_id": "ada", "session_id": "long"}
PATIENCE_S = 20.0
KILLS = scaled(10)


def said(start: int, count: int) -> list[Event]:
    return [
        Event(f"Step {n}: we decided that service-{n} listens on port {5000 + n}.", role="user", event_id=f"e{n}")
        for n in range(start, start + count)
    ]


def compressed(memd: Client) -> Sequence[Event]:
    """The working set, once there is a summary in it and no more than twenty items."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        items = memd.working_memory().items
        if items and items[0].kind == EventKind.SUMMARY and len(items) - len(summaries(items)) <= 20:
            return items
        time.sleep(0.02)
    raise AssertionError("nothing was compressed")


def summaries(items: Sequence[Event]) -> list[Event]:
    return [one for one in items if one.kind == EventKind.SUMMARY]


def check_whole(memd: Client, events: int) -> None:
    """Summaries and items stand for every position up to the newest, each once; every original is an episode."""
    items = memd.working_memory().items
    expected = 1
    for one in items:
        first, last = (one.summarized_from, one.summarized_through) if one.summarized_through else (one.position,) * 2
        assert first == expected, "a gap or an overlap"
        expected = last + 1
    assert expected == events + 1
    listed = list(memd.episodes(page_size=1_000))
    assert [one.event_id for one in listed] == [f"e{n}" for n in range(events, 0, -1)]


def test_a_long_session(daemon: Daemon) -> None:
    with Client(daemon.address, **TALK) as memd:
        for start in range(1, 101, 10):
            memd.observe(said(start, 10))
        items = compressed(memd)
        check_whole(memd, 100)
        context = memd.recall("which port does service-3 use").context
        assert context.index("- summary: ") < context.index(items[-1].content)
        stats = memd.stats().process
        assert stats is not None
        assert stats.compression["done"] >= 1
        assert stats.compression["tokens_after"] < stats.compression["tokens_before"]
        memd.forget(everything=True)
        assert memd.working_memory().items == ()


def test_sessions_with_numbers_of_their_own(daemon: Daemon) -> None:
    """A smaller one is compressed where its neighbour is not, after a kill as before; a larger one is let be."""
    with Client(daemon.address, **TALK) as memd:
        smaller, larger = memd.scoped(session_id="smaller"), memd.scoped(session_id="larger")
        smaller.update_session_settings(working_max_items=8, compress_keep=3)
        larger.update_session_settings(working_max_items=100)
        for one in (larger, memd, smaller):
            one.observe(said(1, 12))
        assert len(compressed(smaller)) == 4
        check_whole(smaller, 12)
        assert summaries(memd.working_memory().items) == []
        larger.observe(said(13, 30))
        memd.observe(said(13, 30))
        compressed(memd)
    daemon.kill()
    daemon.start()
    with Client(daemon.address, **TALK) as memd:
        smaller, larger = memd.scoped(session_id="smaller"), memd.scoped(session_id="larger")
        assert (
            smaller.working_memory().settings.compress_keep,
            larger.working_memory().settings.working_max_items,
        ) == (
            3,
            100,
        )
        larger.observe(said(43, 1))
        smaller.observe(said(13, 30))
        compressed(smaller)
        assert len(larger.working_memory().items) == 43
        check_whole(larger, 43)
        smaller.forget(everything=True)
        assert smaller.working_memory().settings == SessionSettings()


@pytest.fixture(params=["sqlite", "redis and postgres"])
def daemons(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sequence[Daemon]]:
    """One daemon, or two sidecars on the same session, which may be as long as it gets: else the oldest would go."""
    with one_or_two(request.param, request, tmp_path, MEMD_TIERS_EPISODIC_MAX_ITEMS=str(22 * KILLS + 1)) as started:
        yield started


def test_killed_in_the_middle(daemons: Sequence[Daemon]) -> None:
    """Killed at a random moment of compression, again and again; afterwards all is there once."""
    dice = random.Random(6)
    events = 0
    for kill in range(KILLS):
        killed, asked = daemons[kill % len(daemons)], daemons[(kill // 2) % len(daemons)]
        with Client(killed.address, **TALK) as memd:
            memd.observe(said(events + 1, 21))
            events += 21
            time.sleep(dice.random() * 0.02)
            killed.kill()
        killed.start()
        with Client(asked.address, **TALK) as memd:
            check_whole(memd, events)
            if kill % 8 == 7:  # else more than is held back for its summary would wait, and leave as configured
                events += 1
                memd.observe(said(events, 1))
                compressed(memd)
    for daemon in daemons:
        with Client(daemon.address, **TALK) as memd:
            events += 1
            memd.observe(said(events, 1))
            compressed(memd)
            check_whole(memd, events)
            assert memd.verify().ok


def test_a_hosted_model_makes_the_summary(tmp_path: Path) -> None:
    with ModelServer("user: all services are on ports from 5001 on") as model:
        config = {"MEMD_SUMMARIZER_KIND": "anthropic", "MEMD_SUMMARIZER_BASE_URL": model.url}
        environment = {**config, "ANTHROPIC_API_KEY": "key-of-the-test"}
        with Daemon(tmp_path / "daemon", environment=environment) as daemon, Client(daemon.address, **TALK) as memd:
            memd.observe(said(1, 21))
            summary = compressed(memd)[0]
            assert summary.content == model.text
            assert summary.metadata == {"summarizer": "anthropic/claude-haiku-4-5"}
            stats = memd.stats().process
            assert stats is not None
            assert (stats.compression["model_tokens_in"], stats.compression["model_tokens_out"]) == (100, 7)
        assert "key-of-the-test" not in daemon.log_path.read_text()


def test_an_address_where_nobody_is_falls_back(tmp_path: Path) -> None:
    config = {
        "MEMD_SUMMARIZER_KIND": "openai",
        "MEMD_SUMMARIZER_MODEL": "m",
        "MEMD_SUMMARIZER_BASE_URL": "http://127.0.0.1:9",
    }
    with Daemon(tmp_path / "daemon", environment=config) as daemon, Client(daemon.address, **TALK) as memd:
        memd.observe(said(1, 21))
        assert compressed(memd)[0].metadata == {"summarizer": "extractive"}
        stats = memd.stats().process
        assert stats is not None
        assert stats.compression["model_failures"] == 1


def test_a_redirect_falls_back(tmp_path: Path) -> None:
    with ModelServer() as model:
        model.behaviour = ["redirect"] * 3
        config = {"MEMD_SUMMARIZER_KIND": "openai", "MEMD_SUMMARIZER_MODEL": "m", "MEMD_SUMMARIZER_BASE_URL": model.url}
        with Daemon(tmp_path / "daemon", environment=config) as daemon, Client(daemon.address, **TALK) as memd:
            memd.observe(said(1, 21))
            assert compressed(memd)[0].metadata == {"summarizer": "extractive"}
