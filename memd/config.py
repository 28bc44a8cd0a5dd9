"""Configuration: ``memd.toml`` < ``MEMD_*`` environment < flags. Unknown keys are refused, with what was probably meant.

``[server]``, ``[storage]``, ``[redis]``, ``[postgres]``, ``[replica]``, ``[index]``, ``[embedding]``, ``[tiers.NAME]``,
``[checkpoints]``, ``[compression]``, ``[consolidation]``, ``[summarizer]``, ``[log]``; the key ``storage.data_dir`` is
``MEMD_STORAGE_DATA_DIR`` in the environment. Durations are seconds or ``90s``, ``15m``, ``24h``, ``30d``; a tier's ttl may
be ``never``. Every value is frozen, checked here, and handed down by constructors.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from memd_client.address import default_socket_path

from memd import config_values as read
from memd.domain.errors import ConfigError
from memd.domain.model import TierName
from memd.domain.settings import (
    DEFAULT_TIERS,
    KINDS,
    CompressionSettings,
    DaemonDefaults,
    TierSettings,
    check_defaults,
    check_stores,
    usual_stores,
)
from memd.limits import (
    DEFAULT_INDEX_MEMORY_MB,
    DEFAULT_MAX_STALE_S,
    DEFAULT_POSTGRES_POOL,
    DEFAULT_POSTGRES_TIMEOUT_S,
    DEFAULT_REDIS_BREAKER_COOL_DOWN_S,
    DEFAULT_REDIS_BREAKER_FAILURES,
    DEFAULT_REDIS_CONNECT_TIMEOUT_S,
    DEFAULT_REDIS_POOL,
    DEFAULT_REDIS_RETRIES,
    DEFAULT_REDIS_TIMEOUT_S,
    DEFAULT_REPLICA_POLL_S,
    MAX_CONFIG_FILE_BYTES,
    MAX_INDEX_MEMORY_MB,
    MAX_MAX_STALE_S,
    MAX_POSTGRES_POOL,
    MAX_POSTGRES_TIMEOUT_S,
    MAX_REDIS_BREAKER_COOL_DOWN_S,
    MAX_REDIS_BREAKER_FAILURES,
    MAX_REDIS_POOL,
    MAX_REDIS_RETRIES,
    MAX_REDIS_TIMEOUT_S,
    MAX_REPLICA_POLL_S,
    MAX_SUMMARIZER_TIMEOUT_S,
    MIN_INDEX_MEMORY_MB,
    MIN_MAX_STALE_S,
    MIN_POSTGRES_POOL,
    MIN_POSTGRES_TIMEOUT_S,
    MIN_REDIS_TIMEOUT_S,
    MIN_REPLICA_POLL_S,
    MIN_SUMMARIZER_TIMEOUT_S,
    QUERY_CACHE_ENTRIES,
    SUMMARIZER_TIMEOUT_S,
)
from memd.log import FORMATS, LEVELS

Environ: TypeAlias = Mapping[str, str]
_SECTIONS = (
    "SERVER",
    "STORAGE",
    "REDIS",
    "POSTGRES",
    "REPLICA",
    "INDEX",
    "EMBEDDING",
    "TIERS",
    "CHECKPOINTS",
    "COMPRESSION",
    "SUMMARIZER",
    "LOG",
)
# What Kubernetes puts into every pod for a Service that happens to be called memd-server and the like.
_KUBERNETES = re.compile(r"_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP).*)?)$")
EXTRACTIVE = "extractive"
MAX_DRAIN_S = 300.0
MAX_EMBED_THREADS = 256


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the daemon listens and whom it believes. Paths and addresses are "" when unset."""

    socket: str = ""
    """Path of the Unix socket; the default one where neither it nor ``listen`` is set."""
    listen: str = ""
    """HOST:PORT for TCP; needs ``token_file``, or ``insecure_loopback`` on a loopback address."""
    socket_mode: int = 0o600
    socket_group: str = ""
    token_file: str = ""
    insecure_loopback: bool = False
    health_listen: str = ""
    metrics_listen: str = ""
    reflection: bool = False
    drain_s: float = 5.0
    """How long calls in flight may take after SIGTERM."""


