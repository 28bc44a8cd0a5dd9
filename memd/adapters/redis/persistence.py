"""What a server's persistence really guarantees, from its own words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from memd.domain.model import Durability

SETTINGS = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "save", "maxmemory-policy")
"""What CONFIG GET is asked for."""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """A server as it was when last probed; of a cluster, its weakest primary. Settings are "" where CONFIG is refused.

    ``replicas`` does not count for durability: no write waits for one.
    """

    address: str
    reachable: bool = False
    server: str = ""
    mode: str = ""
    durability: Durability = Durability.UNKNOWN
    appendonly: str = ""
    appendfsync: str = ""
    maxmemory_policy: str = ""
    replicas: int = 0
    warnings: tuple[str, ...] = ()


def read_facts(address: str, info: Mapping[str, str], config: Mapping[str, str] | None) -> RedisFacts:
    """From INFO and CONFIG GET; ``config`` is None where that is refused."""
    known = config or {}
    product, version = ("Valkey", "valkey_version") if "valkey_version" in info else ("Redis", "redis_version")
    return RedisFacts(
        address=address,
        reachable=True,
        server=f"{product} {info.get(version, '')}".strip(),
        mode=info.get("redis_mode", ""),
        durability=_durability(config),
        appendonly=known.get("appendonly", ""),
        appendfsync=known.get("appendfsync", ""),
        maxmemory_policy=known.get("maxmemory-policy", ""),
        replicas=int(info.get("connected_slaves", "0")),
        warnings=tuple(_warnings(config)),
    )


def _durability(config: Mapping[str, str] | None) -> Durability:
    if config is None or "appendonly" not in config:
        return Durability.UNKNOWN
    always = config.get("appendonly") == "yes" and config.get("appendfsync") == "always"
    if always and config.get("no-appendfsync-on-rewrite", "no") == "no":
        return Durability.SYNCED
    return Durability.SERVER_MEMORY


def _warnings(config: Mapping[str, str] | None) -> list[str]:
    if config is None or "appendonly" not in config:
        return ["Redis does not let memd read its configuration (CONFIG GET): how durable writes are is unknown"]
    found = []
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        found.append(
            f"Redis evicts (maxmemory-policy {policy}): once its memory is full it may drop any session, episode or"
            " checkpoint without a trace, acknowledged or not; set maxmemory-policy noeviction"
        )
    if config.get("appendonly") != "yes":
        lost = "everything written since its last snapshot" if config.get("save") else "every session and checkpoint"
        found.append(f"Redis keeps no append-only file (appendonly no): a restart loses {lost}")
    elif config.get("appendfsync") != "always":
        lost = "the last second or so" if config.get("appendfsync") == "everysec" else "some half a minute"
        found.append(f"Redis syncs behind its replies (appendfsync {config.get('appendfsync')}): a crash loses {lost}")
    elif config.get("no-appendfsync-on-rewrite") == "yes":
        found.append(
            "Redis does not sync while it rewrites its file (no-appendfsync-on-rewrite yes): a crash loses"
            " what was written meanwhile"
        )
    return found


_ORDER = (Durability.UNKNOWN, Durability.SERVER_MEMORY, Durability.REPLICATED, Durability.SYNCED)


def weakest(facts: list[RedisFacts]) -> RedisFacts:
    """Of the primaries of a cluster: a session may live on any."""
    return min(facts, key=lambda one: (_ORDER.index(one.durability), -len(one.warnings)))
