"""What a session leaves behind where stores are on servers: every allowed composition, two sidecars on the same sessions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from memd_client import Client, Event, EventKind, F

from tests.daemon import Daemon
from tests.servers.postgres import UNSAFE, Launcher
from tests.servers.redis import SYNCED, RedisServer, find

WITHIN_S = 60.0
POLL_S = 0.05
TTL_S = 3
COMPOSITIONS = ("redis and postgres", "postgres", "redis and sqlite")


@dataclass(frozen=True)
class Fleet:
    """``other`` is ``one`` where only one daemon is allowed."""

    one: Daemon
    other: Daemon


@contextmanager
def servers(composition: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a daemon is to be told of them: nothing where the composition has none."""
    environment: dict[str, str] = {}
    with ExitStack() as stack:
        if "postgres" in composition:
            launcher: Launcher = request.getfixturevalue("postgres18")
            postgres = launcher.server(UNSAFE)
            stack.callback(postgres.kill)
            environment["MEMD_POSTGRES_URL"] = postgres.url(postgres.create_database())
        if "redis" in composition:
            binary = find("valkey") or find("redis")
            if binary is None:
                pytest.skip("neither valkey-server nor redis-server is installed")
            redis = stack.enter_context(RedisServer(binary, tmp_path / "redis", SYNCED))
            environment["MEMD_REDIS_URL"] = redis.url
        yield environment


@contextmanager
def one_or_two(
    composition: str, request: pytest.FixtureRequest, tmp_path: Path, **settings: str
) -> Iterator[Sequence[Daemon]]:
    """One daemon, or two sidecars where the truth is on Postgres; ``settings`` are more variables of theirs."""
    with ExitStack() as stack:
        environment = {**stack.enter_context(servers(composition, request, tmp_path)), **settings}
        names = ("one", "other") if "postgres" in composition else ("one",)
        yield [stack.enter_context(Daemon(tmp_path / name, environment=environment)) for name in names]


@pytest.fixture(params=COMPOSITIONS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    with one_or_two(request.param, request, tmp_path) as started:
        yield Fleet(started[0], started[-1])


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


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_a_user_who_comes_back_when_all_has_expired_is_still_known(
    composition: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The daemon is killed as soon as it has answered, and does not run while the session expires."""
    with servers(composition, request, tmp_path) as environment:
        short = {**environment, "MEMD_TIERS_EPISODIC_TTL": f"{TTL_S}s"}
        with Daemon(tmp_path / "one", environment=short) as daemon:
            with Client(daemon.address, user_id="ada", session_id="day-0") as client:
                client.observe("we talked about the audit and the databases", role="user")
                client.observe(Event("We keep Postgres 16", kind=EventKind.DECISION, role="assistant"))
                daemon.kill()
            time.sleep(TTL_S + 1)
            daemon.start()
            with Client(daemon.address, user_id="ada", session_id="day-3") as client:
                until(lambda: "We keep Postgres 16" in recent(client), "the digest does not come")
                assert [one.scope.session_id for one in client.sessions()] == []
                until(lambda: "We keep Postgres 16" in [one.content for one in client.list()], "nor the decision")
                assert client.verify().ok


def recent(client: Client) -> str:
    return client.recall("what did we say?").context.partition("## Recent context")[2]
