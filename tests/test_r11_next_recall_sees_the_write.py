"""R11: the very next recall sees the write, on the same connection and on another one.

2,000 checks at size A: each writes and recalls at once, in turn over the kinds of writes there are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from memd_client import Client, F, MemdError, NewMemory, RetryPolicy, errors

from tests.daemon import Daemon
from tests.reliability.size import scaled

CHECKS = scaled(2_000)
KINDS = 6
WORDS = (
    "amber",
    "birch",
    "cobalt",
    "dune",
    "ember",
    "fjord",
    "garnet",
    "heron",
    "indigo",
    "juniper",
    "kelp",
    "lichen",
    "marble",
    "nettle",
    "opal",
    "pine",
)


@pytest.fixture(scope="module")
def two_clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Client]]:
    directory: Path = tmp_path_factory.mktemp("r11")
    with (
        Daemon(directory) as daemon,
        Client(daemon.address, user_id="u") as first,
        Client(daemon.address, user_id="u") as second,  # another channel: a connection of its own
    ):
        yield first, second


def text(choose: random.Random, number: int) -> str:
    return f"note {number}: {' '.join(choose.choices(WORDS, k=5))}"


def contents(client: Client, query: str, tag: str) -> list[str]:
    return [hit.memory.content for hit in client.recall(query, limit=5, filter=F.tag == tag).memories]


def check_remember(writer: Client, reader: Client, choose: random.Random, n: int) -> None:
    said = text(choose, n)
    writer.remember(said, tags=[f"t{n}"])
    assert contents(reader, said, f"t{n}") == [said]


def check_observe(writer: Client, reader: Client, choose: random.Random, n: int) -> None:
    said, session = text(choose, n), f"s{n % 50}"
    writer.scoped(session_id=session).observe(said, role="user")
    seen = reader.scoped(session_id=session).recall("", tiers=["working"])
    assert seen.working[-1].content == said
    assert said in seen.context


def check_update(writer: Client, reader: Client, choose: random.Random, n: int) -> None:
    before, after = text(choose, n), text(choose, -n)
    stored = writer.remember(before, tags=[f"t{n}"]).memories[0]
    writer.update(stored.memory_id, content=after)
    assert contents(reader, after, f"t{n}") == [after]


def check_supersede(writer: Client, reader: Client, choose: random.Random, n: int) -> None:
    before, after = text(choose, n), text(choose, -n)
    old = writer.remember(before, tags=[f"t{n}"]).memories[0]
    writer.remember([NewMemory(after, tags=[f"t{n}"], supersedes=old.memory_id)])
    assert contents(reader, before, f"t{n}") == [after]


def check_forget(writer: Client, reader: Client, choose: random.Random, n: int) -> None:
    said = text(choose, n)
    stored = writer.remember(said, tags=[f"t{n}"]).memories[0]
    writer.forget(memory_ids=[stored.memory_id])
    assert contents(reader, said, f"t{n}") == []


def check_min_seq(writer: Client, reader: Client, choose: random.Random, n: int) -> None:
    said = text(choose, n)
    seq = writer.remember(said, tags=[f"t{n}"]).receipt.seq
    seen = reader.recall(said, limit=5, filter=F.tag == f"t{n}", min_seq=seq)
    assert [hit.memory.content for hit in seen.memories] == [said]
    assert seen.seq >= seq


CHECK = (check_remember, check_observe, check_update, check_supersede, check_forget, check_min_seq)


@pytest.mark.parametrize("same_connection", [True, False], ids=["same connection", "another connection"])
def test_the_next_recall_sees_the_write(two_clients: tuple[Client, Client], same_connection: bool) -> None:
    first, second = two_clients
    choose = random.Random(20_261_122 + same_connection)
    start = 1 if same_connection else 1 + CHECKS
    for n in range(start, start + CHECKS // 2):
        CHECK[n % KINDS](first, first if same_connection else second, choose, n)


def test_a_change_that_is_not_there_is_not_pretended(two_clients: tuple[Client, Client]) -> None:
    first, _ = two_clients
    seq = first.remember("the last change so far").receipt.seq
    impatient = Client(first.address, user_id="u", retry=RetryPolicy(attempts=1))
    with impatient, pytest.raises(MemdError) as refused:
        impatient.recall("anything", min_seq=seq + 1)
    assert isinstance(refused.value, errors.NotReady)
