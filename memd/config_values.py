"""The readers of configuration values: (key, value as given) -> value as kept. ConfigError names the key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from memd.domain.errors import ConfigError
from memd.limits import SECOND_US

Reader: TypeAlias = Callable[[str, Any], Any]
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")


def duration_s(key: str, value: Any) -> float:
    """Seconds of a number, or of a text like ``90s``, ``15m``, ``24h``, ``30d``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _UNITS_S[match[2] or "s"]
    raise ConfigError(f"{key} must be seconds or a text like 90s, 15m, 24h, 30d")


def text(key: str, value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ConfigError(f"{key} must be a text")
    return value


def path(key: str, value: Any) -> str:
    return str(Path(text(key, str(value) if isinstance(value, Path) else value)).expanduser()) if value else ""


def flag(key: str, value: Any) -> bool:
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ConfigError(f"{key} must be true or false")


def integer(key: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value.replace("_", "")):
        return int(value)
    raise ConfigError(f"{key} must be a whole number")


def number(key: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    raise ConfigError(f"{key} must be a number")


def web_address(key: str, value: Any) -> str:
    given = text(key, value)
    if given and not re.fullmatch(r"https?://[^\s@/?#]+(/[^\s?#]*)?", given):
        raise ConfigError(f"{key} must be http:// or https:// with a host, without user, query or fragment")
    return given


def within(least: int, most: int) -> Callable[[str, Any], int]:
    def read(key: str, value: Any) -> int:
        number = integer(key, value)
        if not least <= number <= most:
            raise ConfigError(f"{key} must be between {least:,} and {most:,}")
        return number

    return read


def one_of(known: Mapping[str, Any] | frozenset[str]) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise ConfigError(f"{key} must be one of: {', '.join(sorted(known))}")
        return value

    return read


def mode(key: str, value: Any) -> int:
    mode = int(value, 8) if isinstance(value, str) and re.fullmatch(r"(0o)?[0-7]{3,4}", value) else value
    if not isinstance(mode, int) or isinstance(mode, bool) or mode & ~0o777 or mode & 0o600 != 0o600:
        raise ConfigError(f'{key} must be an octal mode like "0600" or "0660" that lets the owner read and write')
    return mode


def seconds(least: float, most: float) -> Callable[[str, Any], float]:
    def read(key: str, value: Any) -> float:
        number = duration_s(key, value)
        if not least <= number <= most:
            raise ConfigError(f"{key} must be between {least:g} and {most:g} seconds")
        return number

    return read


def micros(key: str, value: Any) -> int:
    return round(duration_s(key, value) * SECOND_US)


def tier_ttl(key: str, value: Any) -> int | None:
    return None if value == "never" else micros(key, value)
