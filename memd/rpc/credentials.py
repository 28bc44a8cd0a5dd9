"""Who calls: the local owner where authentication is off, else a token of the token file.

Token file (TOML), readable by the daemon's user and at most its group::

    [[tokens]]
    name = "ci-agent"                       # the writer in audit rows
    sha256 = "<hex of the token's SHA-256>" # the token itself is nowhere on the server
    namespace = "team-a"
    user_id = ""                            # optional, fixes the user
    agent_id = ""                           # optional, fixes the agent
    rights = ["read", "write"]              # default; "admin" besides
    expires = 2027-01-01T00:00:00Z          # optional

A token: ``openssl rand -hex 32 | tee token | tr -d '\\n' | sha256sum``; the client sends ``authorization: Bearer TOKEN``.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memd.domain.errors import ConfigError, InvalidArgument, Unauthenticated
from memd.domain.identity import Caller, Right
from memd.limits import MAX_TIME_US, MAX_TOKEN_FILE_BYTES, MAX_TOKENS_IN_CONFIG, SECOND_US
from memd.ports import Clock
from memd.rpc import checks
from memd.rpc.calls import Metadata

DEFAULT_NAMESPACE = "default"
_BEARER = "bearer "
_HEX = frozenset("0123456789abcdef")
_KEYS = frozenset({"name", "sha256", "namespace", "user_id", "agent_id", "rights", "expires"})
_DEFAULT_RIGHTS = ("read", "write")

LOCAL_OWNER = Caller(writer="local", namespace=DEFAULT_NAMESPACE, rights=frozenset(Right), any_namespace=True)
"""Where authentication is off: whoever may open the socket (or reach loopback, with --insecure-loopback)."""


def as_local_owner(metadata: Metadata) -> Caller:
    """Authentication off."""
    return LOCAL_OWNER


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    caller: Caller
    expires_us: int


class TokenFile:
    """Authentication by bearer token. ``reload`` re-reads the file; a broken one leaves the old tokens in force."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._entries = _read(path)

    def reload(self) -> int:
        """How many tokens there are now. ConfigError when the file is not usable."""
        self._entries = _read(self._path)
        return len(self._entries)

    def __call__(self, metadata: Metadata) -> Caller:
        digest = hashlib.sha256(_bearer(metadata).encode()).digest()
        found: _Entry | None = None
        for entry in self._entries:  # all of them, whatever was found: time must not tell which one it was
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        if found is None or found.expires_us <= self._clock.now_us():
            raise Unauthenticated("the token is unknown or expired")
        return found.caller


def _bearer(metadata: Metadata) -> str:
    values = [value for key, value in metadata if key == "authorization"]
    if len(values) == 1 and isinstance(values[0], str) and values[0][: len(_BEARER)].lower() == _BEARER:
        return values[0][len(_BEARER) :].strip()
    raise Unauthenticated("a token is required: authorization: Bearer TOKEN")


def _read(path: Path) -> tuple[_Entry, ...]:
    content = _guarded_bytes(path)
    try:
        document = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"token file {path} is not TOML") from exc
    tokens = document.pop("tokens", [])
    if document or not isinstance(tokens, list) or not all(isinstance(t, dict) for t in tokens):
        raise ConfigError(f"token file {path} must hold [[tokens]] and nothing else")
    if not 1 <= len(tokens) <= MAX_TOKENS_IN_CONFIG:
        raise ConfigError(f"token file {path} must have 1 to {MAX_TOKENS_IN_CONFIG:,} tokens")
    entries = tuple(_entry(table, f"token {index} of {path}") for index, table in enumerate(tokens, start=1))
    if len({entry.digest for entry in entries}) != len(entries):
        raise ConfigError(f"token file {path} names one token twice")
    return entries


def _guarded_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o027:
                raise ConfigError(f"token file {path} must be a file that others cannot read or change: chmod 600")
            if status.st_size > MAX_TOKEN_FILE_BYTES:
                raise ConfigError(f"token file {path} is larger than {MAX_TOKEN_FILE_BYTES:,} bytes")
            return file.read(MAX_TOKEN_FILE_BYTES)
    except OSError as exc:
        raise ConfigError(f"token file {path} cannot be read: {exc.strerror}") from exc


def _entry(table: Mapping[str, Any], where: str) -> _Entry:
    if unknown := sorted(set(table) - _KEYS):
        raise ConfigError(f"{where} has an unknown key: {', '.join(unknown)}")
    strings = {key: table.get(key, "") for key in ("name", "sha256", "namespace", "user_id", "agent_id")}
    if not all(isinstance(value, str) for value in strings.values()):
        raise ConfigError(f"{where}: name, sha256, namespace, user_id and agent_id are strings")
    digest = strings["sha256"].lower()
    if len(digest) != 64 or not set(digest) <= _HEX:
        raise ConfigError(f"{where}: sha256 must be 64 hexadecimal digits")
    try:
        caller = Caller(
            writer=checks.identifier(strings["name"], "name"),
            namespace=checks.identifier(checks.namespace(strings["namespace"], "namespace"), "namespace"),
            user_id=checks.optional_identifier(strings["user_id"], "user_id"),
            agent_id=checks.optional_identifier(strings["agent_id"], "agent_id"),
            rights=_rights(table.get("rights", _DEFAULT_RIGHTS), where),
        )
    except InvalidArgument as exc:
        raise ConfigError(f"{where}: {exc.message}") from exc
    return _Entry(bytes.fromhex(digest), caller, _expires_us(table.get("expires"), where))


def _rights(values: Any, where: str) -> frozenset[Right]:
    known = {right.value: right for right in Right}
    if not isinstance(values, list | tuple) or not values or not set(values) <= set(known):
        raise ConfigError(f"{where}: rights is a list of: {', '.join(known)}")
    return frozenset(known[value] for value in values)


def _expires_us(value: Any, where: str) -> int:
    if value is None:
        return MAX_TIME_US
    if not isinstance(value, datetime):
        raise ConfigError(f"{where}: expires is a date and time, like 2027-01-01T00:00:00Z")
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return int(aware.timestamp() * SECOND_US)
