"""The launcher itself: what the other tests stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from tests.servers.redis import SYNCED, RedisServer, certificates, cluster, free_port, sentinel, speaks_tls


def test_what_was_synced_survives_a_kill(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path, SYNCED) as server:
        server.send("SET", "k", "v")
        server.restart()
        assert server.send("GET", "k") == b"v"
        server.restart(empty=True)
        assert server.send("GET", "k") is None


def test_a_stopped_server_answers_nothing_until_it_goes_on(binary: Path, tmp_path: Path) -> None:
    with RedisServer(binary, tmp_path) as server:
        server.hang()
        with pytest.raises(redis.TimeoutError):
            server.send("PING")
        server.resume()
        assert server.send("PING")


def test_a_cluster_fails_over(binary: Path, tmp_path: Path) -> None:
    with cluster(binary, tmp_path) as formed:
        formed.kill_primary(0)
        assert formed.nodes[3] in formed.primaries()


def test_sentinel_fails_over(binary: Path, tmp_path: Path) -> None:
    with sentinel(binary, tmp_path) as group:
        group.primary.kill()
        group.wait_for_failover()


def test_tls_where_the_program_has_it(binary: Path, tmp_path: Path) -> None:
    if not speaks_tls(binary, tmp_path):
        pytest.skip(f"{binary.name} was built without TLS")
    made = certificates(tmp_path / "certificates")
    with RedisServer(binary, tmp_path / "server", made.options(free_port())) as server:
        assert server.send("PING")


def test_a_server_dies_with_the_process_that_started_it(binary: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tests.servers.redis import RedisServer;"
        f"s = RedisServer(Path({str(binary)!r}), Path({str(tmp_path)!r})); s.start();"
        "print(s.process.pid, flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    with starter, starter.stdout as out:
        pid = int(out.readline())
        starter.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while _alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