@dataclass(frozen=True, slots=True)
class StorageConfig:
    data_dir: Path


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """``url`` "": there is no Postgres. ``timeout_s`` bounds a statement and the wait for a connection."""

    url: str = field(default="", repr=False)
    pool: int = DEFAULT_POSTGRES_POOL
    timeout_s: float = DEFAULT_POSTGRES_TIMEOUT_S
    connect_timeout_s: float = DEFAULT_POSTGRES_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """``url`` "": there is no Redis. See ``memd.adapters.redis.RedisSettings``."""

    url: str = field(default="", repr=False)
    timeout_s: float = DEFAULT_REDIS_TIMEOUT_S
    connect_timeout_s: float = DEFAULT_REDIS_CONNECT_TIMEOUT_S
    pool: int = DEFAULT_REDIS_POOL
    retries: int = DEFAULT_REDIS_RETRIES
    breaker_failures: int = DEFAULT_REDIS_BREAKER_FAILURES
    breaker_cool_down_s: float = DEFAULT_REDIS_BREAKER_COOL_DOWN_S
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """The copy of what Postgres holds."""

    poll_s: float = DEFAULT_REPLICA_POLL_S
    """Between two looks at what changed; hints make it quicker."""
    max_stale_s: float = DEFAULT_MAX_STALE_S
    """How long reads go on when Postgres is out of reach."""


@dataclass(frozen=True, slots=True)
class IndexConfig:
    memory_mb: int = DEFAULT_INDEX_MEMORY_MB
    """What the indexes of all namespaces may take together; those unused for longest leave memory first."""


@dataclass(frozen=True, slots=True)
class EmbeddingConfig:
    precision: str = ""
    """"" is the default form of the model."""
    model_dir: str = ""
    """Directory of installed models; "" is the user's cache directory."""
    threads: int = 0
    """0: as many as the CPU quota allows."""
    query_cache: int = QUERY_CACHE_ENTRIES
    """Query embeddings kept."""


@dataclass(frozen=True, slots=True)
class ConsolidationConfig:
    enabled: bool = True
    """Sessions leave digests, and what was marked or mattered becomes a memory."""


@dataclass(frozen=True, slots=True)
class SummarizerConfig:
    """What makes summaries of working memory. The key of a hosted model comes from the environment alone:
    ``ANTHROPIC_API_KEY`` or ``OPENAI_API_KEY``."""

    kind: str = EXTRACTIVE
    model: str = ""
    """"" is the protocol's default, where it has one."""
    base_url: str = ""
    """"" is the provider's own."""
    timeout_s: float = SUMMARIZER_TIMEOUT_S
    prompt_file: str = ""
    """Instructions in the place of memd's own; ``{max_tokens}`` in it is replaced."""


@dataclass(frozen=True, slots=True)
class LogConfig:
    level: str = "info"
    format: str = "plain"


