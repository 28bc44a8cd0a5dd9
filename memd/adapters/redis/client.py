"""Makes redis-py's client for an address. Nothing is connected yet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from memd.adapters.redis.address import Address
from memd.adapters.redis.settings import RedisSettings

OnConnect: TypeAlias = Callable[[AbstractConnection], Awaitable[None]]
Client: TypeAlias = "Redis | RedisCluster"
_RESP = 2  # the third version's push messages are for caches in the client, which Valkey refuses


def make_client(address: Address, settings: RedisSettings, on_connect: OnConnect) -> Client:
    """``on_connect`` gets every new connection and must log it in."""
    common = _common(address, settings)
    if address.mode == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        # After a number of MOVED answers redis-py would close every connection, under the calls on them, to ask for the
        # layout anew. Each MOVED says where its slot is: that is enough. After a lost connection it asks all the same.
        cluster = RedisCluster(startup_nodes=nodes, require_full_coverage=True, reinitialize_steps=0, **common)
        cluster.connection_kwargs["redis_connect_func"] = on_connect
        return cluster
    common |= {"db": address.database, "redis_connect_func": on_connect}
    if address.mode == "sentinel":
        # Sentinels have no part in the data: they get neither its user nor its database.
        apart = {key: common[key] for key in ("socket_timeout", "socket_connect_timeout", "retry", "protocol")}
        tls = {key: value for key, value in common.items() if key.startswith("ssl")}
        watchers = Sentinel(list(address.hosts), sentinel_kwargs={**apart, **tls}, **common)  # type: ignore[no-untyped-call]
        master: Redis = watchers.master_for(address.service)
        return master
    if address.mode == "unix":
        return Redis(unix_socket_path=address.path, **common)
    ((host, port),) = address.hosts
    return Redis(host=host, port=port, **common)


def _common(address: Address, settings: RedisSettings) -> dict[str, Any]:
    common: dict[str, Any] = {
        "username": address.user or None,
        "password": settings.password or address.password or None,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.connect_timeout_s,
        "max_connections": settings.pool,
        "protocol": _RESP,
        "client_name": "memd",
        "retry": Retry(NoBackoff(), 0),  # what may be tried again is for the link to say
    }
    if address.tls:
        common |= {
            "ssl": True,
            "ssl_ca_certs": settings.ca_file or None,
            "ssl_certfile": settings.cert_file or None,
            "ssl_keyfile": settings.key_file or None,
        }
    return common
