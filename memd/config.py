"""Configuration: ``memd.toml`` < ``MEMD_*`` environment < flags. Unknown keys are refused, with what was probably meant.

``[server]``, ``[storage]``, ``[index]``, ``[embedding]``, ``[tiers.NAME]``, ``[checkpoints]``, ``[log]``; the key
``storage.data_dir`` is ``MEMD_STORAGE_DATA_DIR`` in the environment. Durations are seconds or ``90s``, ``15m``, ``24h``,
``30d``; a tier's ttl may be ``never``. Every value is frozen, checked here, and handed down by constructors.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from memd_client.address import default_socket_path

from memd.domain.errors import ConfigError
from memd.domain.model import TierName
from memd.domain.settings import DEFAULT_TIERS, DaemonDefaults, TierSettings, check_defaults
from memd.limits import (
    DEFAULT_INDEX_MEMORY_MB,
    MAX_CONFIG_FILE_BYTES,
    MAX_INDEX_MEMORY_MB,
    MIN_INDEX_MEMORY_MB,
    QUERY_CACHE_ENTRIES,
    SECOND_US,
)
from memd.log import FORMATS, LEVELS

Environ: TypeAlias = Mapping[str, str]
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_SECTIONS = ("SERVER", "STORAGE", "INDEX", "EMBEDDING", "TIERS", "CHECKPOINTS", "LOG")
# What Kubernetes puts into every pod for a Service that happens to be called memd-server and the like.
_KUBERNETES = re.compile(r"_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP).*)?)$")
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
class LogConfig:
    level: str = "info"
    format: str = "plain"


@dataclass(frozen=True, slots=True)
class Config:
    storage: StorageConfig
    server: ServerConfig = field(default_factory=ServerConfig)
    index: IndexConfig = field(default_factory=IndexConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
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


def duration_s(key: str, value: Any) -> float:
    """Seconds of a number, or of a text like ``90s``, ``15m``, ``24h``, ``30d``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _UNITS_S[match[2] or "s"]
    raise ConfigError(f"{key} must be seconds or a text like 90s, 15m, 24h, 30d")


# -- the readers of values: (key, value as given) -> value as kept


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(f"{key} must be a text")
    return value


def _path(key: str, value: Any) -> str:
    return str(Path(_text(key, str(value) if isinstance(value, Path) else value)).expanduser()) if value else ""


def _flag(key: str, value: Any) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ConfigError(f"{key} must be true or false")


def _integer(key: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value.replace("_", "")):
        return int(value)
    raise ConfigError(f"{key} must be a whole number")


def _within(least: int, most: int) -> Callable[[str, Any], int]:
    def read(key: str, value: Any) -> int:
        number = _integer(key, value)
        if not least <= number <= most:
            raise ConfigError(f"{key} must be between {least:,} and {most:,}")
        return number

    return read


def _one_of(known: Mapping[str, Any] | frozenset[str]) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ConfigError(f"{key} must be one of: {', '.join(sorted(known))}")
        return value

    return read


def _mode(key: str, value: Any) -> int:
    mode = int(value, 8) if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{3,4}", value) else value
    if not isinstance(mode, int) or isinstance(mode, bool) or mode & ~0o777 or mode & 0o600 != 0o600:
        raise ConfigError(f'{key} must be an octal mode like "0600" or "0660" that lets the owner read and write')
    return mode


def _drain(key: str, value: Any) -> float:
    seconds = duration_s(key, value)
    if not 0 <= seconds <= MAX_DRAIN_S:
        raise ConfigError(f"{key} must be between 0 and {MAX_DRAIN_S:g} seconds")
    return seconds


def _micros(key: str, value: Any) -> int:
    return round(duration_s(key, value) * SECOND_US)


def _tier_ttl(key: str, value: Any) -> int | None:
    return None if value == "never" else _micros(key, value)


_TIER_KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "store": _text,
    "max_items": _integer,
    "max_tokens": _integer,
    "ttl": _tier_ttl,
    "retrieval": _text,
}
_KEYS: Mapping[str, Callable[[str, Any], Any]] = {
    "server.socket": _path,
    "server.listen": _text,
    "server.socket_mode": _mode,
    "server.socket_group": _text,
    "server.token_file": _path,
    "server.insecure_loopback": _flag,
    "server.health_listen": _text,
    "server.metrics_listen": _text,
    "server.reflection": _flag,
    "server.drain": _drain,
    "storage.data_dir": _path,
    "index.memory_mb": _within(MIN_INDEX_MEMORY_MB, MAX_INDEX_MEMORY_MB),
    "embedding.precision": _text,
    "embedding.model_dir": _path,
    "embedding.threads": _within(0, MAX_EMBED_THREADS),
    "embedding.query_cache": _within(0, 1_000_000),
    **{f"tiers.{tier.value}.{name}": read for tier in TierName for name, read in _TIER_KEYS.items()},
    "checkpoints.store": _one_of(frozenset({"sqlite"})),
    "checkpoints.ttl": _micros,
    "checkpoints.history": _integer,
    "log.level": _one_of(LEVELS),
    "log.format": _one_of(FORMATS),
}
_RENAMED = {"drain": "drain_s", "ttl": "ttl_us"}  # fields carry their unit, keys carry it in the value


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
    checkpoints = {f"checkpoint_{name}": value for name, value in section("checkpoints").items() if name != "store"}
    tiers = {tier: _tier(DEFAULT_TIERS[tier], section(f"tiers.{tier.value}")) for tier in TierName}
    defaults = DaemonDefaults(tiers=tiers, **checkpoints)
    check_defaults(defaults)
    return Config(
        storage=StorageConfig(Path(data_dir).absolute()),
        server=ServerConfig(**server),
        index=IndexConfig(**section("index")),
        embedding=EmbeddingConfig(**section("embedding")),
        log=LogConfig(**section("log")),
        defaults=defaults,
    )


def _tier(default: TierSettings, given: Mapping[str, Any]) -> TierSettings:
    row = {name: getattr(default, name) for name in ("store", "max_items", "max_tokens", "ttl_us", "retrieval")}
    return TierSettings(**{**row, **given})
