"""A real daemon starts, stops and refuses to start, each in a way an operator can work with."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memd_client import AsyncClient, Client, Event, EventKind, Health, NewMemory, errors

from tests.daemon import Daemon

STOP_S = 30
KEPT_EPISODES = 900  # fewer than the cap of a session


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that is not started yet."""
    made = Daemon(tmp_path / "d")
    yield made
    made.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _refused(daemon: Daemon) -> str:
    """The one line of a daemon that does not start."""
    before = daemon.log_path.stat().st_size if daemon.log_path.exists() else 0
    assert daemon.spawn().wait(STOP_S) == 1
    lines = daemon.log_path.read_bytes()[before:].decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("memd: ")
    return lines[0]


def test_sigterm_is_a_clean_end_and_leaves_no_socket(daemon: Daemon) -> None:
    assert stat.S_IMODE(daemon.socket_path.stat().st_mode) == 0o600
    assert daemon.terminate() == 0
    assert not daemon.socket_path.exists()
    assert "ready" in daemon.log_tail()


def test_sigint_is_a_clean_end_too(daemon: Daemon) -> None:
    os.kill(daemon.pid, signal.SIGINT)
    assert daemon.process is not None
    assert daemon.process.wait(STOP_S) == 0


async def test_sigterm_in_the_middle_of_writes_loses_nothing_acknowledged(daemon: Daemon) -> None:
    acknowledged: dict[int, list[str]] = {n: [] for n in range(8)}

    async def write(client: AsyncClient, writer: int) -> None:
        with_session = client.scoped(session_id=f"s{writer}")
        for n in range(100_000):
            event = Event(event_id=f"{writer}-{n}", kind=EventKind.TURN, content=f"event {n}")
            try:
                await with_session.observe([event], timeout_s=STOP_S)
            except errors.MemdError:
                return
            acknowledged[writer].append(event.event_id)

    async with AsyncClient(daemon.address, retry=None) as client:
        writers = [asyncio.ensure_future(write(client, n)) for n in range(8)]
        while any(len(names) < 20 for names in acknowledged.values()):
            assert not any(writer.done() for writer in writers)
            await asyncio.sleep(0.01)
        assert await asyncio.to_thread(daemon.terminate) == 0
        await asyncio.gather(*writers)
    await asyncio.to_thread(daemon.start)
    async with AsyncClient(daemon.address) as client:
        kept = {e.event_id for n in range(8) async for e in client.scoped(session_id=f"s{n}").episodes()}
    newest = {name for names in acknowledged.values() for name in names[-KEPT_EPISODES:]}
    assert newest <= kept


def test_a_second_daemon_on_the_same_directory_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    second = Daemon(tmp_path / "second")
    second.data_dir = daemon.data_dir
    try:
        assert "is in use by another memd" in _refused(second)
    finally:
        second.close()


def test_a_second_daemon_on_the_same_socket_is_refused_and_the_first_lives(daemon: Daemon, tmp_path: Path) -> None:
    second = Daemon(tmp_path / "second", arguments=["--socket", str(daemon.socket_path)])
    try:
        assert "is in use by another memd" in _refused(second)
    finally:
        second.close()
    with Client(daemon.address) as client:
        assert client.health() is Health.SERVING


@pytest.mark.parametrize("flag", ["--listen", "--health-listen", "--metrics-listen"])
def test_a_port_in_use_is_one_plain_line(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = Daemon(tmp_path / "d", arguments=[flag, address, "--insecure-loopback"])
        try:
            line = _refused(daemon)
        finally:
            daemon.close()
    assert address in line
    assert "Address already in use" in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "0.0.0.0:7999"], "needs server.token_file"),
        (["--listen", "0.0.0.0:7999", "--insecure-loopback"], "loopback addresses only"),
        (["--token-file", "/nonexistent/tokens"], "cannot be read"),
        (["--config", "/nonexistent/memd.toml"], "cannot be read"),
        (["--data-dir", "/dev/null/data"], "cannot be used"),
    ],
)
def test_what_cannot_work_is_one_plain_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    daemon = Daemon(tmp_path / "d", arguments=arguments)
    try:
        assert words in _refused(daemon)
    finally:
        daemon.close()


def test_an_unknown_configuration_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "memd.toml"
    path.write_text("[server]\nsokcet = 'x'")
    daemon = Daemon(tmp_path / "d", arguments=["--config", str(path)])
    try:
        assert "server.sokcet; did you mean server.socket" in _refused(daemon)
    finally:
        daemon.close()


def test_a_directory_of_another_model_is_refused(idle: Daemon) -> None:
    idle.start()
    with Client(idle.address) as client:
        client.remember([NewMemory(content="frozen now")])
    idle.terminate()
    with sqlite3.connect(idle.data_dir / "memd.db") as database:
        changed = database.execute("UPDATE meta SET value = replace(value, 'MiniLM', 'OtherLM')")
        assert changed.rowcount > 0
    line = _refused(idle)
    assert "OtherLM" in line
    assert "configure the old one" in line


