"""The tier table and the other settings that change what the use cases do.

Every cell has a meaning in every tier:

========== ================================= ================================ =========================== ================
tier       max_items                         max_tokens                       ttl                         retrieval
========== ================================= ================================ =========================== ================
working    items of a session                tokens of the items together     since an item was observed  order
episodic   episodes of a session             tokens of the context section    of the session, since its   recency
                                                                              last event
semantic   memories of a namespace           tokens of the context section    of a memory remembered      hybrid, vector,
                                                                              without one                 words
procedural procedures (keys) of a namespace  tokens of the context section    since it was written or     trigger, key
                                                                              last reported on
========== ================================= ================================ =========================== ================

0 items or tokens is unbounded (working and episodic must have both bounds, or a session could grow for ever), ttl None is
never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from memd.domain.errors import ConfigError
from memd.domain.model import TierName
from memd.limits import (
    DAY_US,
    DEFAULT_CHECKPOINT_HISTORY,
    DEFAULT_CHECKPOINT_TTL_US,
    DEFAULT_COMPRESS_AT,
    DEFAULT_COMPRESS_KEEP,
    DEFAULT_COMPRESS_TO,
    DEFAULT_STEP_TTL_US,
    DEFAULT_SUMMARY_SHARE,
    MAX_CHECKPOINT_HISTORY,
    MAX_COMPRESS_AT,
    MAX_COMPRESS_KEEP,
    MAX_COMPRESS_TO,
    MAX_SUMMARY_SHARE,
    MAX_TIER_ITEMS,
    MAX_TIER_TOKENS,
    MAX_TTL_US,
    MAX_WORKING_ITEMS,
    MIN_COMPRESS_AT,
    MIN_COMPRESS_TO,
    MIN_SUMMARY_SHARE,
    MIN_TTL_US,
)


@dataclass(frozen=True, slots=True)
class TierSettings:
    """One row of the tier table. ``store`` names the kind of store that holds the tier."""

    store: str
    max_items: int
    max_tokens: int
    ttl_us: int | None
    retrieval: str


KINDS = frozenset({"sqlite", "redis", "postgres"})
_DURABLE = frozenset({"sqlite", "postgres"})
STORES: Mapping[TierName, frozenset[str]] = {
    TierName.WORKING: KINDS,
    TierName.EPISODIC: KINDS,
    TierName.SEMANTIC: _DURABLE,
    TierName.PROCEDURAL: _DURABLE,
}
RETRIEVALS: Mapping[TierName, frozenset[str]] = {
    TierName.WORKING: frozenset({"order"}),
    TierName.EPISODIC: frozenset({"recency"}),
    TierName.SEMANTIC: frozenset({"hybrid", "vector", "words"}),
    TierName.PROCEDURAL: frozenset({"trigger", "key"}),
}
DEFAULT_TIERS: Mapping[TierName, TierSettings] = {
    TierName.WORKING: TierSettings("sqlite", 20, 8_000, None, "order"),
    TierName.EPISODIC: TierSettings("sqlite", 1_000, 0, DAY_US, "recency"),
    TierName.SEMANTIC: TierSettings("sqlite", 0, 0, None, "hybrid"),
    TierName.PROCEDURAL: TierSettings("sqlite", 0, 0, None, "trigger"),
}


@dataclass(frozen=True, slots=True)
class CompressionSettings:
    """How working memory is compressed: see ``memd.domain.compression``. Off, what is over the caps just leaves it."""

    enabled: bool = True
    at: float = DEFAULT_COMPRESS_AT
    keep: int = DEFAULT_COMPRESS_KEEP
    to: float = DEFAULT_COMPRESS_TO
    summary_share: float = DEFAULT_SUMMARY_SHARE


COMPRESSION_BOUNDS: Mapping[str, tuple[float, float]] = {
    "at": (MIN_COMPRESS_AT, MAX_COMPRESS_AT),
    "keep": (1, MAX_COMPRESS_KEEP),
    "to": (MIN_COMPRESS_TO, MAX_COMPRESS_TO),
    "summary_share": (MIN_SUMMARY_SHARE, MAX_SUMMARY_SHARE),
}


@dataclass(frozen=True, slots=True)
class DaemonDefaults:
    """What holds where a namespace has not said otherwise."""

    tiers: Mapping[TierName, TierSettings] = field(default_factory=lambda: DEFAULT_TIERS)
    checkpoint_ttl_us: int = DEFAULT_CHECKPOINT_TTL_US
    checkpoint_history: int = DEFAULT_CHECKPOINT_HISTORY
    step_ttl_us: int = DEFAULT_STEP_TTL_US
    compression: CompressionSettings = CompressionSettings()


def check_defaults(defaults: DaemonDefaults) -> None:
    """Refuse with ConfigError what is out of range, naming the setting."""
    for tier in TierName:
        check_tier(tier, defaults.tiers[tier])
    _within("checkpoints.ttl", defaults.checkpoint_ttl_us, MIN_TTL_US, MAX_TTL_US)
    _within("checkpoints.step_ttl", defaults.step_ttl_us, MIN_TTL_US, MAX_TTL_US)
    _within("checkpoints.history", defaults.checkpoint_history, 1, MAX_CHECKPOINT_HISTORY)
    for name, (least, most) in COMPRESSION_BOUNDS.items():
        _within(f"compression.{name}", getattr(defaults.compression, name), least, most)


def check_tier(tier: TierName, settings: TierSettings) -> None:
    """Refuse a row of the tier table that cannot be served; ConfigError names the cell."""
    name = f"tiers.{tier.value}"
    _one_of(f"{name}.store", settings.store, STORES[tier])
    _one_of(f"{name}.retrieval", settings.retrieval, RETRIEVALS[tier])
    _within(f"{name}.max_items", settings.max_items, *_item_bounds(tier))
    _within(f"{name}.max_tokens", settings.max_tokens, 1 if tier is TierName.WORKING else 0, MAX_TIER_TOKENS)
    if settings.ttl_us is not None:
        _within(f"{name}.ttl (microseconds)", settings.ttl_us, MIN_TTL_US, MAX_TTL_US)
    elif tier is TierName.EPISODIC:
        raise ConfigError(f"{name}.ttl must be set: sessions that never end would fill the disk")


def usual_stores(*, redis: bool, postgres: bool) -> Mapping[TierName, str]:
    """Where the tiers live when only the servers were named: sessions in Redis, knowledge in Postgres."""
    durable = "postgres" if postgres else "sqlite"
    sessions = "redis" if redis else durable
    return {
        TierName.WORKING: sessions,
        TierName.EPISODIC: sessions,
        TierName.SEMANTIC: durable,
        TierName.PROCEDURAL: durable,
    }


def check_stores(tiers: Mapping[TierName, TierSettings], checkpoints: str, *, redis: bool, postgres: bool) -> None:
    """Refuse with ConfigError what cannot be put together. ``redis``, ``postgres``: whether there is such a server."""
    store = {tier: settings.store for tier, settings in tiers.items()}
    durable, sessions = store[TierName.SEMANTIC], store[TierName.WORKING]
    if store[TierName.EPISODIC] != sessions:
        raise ConfigError("tiers.working.store and tiers.episodic.store must be the same: a session is one thing")
    if store[TierName.PROCEDURAL] != durable:
        raise ConfigError("tiers.semantic.store and tiers.procedural.store must be the same: they change together")
    for name, kind in (("tiers.working.store", sessions), ("checkpoints.store", checkpoints)):
        if kind not in ("redis", durable):
            raise ConfigError(f"{name} must be redis or {durable}, where the memories are")
    for server, given in (("redis", redis), ("postgres", postgres)):
        used = server in (durable, sessions, checkpoints)
        if used and not given:
            raise ConfigError(f"a store is {server}, but {server}.url is not set")
        if given and not used:
            raise ConfigError(f"{server}.url is set, but no store is {server}")


def _item_bounds(tier: TierName) -> tuple[int, int]:
    if tier is TierName.WORKING:
        return 1, MAX_WORKING_ITEMS
    return (1 if tier is TierName.EPISODIC else 0), MAX_TIER_ITEMS


def _one_of(name: str, value: str, known: frozenset[str]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be one of: {', '.join(sorted(known))}")


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} must be between {least:,} and {most:,}")
