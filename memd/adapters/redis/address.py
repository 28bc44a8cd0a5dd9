"""The URL of a Redis, taken apart and checked.

redis://[user:password@]host[:port][/database]          one server
rediss://...                                            the same over TLS
unix://[user:password@]/path/to/socket[?db=database]    the same over a Unix socket
redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/database]
redis+cluster://[user:password@]host[:port][,host[:port]...]
rediss+sentinel://..., rediss+cluster://...             the same over TLS
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from memd.domain.errors import ConfigError

Mode: TypeAlias = Literal["single", "unix", "sentinel", "cluster"]
_MODES: dict[str, tuple[Mode, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("unix", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
DEFAULT_PORT = 6_379
DEFAULT_SENTINEL_PORT = 26_379
MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Address:
    """``hosts`` are (host, port): of the server, of Sentinels, or of some nodes of the cluster; empty for a Unix socket."""

    mode: Mode
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0
    user: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        """For people: without user and password."""
        where = self.path or ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        return "/".join(part for part in (where, self.service, str(self.database or "")) if part)


def parse(url: str) -> Address:
    """ConfigError says what is wrong, and never shows the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.username, parts.password
    except ValueError as error:
        raise _bad("it is not a URL") from error
    if parts.scheme not in _MODES:
        raise _bad(f"it must begin with one of {', '.join(f'{scheme}://' for scheme in _MODES)}")
    mode, tls = _MODES[parts.scheme]
    if parts.fragment:
        raise _bad("a '#' in a password is written %23")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    user, password = unquote(user), unquote(password)
    if mode == "unix":
        return replace(_unix(parts, hosts), user=user, password=password)
    if parts.query:
        raise _bad("it takes no '?' part; timeouts and TLS files are settings of their own")
    port = DEFAULT_SENTINEL_PORT if mode == "sentinel" else DEFAULT_PORT
    found = tuple(_host(text, port) for text in hosts.split(","))
    path = [unquote(part) for part in parts.path.strip("/").split("/") if part]
    if mode == "single":
        if len(found) > 1:
            raise _bad("one server has one host; several are for redis+sentinel:// and redis+cluster://")
        return Address(mode, tls, found, database=_database(path), user=user, password=password)
    if mode == "cluster":
        if path:
            raise _bad("a cluster has no database number and no path")
        return Address(mode, tls, found, user=user, password=password)
    if not path:
        raise _bad("redis+sentinel:// names the service after the hosts: redis+sentinel://host:26379/SERVICE")
    database = _database(path[1:])
    return Address(mode, tls, found, service=path[0], database=database, user=user, password=password)


def _unix(parts: SplitResult, hosts: str) -> Address:
    if hosts:
        raise _bad("unix:// is followed by an absolute path: unix:///run/redis.sock")
    if not parts.path or parts.path == "/":
        raise _bad("unix:// needs the path of the socket")
    options = parse_qs(parts.query, keep_blank_values=True)
    database = options.pop("db", [])
    if options or len(database) > 1:
        raise _bad("unix:// takes ?db=NUMBER and nothing else")
    return Address("unix", False, path=unquote(parts.path), database=_database(database))


def _host(text: str, default_port: int) -> tuple[str, int]:
    bracket = text.rfind("]")
    host, colon, port = text.rpartition(":") if text.rfind(":") > bracket else (text, "", "")
    host = host.removeprefix("[").removesuffix("]")
    if not host:
        raise _bad("a host is missing")
    if not colon:
        return host, default_port
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= MAX_PORT):
        raise _bad(f"a port is a number from 1 to {MAX_PORT:,}")
    return host, int(port)


def _database(path: Sequence[str]) -> int:
    if not path:
        return 0
    if len(path) > 1 or not (path[0].isascii() and path[0].isdigit()):
        raise _bad("the database is one number, such as redis://host:6379/0")
    return int(path[0])


def _bad(what: str) -> ConfigError:
    return ConfigError(f"redis.url: {what}")
