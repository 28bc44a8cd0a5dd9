"""S12 with the truth on servers: what was forgotten leaves the files of Redis, of Postgres and of the sidecars' replicas, as
far as the receipt claims: what it says is out of reach is named there, and nothing else holds the text.

In Postgres VACUUM lets go of the end of a table that has nothing left; inside a table that goes on, freed space is used
again in its own time or let go of by VACUUM FULL. Its write-ahead log is out of reach until it is recycled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from memd_client import Client, Event, EventKind, F, ForgetReceipt, Memory, NewMemory, SourceKind

from tests.daemon import Daemon
from tests.reliability.size import scaled
from tests.servers.postgres import Launcher, Postgres
from tests.servers.redis import SYNCED, RedisServer, find
from tests.test_sessions_leave_memories_on_servers import until

PLAIN = {**SYNCED, "rdbcompression": "no"}
"""A rewritten file begins with a snapshot, in which text that is still there must be seen."""
WITHIN_S = 60.0
POLL_S = 0.2
PARTS = ("fact", "changed", "meta", "turn", "how", "state")


@dataclass(frozen=True)
class Fleet:
    """Two daemons on a Postgres, and on a Redis unless sessions are on Postgres too; ``database`` is the directory of its
    tables."""

    one: Daemon
    other: Daemon
    redis: RedisServer | None
    postgres: Postgres
    name: str
    database: Path

    @property
    def local(self) -> tuple[Path, ...]:
        """Where the sidecars' replicas are."""
        return self.one.data_dir, self.other.data_dir

    @property
    def redis_files(self) -> tuple[Path, ...]:
        return () if self.redis is None else (self.redis.directory,)

    def checkpoint(self) -> None:
        self.postgres.send("CHECKPOINT", database=self.name)


@contextmanager
def started(launcher: Launcher, directory: Path, *, with_redis: bool) -> Iterator[Fleet]:
    binary = find("valkey") or find("redis")
    if with_redis and binary is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    with ExitStack() as stack:
        postgres = launcher.server()
        stack.callback(postgres.kill)
        name = postgres.create_database()
        ((oid,),) = postgres.send("SELECT oid FROM pg_database WHERE datname = $1", name)
        environment, redis = {"MEMD_POSTGRES_URL": postgres.url(name)}, None
        if with_redis and binary is not None:
            redis = stack.enter_context(RedisServer(binary, directory / "redis", PLAIN))
            environment["MEMD_REDIS_URL"] = redis.url
        one, other = (stack.enter_context(Daemon(directory / pod, environment=environment)) for pod in ("one", "other"))
        yield Fleet(one, other, redis, postgres, name, postgres.directory / "base" / str(oid))


@pytest.fixture
def fleet(postgres18: Launcher, tmp_path: Path) -> Iterator[Fleet]:
    with started(postgres18, tmp_path, with_redis=True) as running:
        yield running


@pytest.fixture(params=["redis and postgres", "postgres"])
def either_fleet(request: pytest.FixtureRequest, postgres18: Launcher, tmp_path: Path) -> Iterator[Fleet]:
    with started(postgres18, tmp_path, with_redis="redis" in request.param) as running:
        yield running


def mark(user: str, part: str) -> str:
    return f"canary-{user}-{part}-quetzal"


def store(client: Client, user: str) -> None:
    own = client.scoped(user_id=user, session_id=f"session-{user}")
    fact = own.remember(
        [NewMemory(f"{mark(user, 'fact')} keeps bees", metadata={"note": mark(user, "meta")})]
    ).memories[0]
    own.update(fact.memory_id, content=f"{mark(user, 'changed')} sold the bees")
    own.observe(f"{mark(user, 'turn')} about the bees", role="user")
    own.put_procedure(f"how-{user}", content=f"{mark(user, 'how')} open the hive slowly", trigger="bees")
    own.save_checkpoint(f"task-{user}", mark(user, "state").encode())


def held(directories: tuple[Path, ...], needles: Collection[str]) -> set[str]:
    """The needles that are still in a file."""
    found = set()
    for path in (p for directory in directories for p in directory.rglob("*") if p.is_file()):
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # replaced or recycled meanwhile
            continue
        found |= {needle for needle in needles if needle.encode() in content}
    return found


def wait_until_gone(
    directories: tuple[Path, ...], needles: Collection[str], each_time: Callable[[], None] = lambda: None
) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while left := held(directories, needles):
        assert time.monotonic() < deadline_s, left
        time.sleep(POLL_S)
        each_time()


def remains(directories: tuple[Path, ...], user: str) -> set[str]:
    """Parts of the user's that are still in a file."""
    return {part for part in PARTS if held(directories, [mark(user, part)])}


def marks(user: str) -> list[str]:
    return [mark(user, part) for part in PARTS]


def test_forgotten_text_leaves_the_files_of_servers_and_sidecars(fleet: Fleet) -> None:
    local = fleet.local
    with Client(fleet.one.address, timeout_s=30) as a, Client(fleet.other.address, timeout_s=30) as b:
        store(a, "ada")
        b.scoped(user_id="ada").recall("bees", min_seq=a.stats().namespace.seq)
        fleet.checkpoint()
        everywhere = (*fleet.redis_files, fleet.database, *local)
        assert remains(everywhere, "ada") == set(PARTS)
        assert remains(fleet.redis_files, "ada") == {"turn"}
        assert remains((fleet.other.data_dir,), "ada") >= {"changed"}
        receipt = a.scoped(user_id="ada").forget(everything=True, task_ids=["task-ada"])
        assert receipt.counts["events"] == 1
        told = "; ".join(receipt.out_of_reach)
        for words in ("BGREWRITEAOF", "snapshots (RDB)", "VACUUM was asked for", "write-ahead log", "backups"):
            assert words in told
        wait_until_gone((*fleet.redis_files, *local), marks("ada"))
        # nothing is left in any table: VACUUM, which memd asked for, cuts them off
        wait_until_gone((fleet.database,), marks("ada"), fleet.checkpoint)


