"""What a session leaves behind where stores are on servers: every allowed composition, two sidecars on the same sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from memd_client import Client, F

from tests.daemon import Daemon
from tests.servers.postgres import UNSAFE, Launcher
from tests.servers.redis import SYNCED, RedisServer, find

WITHIN_S = 60.0
POLL_S = 0.05
COMPOSITIONS = ("redis and postgres", "postgres", "redis and sqlite")


@dataclass(frozen=True)
class Fleet:
    """``other`` is ``one`` where only one daemon is allowed."""

    one: Daemon
    other: Daemon


@pytest.fixture(params=COMPOSITIONS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    environment: dict[str, str] = {}
    with ExitStack() as stack:
        if "postgres" in request.param:
            launcher: Launcher = request.getfixturevalue("postgres18")
            postgres = launcher.server(UNSAFE)
            stack.callback(postgres.kill)
            environment["MEMD_POSTGRES_URL"] = postgres.url(postgres.create_database())
        if "redis" in request.param:
            binary = find("valkey") or find("redis")
            if binary is None:
                pytest.skip("neither valkey-server nor redis-server is installed")
            redis = stack.enter_context(RedisServer(binary, tmp_path / "redis", SYNCED))
            environment["MEMD_REDIS_URL"] = redis.url
        one = stack.enter_context(Daemon(tmp_path / "one", environment=environment))
        if "postgres" not in request.param:
            yield Fleet(one, one)
        else:
            yield Fleet(one, stack.enter_context(Daemon(tmp_path / "other", environment=environment)))


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(POLL_S)


def digests(client: Client) -> list[str]:
    return [one.content for one in client.list(filter=F.source == "digest")]


def test_what_is_marked_is_known_in_another_session_on_another_sidecar(fleet: Fleet) -> None:
    with (
        Client(fleet.one.address, user_id="ada", session_id="s1") as a,
        Client(fleet.other.address, user_id="ada", session_id="s2") as b,
        Client(fleet.other.address, user_id="bob", session_id="s2") as bob,
    ):
        said = "Remember that I prefer green tea to coffee"
        a.observe(said, role="user")
        until(lambda: said in b.recall("what does the user like to drink?").context, "not known elsewhere")
        assert [one.content for one in a.list()] == [said]
        assert said not in bob.recall("what does the user like to drink?").context


def test_a_session_that_ended_leaves_one_digest(fleet: Fleet) -> None:
    with (
        Client(fleet.one.address, user_id="ada", session_id="s1") as a,
        Client(fleet.other.address, user_id="ada", session_id="s1") as same,
        Client(fleet.other.address, user_id="ada", session_id="s2") as b,
    ):
        a.observe("the migration of the billing database is planned for March", role="user")
        same.observe("it will take two hours", role="assistant")
        a.end_session()
        until(lambda: len(digests(b)) == 1, "no digest")
        context = b.recall("anything").context.split("## Recent context")[1]
        assert "planned for March" in context
        assert "two hours" in context
        same.observe("one thing more about the cellar", role="user")
        same.end_session()
        until(lambda: "cellar" in digests(b)[0], "the digest does not go on")
        assert len(digests(b)) == 1
        assert digests(b)[0].count("planned for March") == 1
        assert b.verify().ok
