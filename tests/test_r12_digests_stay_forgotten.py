"""R12 and S12 over what sessions leave behind: a Forget of one thing that was said, at any moment of its consolidation, takes
it from the episodes, the running summary, the digest and the memories, for good and from every file; the rest stays.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from memd_client import Client, Event, ForgetReceipt, Memory, SourceKind

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.test_s12_erasure_reaches_the_bytes import wait_until_gone
from tests.test_sessions_leave_memories_on_servers import one_or_two, until

ROUNDS = scaled(6)
MEANWHILE_S = 0.6
LONG = 24
"""Events of a session that is compressed, and whose digest is due while it lives."""


@pytest.fixture(params=["sqlite", "redis and postgres"])
def daemons(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sequence[Daemon]]:
    with one_or_two(request.param, request, tmp_path) as started:
        yield started


def test_forgotten_at_any_moment(daemons: Sequence[Daemon]) -> None:
    dice = random.Random(12)
    needles = []
    for n in range(ROUNDS):
        secret = f"canary-{n}-quetzal"
        with Client(daemons[0].address, user_id=f"u{n}", session_id="s") as client:
            observed = client.observe(f"Remember that my sister {secret} lives in Lyon")
            client.observe([Event(f"point {k} of the plan was done in room {k}") for k in range(LONG)])
            if n % 2:
                client.end_session()
        time.sleep(dice.random() * MEANWHILE_S)
        with Client(daemons[-1].address, user_id=f"u{n}", session_id="s") as client:
            receipt = _forget(client, observed.events[0].event_id, by_memory=n % 3 == 0)
            assert receipt.counts["events"] == 1
            if n % 3 == 2:
                daemons[-1].kill()
                daemons[-1].start()
        needles.append(secret.encode())
    for n in range(ROUNDS):
        for daemon in daemons:
            with Client(daemon.address, user_id=f"u{n}", session_id="s") as client:
                secret = f"canary-{n}-quetzal"
                until(
                    partial(_is_told, client, secret), "no digest of what is left, or a replica that never hears of it"
                )
                _is_nowhere(client, secret)
    for daemon in daemons:
        wait_until_gone(daemon.data_dir, needles)


def _forget(client: Client, event_id: str, *, by_memory: bool) -> ForgetReceipt:
    """By the memory that was made of it, once there is one."""
    if not by_memory:
        return client.forget(event_ids=event_id)
    until(lambda: any(event_id in one.event_ids for one in _memories(client)), "nothing was promoted")
    (promoted,) = [one for one in _memories(client) if event_id in one.event_ids]
    return client.forget(promoted.memory_id)


def _memories(client: Client) -> list[Memory]:
    return [one for one in client.list() if one.source is not SourceKind.DIGEST]


def _is_told(client: Client, secret: str) -> bool:
    """The digest of what is left is here, and so is the Forget: a replica may be behind for a moment."""
    found = list(client.list())
    told = any(one.source is SourceKind.DIGEST and "point" in one.content for one in found)
    return told and not any(secret in one.content for one in found)


def _is_nowhere(client: Client, secret: str) -> None:
    told = [one.content for one in client.list(include_invalid=True)]
    told += [one.content for one in client.working_memory().items]
    told += [one.content for one in client.episodes()]
    told += [client.recall(f"where does the sister {secret} live?").context]
    told += [client.scoped(user_id=client.scope.user_id, session_id="next").recall("the sister in Lyon").context]
    assert [one for one in told if secret in one] == []
