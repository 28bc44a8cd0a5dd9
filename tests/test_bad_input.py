"""Bad input gets a clear error, and nothing is lost: every line of that promise, through a real daemon.

Each refusal is one line that names the field, says what is wrong and what would be right; afterwards everything that was
stored is as it was, and the daemon answers. What is shown elsewhere is not shown again here:

=============================================== ====================================================================
bad input                                       shown by
=============================================== ====================================================================
empty or oversized text                         here; each field by itself in tests/rpc/test_checks.py
NaN; wrong-size vectors                         here (numbers; no call takes a vector); tests/core/test_namespace_index.py
unknown fields of a filter                      tests/test_s3_filters_fail_closed.py
a namespace with a slash or NUL                 here, for every call
a TTL of zero or a century                      here
``limit`` 0 and 10 million                      here
a token budget smaller than the first section   here
a checkpoint with a stale version               here
the same ``request_id`` with another body       here, for every kind of write
a second daemon, same directory or socket       tests/app/test_daemon_life.py: a_second_daemon_on_the_same_...
a directory of another model, a newer schema    tests/app/test_daemon_life.py: a_directory_of_another_model, a_newer_schema
a read-only disk                                here
a full disk                                     tests/test_r4_full_disk.py
a missing model                                 tests/app/test_daemon_life.py: without_a_model_everything_else_serves
a tampered model                                here; at installation in tests/embed/test_install.py
a port in use, an unknown configuration key     tests/app/test_daemon_life.py: a_port_in_use, an_unknown_configuration_key
SIGTERM in the middle of writes                 tests/app/test_daemon_life.py: sigterm_in_the_middle_of_writes
wrong use of the command line                   here with a daemon; without one in tests/cli/test_command_line.py
=============================================== ====================================================================
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from memd_client import Client, Event, F, NewMemory, RetryPolicy, errors

from memd import limits
from memd.adapters.embed_onnx import cache
from tests.client.test_calls import EVERY_CALL
from tests.daemon import Daemon

CENTURY = timedelta(days=36_525)
NAN = float("nan")
STORED = "the harbour master keeps bees"
UNSHARE = ["unshare", "--map-root-user", "--mount"]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with (
        Daemon(tmp_path_factory.mktemp("bad")) as daemon,
        Client(daemon.address, user_id="u", session_id="s") as client,
    ):
        client.remember(STORED, memory_id="m", request_id="remember")
        client.observe("hello", request_id="observe")
        client.put_procedure("k", "open the hive slowly", request_id="procedure")
        client.save_checkpoint("t", b"one")
        client.save_checkpoint("t", b"two", request_id="checkpoint")
        yield daemon


@pytest.fixture
def memd(served: Daemon) -> Iterator[Client]:
    """A client; after the test everything must be as it was."""
    with Client(served.address, user_id="u", session_id="s", timeout_s=30) as client:
        before = state(client)
        yield client
        assert state(client) == before


def state(client: Client) -> Any:
    counts = client.stats().namespace
    return (
        (counts.memories, counts.procedures, counts.sessions, counts.events, counts.checkpoints, counts.seq),
        client.get("m"),
        client.load_checkpoint("t").state,
        client.get_procedure("k"),
        [event.content for event in client.episodes()],
        client.working_memory().settings,
        client.namespace_settings(),
    )


def check(error: errors.MemdError, field: str) -> None:
    """One line that names the field, in the text as well."""
    assert error.field == field
    assert "\n" not in error.message
    assert field.rpartition(".")[2] in error.message, error.message
    assert len(error.message) < 300


Refused = dict[str, tuple[str, Callable[[Client], Any]]]

TEXTS: Refused = {
    "empty memory": ("memories[0].content", lambda c: c.remember("")),
    "empty memory in a batch": ("memories[1].content", lambda c: c.remember(["fine", ""])),
    "oversized memory": ("memories[0].content", lambda c: c.remember("x" * (limits.MAX_CONTENT_BYTES + 1))),
    "empty new content": ("memory.content", lambda c: c.update("m", content="")),
    "empty event": ("events[0].content", lambda c: c.observe("")),
    "oversized event": ("events[0].content", lambda c: c.observe("x" * (limits.MAX_EVENT_BYTES + 1))),
    "oversized event in a batch": (
        "events[1].content",
        lambda c: c.observe([Event("fine"), Event("ä" * (limits.MAX_EVENT_BYTES // 2 + 1))]),
    ),
    "empty query": ("query", lambda c: c.recall("")),
    "oversized query": ("query", lambda c: c.recall("x" * (limits.MAX_QUERY_BYTES + 1))),
    "empty procedure": ("content", lambda c: c.put_procedure("k2", "")),
    "empty key": ("key", lambda c: c.put_procedure("", "do it")),
    "oversized state": ("state", lambda c: c.save_checkpoint("t", b"x" * (limits.MAX_CHECKPOINT_BYTES + 1))),
    "oversized metadata": ("memories[0].metadata", lambda c: c.remember("x", metadata={"k": "x" * 20_000})),
    "oversized id": ("memories[0].memory_id", lambda c: c.remember("x", memory_id="i" * 300)),
}
NUMBERS: Refused = {
    "importance of a memory": ("memories[0].importance", lambda c: c.remember("x", importance=NAN)),
    "importance of an event": ("events[0].importance", lambda c: c.observe("x", importance=NAN)),
    "min_relevance": ("min_relevance", lambda c: c.recall("x", min_relevance=NAN)),
    "vector_weight": ("ranking.vector_weight", lambda c: c.recall("x", vector_weight=NAN)),
    "compress_at of a session": ("settings.compress_at", lambda c: c.update_session_settings(compress_at=NAN)),
    "trim_ratio": ("ranking.trim_ratio", lambda c: c.recall("x", trim_ratio=NAN)),
    "metadata": ("memories[0].metadata.*", lambda c: c.remember("x", metadata={"k": NAN})),
    "metadata, infinite": ("memories[0].metadata.*", lambda c: c.remember("x", metadata={"k": [1.0, float("inf")]})),
}
TIMES: Refused = {
    "memory, zero": ("memories[0].ttl", lambda c: c.remember("x", ttl=timedelta(0))),
    "memory, a century": ("memories[0].ttl", lambda c: c.remember("x", ttl=CENTURY)),
    "memory, negative": ("memories[0].ttl", lambda c: c.remember("x", ttl=timedelta(seconds=-5))),
    "checkpoint, zero": ("ttl", lambda c: c.save_checkpoint("t", b"x", ttl=timedelta(0))),
    "checkpoint, a century": ("ttl", lambda c: c.save_checkpoint("t", b"x", ttl=CENTURY)),
    "settings, a century": ("settings.episodic_ttl", lambda c: c.update_namespace_settings(episodic_ttl=CENTURY)),
}
COUNTS: Refused = {
    "items of a session": (
        "settings.working_max_items",
        lambda c: c.update_session_settings(working_max_items=limits.MAX_WORKING_ITEMS + 1),
    ),
    "tokens of a session": (
        "settings.working_max_tokens",
        lambda c: c.update_session_settings(working_max_tokens=limits.MAX_TIER_TOKENS + 1),
    ),
    "kept items of a session": (
        "settings.compress_keep",
        lambda c: c.update_session_settings(compress_keep=limits.MAX_COMPRESS_KEEP + 1),
    ),
    "threshold of a session": ("settings.compress_at", lambda c: c.update_session_settings(compress_at=1.1)),
    "summary of a session": ("settings.compress_to", lambda c: c.update_session_settings(compress_to=-0.1)),
    "summaries of a session": ("settings.summary_share", lambda c: c.update_session_settings(summary_share=0.9)),
    "no settings of a session": ("settings", lambda c: c.update_session_settings()),
    "limit": ("limit", lambda c: c.recall("x", limit=10_000_000)),
    "page size": ("page_size", lambda c: c.list_page(page_size=10_000_000)),
    "episodes": ("max_episodes", lambda c: c.recall("x", max_episodes=10_000_000)),
    "candidates": ("ranking.candidates", lambda c: c.recall("x", candidates=10_000_000)),
    "budget": ("token_budget", lambda c: c.recall("x", token_budget=limits.MIN_TOKEN_BUDGET - 1)),
    "memories": ("memories", lambda c: c.remember([f"x{n}" for n in range(limits.MAX_MEMORIES_PER_REMEMBER + 1)])),
    "no memories": ("memories", lambda c: c.remember([])),
    "events": ("events", lambda c: c.observe([Event("x")] * (limits.MAX_EVENTS_PER_OBSERVE + 1))),
    "ids": ("ids.memory_ids", lambda c: c.forget([f"m{n}" for n in range(limits.MAX_IDS_PER_FORGET + 1)])),
}
ALL = {f"{group}: {name}": case for group, cases in (("text", TEXTS), ("NaN", NUMBERS), ("ttl", TIMES), ("count", COUNTS))
       for name, case in cases.items()}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_a_field_that_cannot_be_is_named(memd: Client, name: str) -> None:
    field, call = ALL[name]
    with pytest.raises(errors.InvalidArgument) as refused:
        call(memd)
    check(refused.value, field)


LONG = "word " * 10_000
WINDOWS: Refused = {
    "memory": ("memories[1].content", lambda c: c.remember(["fine", LONG])),
    "new content": ("memory.content", lambda c: c.update("m", content=LONG)),
    "query": ("query", lambda c: c.recall("a " * (limits.MAX_QUERY_BYTES // 2))),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_text_of_too_many_windows_is_refused_and_says_what_fits(memd: Client, name: str) -> None:
    field, call = WINDOWS[name]
    with pytest.raises(errors.InvalidArgument) as refused:
        call(memd)
    assert refused.value.field == field
    assert "takes at most 3104: split it" in refused.value.message


def test_a_message_over_the_bound_is_refused_and_the_connection_lives(memd: Client) -> None:
    with pytest.raises(errors.LimitExceeded):
        memd.save_checkpoint("t", b"x" * (2 * limits.MAX_MESSAGE_BYTES))


@pytest.mark.parametrize("bad", ["a/b", "a\0b", "/", "\n", "n" * 129], ids=repr)
def test_a_namespace_that_is_none_is_refused_by_every_call(memd: Client, bad: str) -> None:
    for call in EVERY_CALL:
        request: Any = copy.deepcopy(call.request)
        request.scope.namespace = bad
        with pytest.raises(errors.InvalidArgument) as refused:
            memd._send(replace(call, request=request))
        check(refused.value, "scope.namespace")


def test_a_limit_of_zero_is_the_default(memd: Client) -> None:
    assert [hit.memory.memory_id for hit in memd.recall("harbour", limit=0).memories] == ["m"]


def test_a_budget_below_the_first_section_leaves_it_out_and_says_how_much(served: Daemon) -> None:
    with Client(served.address, namespace="small", user_id="u", session_id="s", timeout_s=30) as client:
        client.observe(" ".join(["the tide comes in slowly"] * 40))
        client.remember("bees")
        found = client.recall("bees", token_budget=limits.MIN_TOKEN_BUDGET)
    assert found.tokens <= limits.MIN_TOKEN_BUDGET
    assert "tide" not in found.context
    assert "bees" in found.context
    assert len(found.working) == 1, "what has no room in the block is in the reply"
    assert found.omitted == 1


def test_a_stale_checkpoint_loses_and_learns_the_version(memd: Client) -> None:
    for expected in (0, 1, 7):
        with pytest.raises(errors.VersionConflict) as refused:
            memd.save_checkpoint("t", b"stale", expected_version=expected)
        assert refused.value.current_version == 2


REUSED: dict[str, Callable[[Client], Any]] = {
    "remember": lambda c: c.remember("another text", memory_id="m", request_id="remember"),
    "observe": lambda c: c.observe("another event", request_id="observe"),
    "procedure": lambda c: c.put_procedure("k", "open it quickly", request_id="procedure"),
    "checkpoint": lambda c: c.save_checkpoint("t", b"three", request_id="checkpoint"),
    "another call": lambda c: c.update("m", content="another text", request_id="remember"),
    "forget": lambda c: c.forget("m", request_id="remember"),
}


@pytest.mark.parametrize("name", REUSED)
def test_a_request_id_with_another_body_is_refused(memd: Client, name: str) -> None:
    with pytest.raises(errors.RequestIdReused) as refused:
        REUSED[name](memd)
    assert refused.value.field == "request_id"
    assert "request_id" in refused.value.message


COMMANDS: dict[str, tuple[list[str], str]] = {
    "empty memory": (["remember", ""], "content"),
    "oversized memory": (["remember", "x" * 70_000], "content"),
    "huge limit": (["recall", "x", "--limit", "10000000"], "limit"),
    "namespace": (["recall", "x", "--namespace", "a/b"], "namespace"),
    "unknown field": (["list", "--where", "colour=red"], "filter"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_says_it_in_one_line(served: Daemon, memd: Client, name: str) -> None:
    words, told = COMMANDS[name]
    environment = {**os.environ, "MEMD_ADDRESS": served.address}
    command = [sys.executable, "-m", "memd", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("memd")
    assert told in line


# -- what a daemon is started with


def mounts_are_allowed() -> bool:
    if shutil.which(UNSHARE[0]) is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not mounts_are_allowed(), reason="needs a mount namespace of its own")
def test_a_read_only_disk_is_one_plain_line_and_harms_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path / "d") as daemon, Client(daemon.address) as client:
        client.remember(STORED, memory_id="m")
        daemon.terminate()
        read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
        serve = [sys.executable, "-m", "memd", "serve", "--data-dir", str(daemon.data_dir)]
        done = subprocess.run(
            [*UNSHARE, "sh", "-c", read_only, str(daemon.data_dir), *serve, "--socket", str(daemon.socket_path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert str(daemon.data_dir) in line
        assert "not writable" in line or "Read-only file system" in line
        daemon.start()
        assert client.get("m").content == STORED


def test_a_tampered_model_is_not_used_and_everything_else_serves(tmp_path: Path) -> None:
    installed = cache.model_dir("")
    copy = cache.model_dir("", tmp_path / "models")
    shutil.copytree(installed, copy)
    model = copy / cache.MODEL_FILE
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.chmod(0o600)
    model.write_bytes(content)
    daemon = Daemon(tmp_path / "d", environment={"MEMD_MODEL_DIR": str(tmp_path / "models")})
    with daemon, Client(daemon.address, user_id="u", session_id="s", retry=RetryPolicy(attempts=1)) as client:
        client.observe("said without a model")
        with pytest.raises(errors.ModelUnavailable) as refused:
            client.remember([NewMemory("x")])
        assert "memd model install" in refused.value.message
        assert "said without a model" in client.recall("what was said?").context
        assert list(client.list(filter=F.tag == "x")) == []


def test_a_search_by_pgvector_where_there_is_no_postgres(served: Daemon) -> None:
    with Client(served.address) as client:
        with pytest.raises(errors.WrongState, match="needs Postgres"):
            client.update_namespace_settings(index="pgvector")
        with pytest.raises(errors.InvalidArgument, match='"memory" or "pgvector"'):
            client.update_namespace_settings(index="disk")
        assert client.namespace_settings().index is None