def test_a_newer_schema_is_refused(idle: Daemon) -> None:
    idle.start()
    idle.terminate()
    with sqlite3.connect(idle.data_dir / "memd.db") as database:
        database.execute("PRAGMA user_version = 999")
    assert "newer memd" in _refused(idle)


def test_without_a_model_everything_else_serves(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "d", environment={"MEMD_MODEL_DIR": str(tmp_path / "none")})
    with daemon, Client(daemon.address, retry=None) as client:
        session = client.scoped(user_id="u", session_id="s")
        session.observe([Event(kind=EventKind.TURN, content="said without a model")])
        with pytest.raises(errors.ModelUnavailable):
            client.remember([NewMemory(content="x")])
        found = session.recall("what was said?")
        status = {s.tier.value: s.state.value for s in found.tier_status}
        assert "said without a model" in found.context
        assert status["working"] == "ok"
        assert status["semantic"] == "degraded"
    warnings = [line for line in daemon.log_path.read_text().splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "memd model install" in warnings[0]


def test_a_failed_fsync_stops_the_daemon_at_once(tmp_path: Path) -> None:
    switch = tmp_path / "broken"
    environment = {
        "MEMD_TESTING": "1",
        "MEMD_TEST_VFS": "tests.faultvfs:register",
        "MEMD_TEST_FAULT": f'{{"action": "eio", "calls": ["sync"], "persistent": true, "switch": "{switch}"}}',
    }
    with Daemon(tmp_path / "d", environment=environment) as daemon, Client(daemon.address, retry=None) as client:
        session = client.scoped(session_id="s")
        session.observe([Event(kind=EventKind.TURN, content="fine")])
        switch.touch()
        begun = time.monotonic()
        with pytest.raises(errors.MemdError):
            session.observe([Event(kind=EventKind.TURN, content="lost")], timeout_s=5)
        assert daemon.process is not None
        assert daemon.process.wait(10) == 74
        assert time.monotonic() - begun < 10
    assert "a store failed, the daemon stops" in daemon.log_tail()


def test_probes_and_metrics_have_their_own_ports(tmp_path: Path) -> None:
    probe, metrics = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    daemon = Daemon(tmp_path / "d", arguments=["--health-listen", probe, "--metrics-listen", metrics])
    with daemon, grpc.insecure_channel(probe) as channel, Client(daemon.address) as client:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        with Client(probe, retry=None) as wrong_door, pytest.raises(errors.Unimplemented):
            wrong_door.stats()
        client.scoped(session_id="s").recall("anything")
        page = urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5).read().decode()
    assert 'memd_calls_total{code="OK",method="/memd.v1.MemoryService/Recall"} 1.0' in page
    assert 'memd_tier_seconds_count{tier="semantic"} 1.0' in page
    for gauge in ("write_queue_depth", "query_cache_misses", "resident_bytes", "data_bytes", "namespaces_loaded"):
        assert f"\nmemd_{gauge} " in page


def _token(path: Path, token: str) -> None:
    path.touch(mode=0o600)
    digest = hashlib.sha256(token.encode()).hexdigest()
    path.write_text(f'[[tokens]]\nname = "a"\nsha256 = "{digest}"\nnamespace = "n"\n')


def test_sighup_brings_new_tokens_over_tcp(tmp_path: Path) -> None:
    tokens, address = tmp_path / "tokens.toml", f"127.0.0.1:{_free_port()}"
    _token(tokens, "old")
    daemon = Daemon(tmp_path / "d", arguments=["--listen", address, "--token-file", str(tokens)])
    with daemon:
        for where in (address, daemon.address):
            with Client(where, token="old") as client:
                client.scoped(session_id="s").working_memory()
        _token(tokens, "new")
        os.kill(daemon.pid, signal.SIGHUP)
        with Client(address, token="new") as client:
            deadline = time.monotonic() + 5
            while True:
                try:
                    client.scoped(session_id="s").working_memory()
                    break
                except errors.Unauthenticated:
                    assert time.monotonic() < deadline
        with Client(address, token="old") as client, pytest.raises(errors.Unauthenticated):
            client.scoped(session_id="s").working_memory()


def test_a_daemon_that_got_sigkill_starts_again_over_its_socket(daemon: Daemon) -> None:
    daemon.kill()
    assert daemon.socket_path.exists()
    daemon.start()
    with Client(daemon.address) as client:
        assert client.health() is Health.SERVING


@pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid")
def test_the_default_socket_is_in_a_directory_of_its_own(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MEMD_") or k == "MEMD_MODEL_DIR"}
    environment |= {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "share")}
    process = subprocess.Popen([sys.executable, "-m", "memd", "serve"], env=environment, stderr=subprocess.DEVNULL)
    try:
        path = tmp_path / "memd" / "memd.sock"
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (tmp_path / "share" / "memd" / "memd.db").exists()
    finally:
        process.terminate()
        assert process.wait(STOP_S) == 0
