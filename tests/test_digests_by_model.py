"""A daemon whose digests a hosted model writes: told in the next session, paid for visibly, and made anew after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import pytest
from memd_client import Client, F, Memory
from memd_client.types import ProcessStats

from tests.daemon import Daemon
from tests.summarize.model_server import ModelServer
from tests.test_sessions_leave_memories_on_servers import servers

T = TypeVar("T")
KEY = "key-of-the-test"
PATIENCE_S = 60.0


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer("user: wants the billing database moved in March") as running:
        yield running


def environment(url: str) -> Mapping[str, str]:
    return {"MEMD_SUMMARIZER_KIND": "anthropic", "MEMD_SUMMARIZER_BASE_URL": url, "ANTHROPIC_API_KEY": KEY}


def until(found: Callable[[], T]) -> T:
    """The first of what ``found`` gives that is not empty."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def said_and_ended(memd: Client) -> None:
    session = memd.scoped(session_id="s1")
    session.observe("the billing database is to move in March")
    session.end_session()


def process(memd: Client) -> ProcessStats:
    stats = memd.stats().process
    assert stats is not None
    return stats


def digests(memd: Client) -> list[Memory]:
    return list(memd.list(filter=F.source == "digest"))


def test_the_next_session_knows_what_the_model_wrote(tmp_path: Path, model: ModelServer) -> None:
    with (
        Daemon(tmp_path / "d", environment=environment(model.url)) as daemon,
        Client(daemon.address, user_id="u") as memd,
    ):
        said_and_ended(memd)
        (digest,) = until(lambda: digests(memd))
        assert digest.content == model.text
        assert digest.metadata["summarizer"] == "anthropic/claude-haiku-4-5"
        assert model.text in memd.scoped(session_id="s2").recall("billing").context
        assert process(memd).digests == {"made": 1, "model_summaries": 1, "model_tokens_in": 100, "model_tokens_out": 7}
        assert "model_summaries" not in process(memd).compression, "counted apart"
    assert KEY not in daemon.log_path.read_text()


def test_where_nobody_is_it_is_an_extract(tmp_path: Path) -> None:
    nobody = environment("http://127.0.0.1:9")
    with Daemon(tmp_path / "d", environment=nobody) as daemon, Client(daemon.address, user_id="u") as memd:
        said_and_ended(memd)
        (digest,) = until(lambda: digests(memd))
        assert digest.content == "user: the billing database is to move in March"
        assert process(memd).digests == {"made": 1, "model_failures": 1}


def runs(memd: Client) -> int:
    (job,) = [job for job in memd.stats().jobs if job.job == "digest"]
    return job.runs


def test_one_of_two_sidecars_asks(request: pytest.FixtureRequest, tmp_path: Path, model: ModelServer) -> None:
    model.behaviour = ["held"]
    with servers("redis and postgres", request, tmp_path) as where:
        told = {**where, **environment(model.url)}
        with (
            Daemon(tmp_path / "one", environment=told) as one,
            Daemon(tmp_path / "other", environment=told) as other,
            Client(one.address, user_id="u") as a,
            Client(other.address, user_id="u") as b,
        ):
            said_and_ended(a)
            until(lambda: model.requests)
            looked = [runs(memd) + 2 for memd in (a, b)]
            until(lambda: all(runs(memd) >= least for memd, least in zip((a, b), looked, strict=True)))
            assert len(model.requests) == 1, "the lease is held while the model is asked"
            assert digests(b) == []
            model.release.set()
            (digest,) = until(lambda: digests(b))
            assert (digest.content, digest.version) == (model.text, 1)
            assert a.verify().ok


def test_killed_while_the_model_is_asked(tmp_path: Path, model: ModelServer) -> None:
    model.behaviour = ["held"]
    with Daemon(tmp_path / "d", environment=environment(model.url)) as daemon:
        with Client(daemon.address, user_id="u") as memd:
            said_and_ended(memd)
            until(lambda: model.requests)
            assert digests(memd) == []
        daemon.kill()
        model.release.set()
        daemon.start()
        with Client(daemon.address, user_id="u") as memd:
            (digest,) = until(lambda: digests(memd))
            assert (digest.content, digest.version) == (model.text, 1)
            assert digest.metadata["through_position"] == 1
            assert memd.verify().ok