@dataclass(frozen=True, slots=True)
class Config:
    storage: StorageConfig
    server: ServerConfig = field(default_factory=ServerConfig)
    redis: RedisConfig = field(default_factory=RedisConfig)
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    replica: ReplicaConfig = field(default_factory=ReplicaConfig)
    checkpoints_store: str = "sqlite"
    """Kind of store of the checkpoints."""
    index: IndexConfig = field(default_factory=IndexConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    consolidation: ConsolidationConfig = field(default_factory=ConsolidationConfig)
    summarizer: SummarizerConfig = field(default_factory=SummarizerConfig)
    log: LogConfig = field(default_factory=LogConfig)
    defaults: DaemonDefaults = field(default_factory=DaemonDefaults)
    """The tier table and what holds for checkpoints."""


def load(
    path: Path | None = None, overrides: Mapping[str, Any] | None = None, environ: Environ | None = None
) -> Config:
    """The configuration of ``path`` (else ``$MEMD_CONFIG``, else ``memd/memd.toml`` in the user's configuration
    directory where there is one), the environment and ``overrides`` (dotted key to value, None for not given).

    Raises ConfigError, naming the key or the file.
    """
    environ = os.environ if environ is None else environ
    values = {**_from_file(path, environ), **_from_environ(environ)}
    values.update({key: value for key, value in (overrides or {}).items() if value is not None})
    for key in values:
        if key not in _KEYS:
            raise ConfigError(f"unknown configuration key {key}{_near(key, _KEYS)}")
    checked = {key: _KEYS[key](key, value) for key, value in values.items()}
    return _build(checked, environ)


def keys() -> tuple[str, ...]:
    """Every key there is, dotted."""
    return tuple(_KEYS)


def default_data_dir(environ: Environ) -> Path:
    """``$XDG_DATA_HOME/memd``, else ``~/.local/share/memd``."""
    return _base_directory(environ, "XDG_DATA_HOME", ".local/share") / "memd"


_TIER_KEYS: Mapping[str, read.Reader] = {
    "store": read.text,
    "max_items": read.integer,
    "max_tokens": read.integer,
    "ttl": read.tier_ttl,
    "retrieval": read.text,
}
_KEYS: Mapping[str, read.Reader] = {
    "server.socket": read.path,
    "server.listen": read.text,
    "server.socket_mode": read.mode,
    "server.socket_group": read.text,
    "server.token_file": read.path,
    "server.insecure_loopback": read.flag,
    "server.health_listen": read.text,
    "server.metrics_listen": read.text,
    "server.reflection": read.flag,
    "server.drain": read.seconds(0, MAX_DRAIN_S),
    "storage.data_dir": read.path,
    "redis.url": read.text,
    "redis.url_file": read.path,
    "redis.timeout": read.seconds(MIN_REDIS_TIMEOUT_S, MAX_REDIS_TIMEOUT_S),
    "redis.connect_timeout": read.seconds(MIN_REDIS_TIMEOUT_S, MAX_REDIS_TIMEOUT_S),
    "redis.pool": read.within(1, MAX_REDIS_POOL),
    "redis.retries": read.within(0, MAX_REDIS_RETRIES),
    "redis.breaker_failures": read.within(1, MAX_REDIS_BREAKER_FAILURES),
    "redis.breaker_cool_down": read.seconds(MIN_REDIS_TIMEOUT_S, MAX_REDIS_BREAKER_COOL_DOWN_S),
    "redis.ca_file": read.path,
    "redis.cert_file": read.path,
    "redis.key_file": read.path,
    "postgres.url": read.text,
    "postgres.url_file": read.path,
    "postgres.pool": read.within(MIN_POSTGRES_POOL, MAX_POSTGRES_POOL),
    "postgres.timeout": read.seconds(MIN_POSTGRES_TIMEOUT_S, MAX_POSTGRES_TIMEOUT_S),
    "postgres.connect_timeout": read.seconds(MIN_POSTGRES_TIMEOUT_S, MAX_POSTGRES_TIMEOUT_S),
    "replica.poll": read.seconds(MIN_REPLICA_POLL_S, MAX_REPLICA_POLL_S),
    "replica.max_stale": read.seconds(MIN_MAX_STALE_S, MAX_MAX_STALE_S),
    "index.memory_mb": read.within(MIN_INDEX_MEMORY_MB, MAX_INDEX_MEMORY_MB),
    "embedding.precision": read.text,
    "embedding.model_dir": read.path,
    "embedding.threads": read.within(0, MAX_EMBED_THREADS),
    "embedding.query_cache": read.within(0, 1_000_000),
    **{f"tiers.{tier.value}.{name}": kept for tier in TierName for name, kept in _TIER_KEYS.items()},
    "checkpoints.store": read.one_of(KINDS),
    "checkpoints.ttl": read.micros,
    "checkpoints.history": read.integer,
    "checkpoints.step_ttl": read.micros,
    "compression.enabled": read.flag,
    "compression.at": read.number,
    "compression.keep": read.integer,
    "compression.to": read.number,
    "compression.summary_share": read.number,
    "consolidation.enabled": read.flag,
    "summarizer.kind": read.one_of(frozenset({EXTRACTIVE, "anthropic", "openai"})),
    "summarizer.model": read.text,
    "summarizer.base_url": read.web_address,
    "summarizer.timeout": read.seconds(MIN_SUMMARIZER_TIMEOUT_S, MAX_SUMMARIZER_TIMEOUT_S),
    "summarizer.prompt_file": read.path,
    "log.level": read.one_of(LEVELS),
    "log.format": read.one_of(FORMATS),
}
_DEFAULTS = {"ttl_us": "checkpoint_ttl_us", "history": "checkpoint_history", "step_ttl": "step_ttl_us"}
_RENAMED = {
    "drain": "drain_s",
    "ttl": "ttl_us",
    "timeout": "timeout_s",
    "connect_timeout": "connect_timeout_s",
    "breaker_cool_down": "breaker_cool_down_s",
    "poll": "poll_s",
    "max_stale": "max_stale_s",
}
"""Fields carry their unit, keys carry it in the value."""


# -- where values come from


def _from_file(path: Path | None, environ: Environ) -> dict[str, Any]:
    found = path or _configured_path(environ)
    if found is None:
        return {}
    try:
        with found.open("rb") as file:
            content = file.read(MAX_CONFIG_FILE_BYTES + 1)
    except OSError as exc:
        raise ConfigError(f"configuration file {found} cannot be read: {exc.strerror}") from exc
    if len(content) > MAX_CONFIG_FILE_BYTES:
        raise ConfigError(f"configuration file {found} is larger than {MAX_CONFIG_FILE_BYTES:,} bytes")
    try:
        return dict(_flat(tomllib.loads(content.decode()), ""))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"configuration file {found} is not TOML: {exc}") from exc


