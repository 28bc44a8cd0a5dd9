"""Where the daemon listens: sockets and ports, taken safely or refused in one plain line.

gRPC silently takes over a live socket and sets no mode on it. So: a private directory, a lock beside the socket for as long
as the daemon lives, a probe before binding, a umask while binding, then the mode and group that were asked for.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

import grpc

from memd.domain.errors import ConfigError, WrongState

MAX_SOCKET_PATH_BYTES = 107  # sun_path, less its NUL
PROBE_TIMEOUT_S = 1.0
_UMASK = 0o177


@dataclass(frozen=True, slots=True)
class HostPort:
    host: str
    port: int

    @property
    def target(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def host_port(text: str, key: str) -> HostPort:
    """``HOST:PORT`` with a numeric address or ``localhost``; ConfigError names ``key``."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise ConfigError(f"{key} must be HOST:PORT, like 127.0.0.1:7600")
    if host == "localhost":
        host = "127.0.0.1"
    try:
        return HostPort(str(ipaddress.ip_address(host)), int(port))
    except ValueError as exc:
        raise ConfigError(f"{key} must have a numeric address (or localhost), like 127.0.0.1:7600") from exc


def is_loopback(address: HostPort) -> bool:
    return ipaddress.ip_address(address.host).is_loopback


def check_port_free(address: HostPort, key: str) -> None:
    """ConfigError when the port cannot be bound: gRPC's own report of it is a page long."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
            probe.listen(1)
        except OSError as exc:
            raise ConfigError(f"{key}: cannot listen on {address.target}: {os.strerror(exc.errno or 0)}") from exc


class UnixSocket:
    """A claimed socket path, until ``close``. WrongState when a daemon lives there, ConfigError when it cannot be used."""

    def __init__(self, path: str, mode: int, group: str) -> None:
        self.path = Path(path).absolute()
        if len(os.fsencode(self.path)) > MAX_SOCKET_PATH_BYTES:
            raise ConfigError(f"the socket path {self.path} is longer than {MAX_SOCKET_PATH_BYTES} bytes")
        self._mode = mode
        self._group = _group_id(group)
        _private_directory(self.path.parent, shared=bool(group))
        self._bound = False
        self._lock = _lock(self.path)
        try:
            _remove_stale(self.path)
        except BaseException:
            self.close()
            raise

    def bind(self, server: grpc.aio.Server) -> None:
        """Add the socket to ``server`` and give it its mode."""
        before = os.umask(_UMASK)
        try:
            server.add_insecure_port(f"unix:{self.path}")
            self._bound = True
        except RuntimeError as exc:
            raise ConfigError(f"cannot listen on the socket {self.path}") from exc
        finally:
            os.umask(before)
        try:
            if self._group is not None:
                os.chown(self.path, -1, self._group)
            self.path.chmod(self._mode)
        except OSError as exc:
            raise ConfigError(f"cannot set mode and group of {self.path}: {exc.strerror}") from exc

    def close(self) -> None:
        """Give the path up; gRPC has removed the socket when its server stopped."""
        if self._bound:
            self.path.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def bind_tcp(server: grpc.aio.Server, address: HostPort, key: str) -> None:
    check_port_free(address, key)
    try:
        server.add_insecure_port(address.target)
    except RuntimeError as exc:
        raise ConfigError(f"{key}: cannot listen on {address.target}") from exc


def _group_id(name: str) -> int | None:
    if not name:
        return None
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError as exc:
        raise ConfigError(f"server.socket_group: there is no group {name}") from exc


def _private_directory(path: Path, *, shared: bool) -> None:
    """Make it 0700. One that exists must be the daemon's own (or root's) and not writable by others, unless sticky
    bits keep them from replacing the socket; in a shared /tmp anybody could have made it first."""
    try:
        path.mkdir(mode=0o711 if shared else 0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as exc:
        raise ConfigError(f"the socket directory {path} cannot be made: {exc.strerror}") from exc
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"the socket directory {path} belongs to another user")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise ConfigError(f"the socket directory {path} may be written by everybody")


def _lock(path: Path) -> int:
    lock_path = path.with_name(f"{path.name}.lock")
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise ConfigError(f"cannot open {lock_path}: {os.strerror(exc.errno or 0)}") from exc
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(lock)
        raise WrongState(f"the socket {path} is in use by another memd") from exc
    return lock


def _remove_stale(path: Path) -> None:
    """Unlink a socket nobody answers at; refuse one that lives, and what is no socket."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    if _answers(path):
        raise WrongState(f"the socket {path} is in use by another process")
    path.unlink(missing_ok=True)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError as exc:
            if exc.errno in (errno.ECONNREFUSED, errno.ENOENT):
                return False
            raise ConfigError(f"cannot probe the socket {path}: {os.strerror(exc.errno or 0)}") from exc
        return True