def test_inside_tables_that_go_on_the_text_is_free_space(fleet: Fleet) -> None:
    with Client(fleet.one.address, timeout_s=30) as a:
        store(a, "ada")
        store(a, "bob")
        a.scoped(user_id="ada").forget(everything=True, task_ids=["task-ada"])
        wait_until_gone((*fleet.redis_files, fleet.one.data_dir), marks("ada"))
        fleet.postgres.send("VACUUM FULL", database=fleet.name)
        wait_until_gone((fleet.database,), marks("ada"), fleet.checkpoint)
        assert remains((*fleet.redis_files, fleet.database), "bob") == set(PARTS), "what stays is untouched"


# -- one thing that was said


ROUNDS = scaled(3)
LONG = 24
"""Events of a session that is compressed, and whose digest is due while it lives."""


def secret(number: int) -> str:
    return f"canary-{number}-quetzal"


def talk(client: Client, number: int) -> str:
    """A session in which a secret is said; the id of that event."""
    observed = client.observe(f"Remember that my sister {secret(number)} lives in Lyon", role="user")
    client.observe([Event(f"point {k} of the plan was done in room {k}", role="user") for k in range(LONG)])
    return observed.events[0].event_id


def memories_of(client: Client, number: int) -> dict[bool, Memory]:
    """What the secret is in by now: the digest (True), and the memory that was made of the event (False)."""
    found = [one for one in client.list() if secret(number) in one.content]
    return {one.source is SourceKind.DIGEST: one for one in found}


def all_was_made(client: Client, number: int) -> bool:
    summarized = [one for one in client.working_memory().items if one.kind == EventKind.SUMMARY]
    return bool(summarized) and set(memories_of(client, number)) == {True, False}


def by_event(client: Client, number: int, event_id: str) -> ForgetReceipt:
    return client.forget(event_ids=event_id)


def by_memory(client: Client, number: int, event_id: str) -> ForgetReceipt:
    return client.forget(memories_of(client, number)[False].memory_id)


def by_filter(client: Client, number: int, event_id: str) -> ForgetReceipt:
    return client.forget(filter=F.source == "user")


WAYS = (by_event, by_memory, by_filter)


def test_one_thing_that_was_said_leaves_all_that_was_made_of_it(either_fleet: Fleet) -> None:
    """A Forget by event, by memory or by filter: the event, the summary, the digest and the memory go from the files of both
    servers and both replicas, while the rest of the session stays where it was."""
    fleet = either_fleet
    with Client(fleet.one.address, timeout_s=30) as a, Client(fleet.other.address, timeout_s=30) as b:
        told = {n: a.scoped(user_id=f"u{n}", session_id="s") for n in range(ROUNDS)}
        heard = {n: b.scoped(user_id=f"u{n}", session_id="s") for n in range(ROUNDS)}
        said = {n: talk(client, n) for n, client in told.items()}
        for n, client in heard.items():
            until(partial(all_was_made, client, n), "no summary, digest or memory of it")
        fleet.checkpoint()
        secrets = [secret(n) for n in range(ROUNDS)]
        for files in (fleet.redis_files, (fleet.database,), fleet.local):
            assert not files or held(files, secrets) == set(secrets), "a mark that cannot be seen shows nothing"
        for n, client in heard.items():
            receipt = WAYS[n % len(WAYS)](client, n, said[n])
            counts = receipt.counts
            assert (counts["events"], counts["memories"], counts["digests"]) == (1, 1, 1)
            assert counts["summaries"] >= 1
            assert any("VACUUM was asked for" in words for words in receipt.out_of_reach)
            assert any("BGREWRITEAOF" in words for words in receipt.out_of_reach) == (fleet.redis is not None)
        wait_until_gone((*fleet.redis_files, *fleet.local), secrets)
        for n, client in told.items():
            until(partial(is_told_anew, client), "no digest of what is left")
            assert len(list(client.episodes())) == LONG, "more than one event went"
            assert not memories_of(client, n)
    fleet.postgres.send("VACUUM FULL", database=fleet.name)
    wait_until_gone((fleet.database,), secrets, fleet.checkpoint)
    assert held((fleet.database, *fleet.redis_files), ["point 3 of the plan"]), "what stays is untouched"


def is_told_anew(client: Client) -> bool:
    return any("point" in one.content for one in client.list(filter=F.source == "digest"))


def test_a_snapshot_of_redis_holds_it_until_the_next_one(fleet: Fleet) -> None:
    """As the receipt says of RDB files: memd asks for none."""
    assert fleet.redis is not None
    with Client(fleet.one.address, user_id="ada", session_id="s", timeout_s=30) as client:
        event_id = talk(client, 0)
        fleet.redis.send("SAVE")
        snapshot = fleet.redis.directory / "dump.rdb"
        assert secret(0).encode() in snapshot.read_bytes()
        receipt = client.forget(event_ids=event_id)
        assert any("snapshots (RDB)" in words for words in receipt.out_of_reach)
        assert secret(0).encode() in snapshot.read_bytes()
        fleet.redis.send("SAVE")
        wait_until_gone(fleet.redis_files, [secret(0)])
