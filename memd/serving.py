"""The daemon as others see it: sockets and ports, health, signals, drain. Knows no store and no model."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

import grpc

from memd.config import ServerConfig
from memd.domain.errors import ConfigError
from memd.listen import HostPort, UnixSocket, bind_tcp, check_port_free, host_port, is_loopback
from memd.rpc.server import Health, health_server

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FATAL = 74  # EX_IOERR: a store failed; what was not acknowledged may be lost, nothing else
EXIT_MODEL_CHANGED = 75  # EX_TEMPFAIL: the database has another embedding model, which the next start serves with
FATAL_DRAIN_S = 0.2


class Endpoints:
    """The places a daemon listens at. Claimed first, so that a second daemon is refused before it touches a store; bound
    when the services stand; released last."""

    def __init__(self, config: ServerConfig) -> None:
        self._tcp = _tcp_address(config)
        self._health = host_port(config.health_listen, "server.health_listen") if config.health_listen else None
        self.metrics = host_port(config.metrics_listen, "server.metrics_listen") if config.metrics_listen else None
        _all_different([address for address in (self._tcp, self._health, self.metrics) if address])
        for address, key in ((self._tcp, "listen"), (self._health, "health_listen"), (self.metrics, "metrics_listen")):
            if address is not None:
                check_port_free(address, f"server.{key}")
        self._unix = UnixSocket(config.socket, config.socket_mode, config.socket_group) if config.socket else None

    @property
    def described(self) -> str:
        """The addresses a client can use, for the ready line."""
        unix = f"unix:{self._unix.path}" if self._unix else ""
        return " and ".join(filter(None, (unix, self._tcp.target if self._tcp else "")))

    def bind(self, server: grpc.aio.Server, health: Health) -> list[grpc.aio.Server]:
        """Add every place to its server; the servers to start."""
        if self._unix:
            self._unix.bind(server)
        if self._tcp:
            bind_tcp(server, self._tcp, "server.listen")
        if self._health is None:
            return [server]
        probes = health_server(health)
        bind_tcp(probes, self._health, "server.health_listen")
        return [server, probes]

    def close(self) -> None:
        if self._unix:
            self._unix.close()


def _tcp_address(config: ServerConfig) -> HostPort | None:
    if not config.listen:
        return None
    address = host_port(config.listen, "server.listen")
    if not config.token_file:
        if not config.insecure_loopback:
            raise ConfigError("server.listen needs server.token_file (or, on loopback, server.insecure_loopback)")
        if not is_loopback(address):
            raise ConfigError("server.insecure_loopback allows loopback addresses only; use server.token_file")
    return address


def _all_different(addresses: list[HostPort]) -> None:
    if len(set(addresses)) != len(addresses):
        raise ConfigError("server.listen, server.health_listen and server.metrics_listen must differ")


class Stop:
    """Tells when and why to stop: a signal, or a store that failed. The first reason counts."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._code: asyncio.Future[int] = loop.create_future()

    def on_signals(self, reload: Callable[[], None]) -> None:
        """SIGTERM and SIGINT stop, SIGHUP calls ``reload``."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked, signal.Signals(number).name)
        self._loop.add_signal_handler(signal.SIGHUP, reload)

    def on_fatal(self, error: BaseException) -> None:
        """From any thread: a store can no longer keep its promises."""
        log.critical("a store failed, the daemon stops", exc_info=error)
        self._loop.call_soon_threadsafe(self._set, EXIT_FATAL)

    def on_model_changed(self, model_id: str) -> None:
        """On the loop: what is here is of the model that the database had before."""
        log.warning("the database has another embedding model now; stopping, to be started anew with it: %s", model_id)
        self._set(EXIT_MODEL_CHANGED)

    async def wait(self) -> int:
        """The exit code."""
        return await asyncio.shield(self._code)

    def _asked(self, name: str) -> None:
        log.info("stopping", extra={"fields": {"signal": name}})
        self._set(EXIT_OK)

    def _set(self, code: int) -> None:
        if not self._code.done():
            self._code.set_result(code)


async def drain(
    servers: list[grpc.aio.Server], health: Health, grace_s: float, end_streams: Callable[[], None]
) -> None:
    """NOT_SERVING first, then no new calls, then up to ``grace_s`` for those in flight; streams end at once."""
    await health.set_serving(False)
    end_streams()
    await asyncio.gather(*(server.stop(grace_s) for server in servers))