def _configured_path(environ: Environ) -> Path | None:
    if environ.get("MEMD_CONFIG"):
        return Path(environ["MEMD_CONFIG"])
    usual = _base_directory(environ, "XDG_CONFIG_HOME", ".config") / "memd" / "memd.toml"
    return usual if usual.is_file() else None


def _base_directory(environ: Environ, variable: str, below_home: str) -> Path:
    given = environ.get(variable, "")
    return Path(given) if os.path.isabs(given) else _home(environ) / below_home


def _home(environ: Environ) -> Path:
    """``/`` for a user without one, as container runtimes have it."""
    try:
        return Path(environ.get("HOME") or "~").expanduser()
    except RuntimeError:
        return Path("/")


def _flat(table: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in table.items():
        key = f"{prefix}{name}"
        pairs += _flat(value, f"{key}.") if isinstance(value, dict) else [(key, value)]
    return pairs


def _from_environ(environ: Environ) -> dict[str, Any]:
    known = {"MEMD_" + key.upper().replace(".", "_"): key for key in _KEYS}
    values: dict[str, Any] = {}
    for variable, value in environ.items():
        if variable in known:
            values[known[variable]] = value
        elif _looks_meant(variable):
            raise ConfigError(f"unknown environment variable {variable}{_near(variable, known)}")
    return values


def _looks_meant(variable: str) -> bool:
    return variable.startswith(tuple(f"MEMD_{s}_" for s in _SECTIONS)) and not _KUBERNETES.search(variable)


def _near(given: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(given, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


# -- the frozen whole


def _build(values: Mapping[str, Any], environ: Environ) -> Config:
    def section(name: str) -> dict[str, Any]:
        cut = {key.removeprefix(f"{name}."): value for key, value in values.items() if key.startswith(f"{name}.")}
        return {_RENAMED.get(key, key): value for key, value in cut.items()}

    server = section("server")
    if not server.get("socket") and not server.get("listen"):
        server["socket"] = default_socket_path(environ)
    data_dir = values.get("storage.data_dir") or default_data_dir(environ)
    redis, postgres = _with_url("redis", section("redis")), _with_url("postgres", section("postgres"))
    checkpoints = {_DEFAULTS[name]: value for name, value in section("checkpoints").items() if name in _DEFAULTS}
    usual = usual_stores(redis=bool(redis.get("url")), postgres=bool(postgres.get("url")))
    tiers = {
        tier: _tier(replace(DEFAULT_TIERS[tier], store=usual[tier]), section(f"tiers.{tier.value}"))
        for tier in TierName
    }
    checkpoints_store = values.get("checkpoints.store", usual[TierName.SEMANTIC])
    compression = CompressionSettings(**section("compression"))
    defaults = DaemonDefaults(tiers=tiers, compression=compression, **checkpoints)
    check_defaults(defaults)
    check_stores(tiers, checkpoints_store, redis=bool(redis.get("url")), postgres=bool(postgres.get("url")))
    return Config(
        storage=StorageConfig(Path(data_dir).absolute()),
        server=ServerConfig(**server),
        redis=RedisConfig(**redis),
        postgres=PostgresConfig(**postgres),
        replica=ReplicaConfig(**section("replica")),
        checkpoints_store=checkpoints_store,
        index=IndexConfig(**section("index")),
        embedding=EmbeddingConfig(**section("embedding")),
        consolidation=ConsolidationConfig(**section("consolidation")),
        summarizer=SummarizerConfig(**section("summarizer")),
        log=LogConfig(**section("log")),
        defaults=defaults,
    )


def _tier(default: TierSettings, given: Mapping[str, Any]) -> TierSettings:
    row = {name: getattr(default, name) for name in ("store", "max_items", "max_tokens", "ttl_us", "retrieval")}
    return TierSettings(**{**row, **given})


def _with_url(server: str, section: Mapping[str, Any]) -> dict[str, Any]:
    """The section with the URL out of ``url_file``, where it is kept in one: a mounted secret."""
    found = dict(section)
    path = found.pop("url_file", "")
    if not path:
        return found
    if found.get("url"):
        raise ConfigError(f"give {server}.url or {server}.url_file, not both")
    try:
        return {**found, "url": Path(path).read_text(encoding="utf-8").strip()}
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{server}.url_file {path} cannot be read") from exc
