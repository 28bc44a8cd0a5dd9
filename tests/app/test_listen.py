"""Endpoints are taken safely or refused in one plain line."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from memd.config import ServerConfig
from memd.domain.errors import ConfigError, WrongState
from memd.listen import HostPort, UnixSocket, check_port_free, host_port
from memd.serving import Endpoints


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:7700", HostPort("127.0.0.1", 7700)),
        ("localhost:1", HostPort("127.0.0.1", 1)),
        ("[::1]:7700", HostPort("::1", 7700)),
        ("0.0.0.0:65535", HostPort("0.0.0.0", 65535)),
    ],
)
def test_an_address_is_host_and_port(text: str, expected: HostPort) -> None:
    assert host_port(text, "k") == expected


@pytest.mark.parametrize("text", ["7700", ":7700", "x:7700", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:http", ""])
def test_anything_else_is_refused_with_the_key(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^server\.listen must"):
        host_port(text, "server.listen")


def test_tcp_needs_tokens_or_an_explicit_loopback() -> None:
    with pytest.raises(ConfigError, match=r"needs server\.token_file"):
        Endpoints(ServerConfig(listen="127.0.0.1:7700"))
    with pytest.raises(ConfigError, match="loopback addresses only"):
        Endpoints(ServerConfig(listen="0.0.0.0:7700", insecure_loopback=True))


def test_a_port_in_use_is_one_plain_line(busy_port: int) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{busy_port}: Address already in use"):
        check_port_free(HostPort("127.0.0.1", busy_port), "server.listen")


def test_one_port_cannot_serve_two_purposes() -> None:
    with pytest.raises(ConfigError, match="must differ"):
        Endpoints(ServerConfig(health_listen="127.0.0.1:7701", metrics_listen="127.0.0.1:7701"))


def test_a_second_daemon_on_the_socket_is_refused(tmp_path: Path) -> None:
    first = UnixSocket(str(tmp_path / "d" / "s.sock"), 0o600, "")
    with pytest.raises(WrongState, match="in use by another memd"):
        UnixSocket(str(tmp_path / "d" / "s.sock"), 0o600, "")
    first.close()
    UnixSocket(str(tmp_path / "d" / "s.sock"), 0o600, "").close()


def test_a_live_socket_of_somebody_else_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(WrongState, match="in use by another process"):
            UnixSocket(str(path), 0o600, "")
        assert path.exists()


def test_what_a_crash_left_is_cleared_and_what_is_no_socket_is_kept(tmp_path: Path) -> None:
    stale = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(stale))
    UnixSocket(str(stale), 0o600, "").close()
    precious = tmp_path / "file"
    precious.write_text("keep")
    with pytest.raises(ConfigError, match="is not a socket"):
        UnixSocket(str(precious), 0o600, "")
    assert precious.read_text() == "keep"


@pytest.mark.parametrize("mode", [0o600, 0o660])
async def test_the_socket_has_the_mode_that_was_asked_for_in_a_private_directory(tmp_path: Path, mode: int) -> None:
    before = os.umask(0)
    try:
        claimed = UnixSocket(str(tmp_path / "d" / "s.sock"), mode, "")
        server = grpc.aio.server()
        claimed.bind(server)
        assert stat.S_IMODE(claimed.path.stat().st_mode) == mode
        assert stat.S_IMODE(claimed.path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "d" / "s.sock.lock").stat().st_mode) == 0o600
        await server.stop(None)
        claimed.close()
        assert os.umask(0) == 0
    finally:
        os.umask(before)


def test_unusable_paths_are_plain_lines(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        UnixSocket(str(tmp_path / ("x" * 120)), 0o600, "")
    with pytest.raises(ConfigError, match="there is no group"):
        UnixSocket(str(tmp_path / "s"), 0o600, "no-such-group-here")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    with pytest.raises(ConfigError, match="may be written by everybody"):
        UnixSocket(str(open_to_all / "s"), 0o600, "")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        UnixSocket(str(tmp_path / "file" / "s"), 0o600, "")
