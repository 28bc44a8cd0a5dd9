"""Killed in the middle of consolidation, again and again: nothing is lost, nothing is doubled, on every kind of stores."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from memd_client import Client, Event, F, SourceKind

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.test_sessions_leave_memories_on_servers import one_or_two, until

KILLS = scaled(10)
SAID = 4
"""Events of each session that become memories."""
LONGEST_S = 0.6
"""From the last event to the kill: about what consolidation of a session takes."""


@pytest.fixture(params=["sqlite", "redis and postgres"])
def daemons(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sequence[Daemon]]:
    with one_or_two(request.param, request, tmp_path) as started:
        yield started


def test_killed_in_the_middle(daemons: Sequence[Daemon]) -> None:
    dice, said = random.Random(6), set[str]()
    for n in range(KILLS):
        killed, told = daemons[n % len(daemons)], daemons[(n // 2) % len(daemons)]
        with Client(told.address, user_id="ada", session_id=f"s{n}") as client:
            for k in range(SAID):
                text = f"remember that rule {n}-{k} of the house holds"
                client.observe([Event(text), Event(f"we spoke of the garden, time {n}-{k}")])
                said.add(text)
            client.end_session()
        time.sleep(dice.random() * LONGEST_S)
        killed.kill()
        killed.start()
    for daemon in daemons:
        with Client(daemon.address, user_id="ada") as client:
            until(partial(_all_there, client, said), "something was lost")
            _check(client, said)


def _all_there(client: Client, said: set[str]) -> bool:
    found = {one.content for one in client.list()}
    return said <= found and len(list(client.list(filter=F.source == "digest"))) == KILLS


def _check(client: Client, said: set[str]) -> None:
    everything = list(client.list(include_invalid=True))
    promoted = [one.content for one in everything if one.source is not SourceKind.DIGEST]
    assert sorted(promoted) == sorted(said)
    digests = [one for one in everything if one.source is SourceKind.DIGEST]
    assert len(digests) == KILLS
    for digest in digests:
        assert len(digest.event_ids) == 2 * SAID
        assert set(Counter(digest.event_ids).values()) == {1}
        assert digest.metadata["through_position"] == 2 * SAID
        sentences = Counter(digest.content.splitlines())
        assert max(sentences.values()) == 1, "a sentence is told twice"
    assert client.verify().ok
