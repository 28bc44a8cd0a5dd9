"""How to reach Redis, how long to wait for it and how often to try."""

from __future__ import annotations

from dataclasses import dataclass, field

from memd.domain.errors import ConfigError
from memd.limits import (
    DEFAULT_REDIS_BREAKER_COOL_DOWN_S,
    DEFAULT_REDIS_BREAKER_FAILURES,
    DEFAULT_REDIS_CONNECT_TIMEOUT_S,
    DEFAULT_REDIS_POOL,
    DEFAULT_REDIS_RETRIES,
    DEFAULT_REDIS_TIMEOUT_S,
    MAX_REDIS_BREAKER_COOL_DOWN_S,
    MAX_REDIS_BREAKER_FAILURES,
    MAX_REDIS_POOL,
    MAX_REDIS_RETRIES,
    MAX_REDIS_TIMEOUT_S,
    MIN_REDIS_TIMEOUT_S,
)


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """ConfigError for a value out of its bounds. The URL is checked when it is opened; see ``address.py`` for its forms."""

    url: str = field(repr=False)
    """May hold a password."""
    timeout_s: float = DEFAULT_REDIS_TIMEOUT_S
    """Of one attempt of one command, the wait for a free connection apart."""
    connect_timeout_s: float = DEFAULT_REDIS_CONNECT_TIMEOUT_S
    """Of one new connection, and how long a start waits for the server."""
    pool: int = DEFAULT_REDIS_POOL
    """Most connections, in a cluster to each node."""
    retries: int = DEFAULT_REDIS_RETRIES
    """More attempts of a command that certainly did nothing, or may be repeated. A timeout is never tried again."""
    breaker_failures: int = DEFAULT_REDIS_BREAKER_FAILURES
    """Lost or refused connections in a row after which no call is made any more; after a timeout none is at once."""
    breaker_cool_down_s: float = DEFAULT_REDIS_BREAKER_COOL_DOWN_S
    """Pause between attempts to find out whether the server is back."""
    password: str = field(default="", repr=False)
    """Instead of the one in the URL."""
    ca_file: str = ""
    """Certificates to trust for ``rediss``; the system's when empty."""
    cert_file: str = ""
    key_file: str = ""
    """The client's own certificate, where the server asks for one."""

    def __post_init__(self) -> None:
        _within("timeout", self.timeout_s, MIN_REDIS_TIMEOUT_S, MAX_REDIS_TIMEOUT_S)
        _within("connect_timeout", self.connect_timeout_s, MIN_REDIS_TIMEOUT_S, MAX_REDIS_TIMEOUT_S)
        _within("pool", self.pool, 1, MAX_REDIS_POOL)
        _within("retries", self.retries, 0, MAX_REDIS_RETRIES)
        _within("breaker_failures", self.breaker_failures, 1, MAX_REDIS_BREAKER_FAILURES)
        _within("breaker_cool_down", self.breaker_cool_down_s, MIN_REDIS_TIMEOUT_S, MAX_REDIS_BREAKER_COOL_DOWN_S)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"redis.{name}: {value:g} is out of range, {low:g} to {high:g}")
