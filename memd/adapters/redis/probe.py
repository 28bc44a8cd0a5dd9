"""What memd asks a server about itself: at start whether it can be used at all, later how durable its writes are."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    ClusterDownError,
    InvalidResponse,
    NoPermissionError,
    RedisClusterException,
    ResponseError,
)

from memd.adapters.redis.address import Address
from memd.adapters.redis.client import Client
from memd.adapters.redis.errors import FOREIGN
from memd.adapters.redis.persistence import SETTINGS, RedisFacts, read_facts, weakest
from memd.domain.errors import ConfigError

T = TypeVar("T")
FLOOR = (7, 0)
"""The oldest Redis whose scripts may write after reading the clock and whose CONFIG GET takes several names."""


async def first(client: Client, address: Address) -> RedisFacts:
    """Connect, and ConfigError for a server that memd cannot use."""
    if isinstance(client, RedisCluster):
        await client.initialize()
    else:
        await client.ping()
    found = await _ask(client, address)
    for info, _ in found:
        _check(info, address)
    return weakest([read_facts(str(address), *one) for one in found])


async def facts(client: Client, address: Address) -> RedisFacts:
    return weakest([read_facts(str(address), *one) for one in await _ask(client, address)])


async def ping(client: Client) -> None:
    if isinstance(client, RedisCluster):
        await client.initialize()
        await client.ping(target_nodes=RedisCluster.PRIMARIES)
    else:
        await client.ping()


async def _ask(client: Client, address: Address) -> list[tuple[Mapping[str, str], Mapping[str, str] | None]]:
    """INFO and CONFIG GET of each."""
    return await on_primaries(client, _both)


async def on_primaries(client: Client, ask: Callable[[Client, Mapping[str, Any]], Awaitable[T]]) -> list[T]:
    """Answers of the server, or of each primary of the cluster; ``ask`` hands its mapping on to ``execute_command``."""
    targets: list[dict[str, Any]] = [{}]
    if isinstance(client, RedisCluster):
        targets = [{"target_nodes": node} for node in client.get_primaries()]
    return [await ask(client, target) for target in targets]


async def _both(client: Client, target: Mapping[str, Any]) -> tuple[Mapping[str, str], Mapping[str, str] | None]:
    return await _info(client, target), await _config(client, target)


async def _info(client: Client, target: Mapping[str, Any]) -> Mapping[str, str]:
    try:
        reply = await client.execute_command("INFO", **target)
    except NoPermissionError:
        return {}
    return {str(key): str(value) for key, value in reply.items()}


async def _config(client: Client, target: Mapping[str, Any]) -> Mapping[str, str] | None:
    try:
        reply = await client.execute_command("CONFIG GET", *SETTINGS, **target)
    except (NoPermissionError, ResponseError):  # not allowed, or renamed away
        return None
    return {_text(key): _text(value) for key, value in reply.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _check(info: Mapping[str, str], address: Address) -> None:
    version = info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < FLOOR:
        raise ConfigError(f"redis.url: {address} is Redis {version}; memd needs 7.0 or newer, or Valkey")
    mode = info.get("server_mode", info.get("redis_mode"))  # Valkey's word, Redis's word
    if address.mode != "cluster" and mode == "cluster":
        raise ConfigError(f"redis.url: {address} is a node of a cluster; write redis+cluster://")
    if address.mode != "cluster" and mode == "sentinel":
        raise ConfigError(f"redis.url: {address} is a Sentinel; write redis+sentinel://host:port/SERVICE")
    if address.mode in ("single", "unix") and info.get("role") == "slave":
        raise ConfigError(f"redis.url: {address} is a replica; give its primary, or redis+sentinel:// to follow it")


def refused(error: BaseException, address: Address) -> ConfigError | None:
    """What an error at start says about the settings; None when the server may just be away."""
    where, text = f"redis.url: {address}", str(error)
    certificate = _certificate_error(error)
    if certificate is not None:
        return ConfigError(f"{where}: its TLS certificate is refused: {certificate}")
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError | AuthorizationError):
        return ConfigError(f"{where} refuses the user or password")
    if isinstance(error, NoPermissionError):
        return ConfigError(f"{where}: the user lacks a permission that memd needs; see docs/redis.md")
    if "DB index" in text or "SELECT is not allowed" in text:
        return ConfigError(f"{where} has no database {address.database}")
    if isinstance(error, ClusterDownError) or "slots are covered" in text or "slots are not covered" in text:
        return ConfigError(
            f"{where}: the cluster has slots without a primary: it has too few, or is still being formed"
        )
    if "Cluster mode is not enabled" in text or "cluster support disabled" in text:
        return ConfigError(f"{where} is no cluster; write redis://")
    if isinstance(error, RedisClusterException) and "cannot be connected" not in text.lower():
        return ConfigError(f"{where}: the cluster cannot be used ({type(error).__name__})")
    if isinstance(error, InvalidResponse) or "Protocol error" in text:
        return ConfigError(f"{where} does not speak Redis's protocol")
    return None


async def no_such_service(client: Client, address: Address) -> ConfigError | None:
    """When Sentinels answer, and none of them knows the service."""
    if address.mode != "sentinel":
        return None
    answers = []
    for watcher in client.connection_pool.sentinel_manager.sentinels:  # type: ignore[union-attr]
        with contextlib.suppress(*FOREIGN):
            answers.append(await watcher.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service))
    if answers and not any(answers):
        return ConfigError(f"redis.url: {address}: the Sentinels know no service {address.service}")
    return None


def _certificate_error(error: BaseException | None) -> str | None:
    """Of the chain of errors; ``verify_message`` names host and reason, no content."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return str(error.verify_message)
        if isinstance(error, ssl.SSLError):
            return error.reason or "TLS failed"
        error = error.__cause__ or error.__context__
    return None
