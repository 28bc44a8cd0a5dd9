"""Token files: what is believed, what is refused, what a reload does."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from memd import limits
from memd.domain.errors import ConfigError, PermissionDenied, Unauthenticated
from memd.domain.identity import Caller, Right
from memd.domain.model import Scope
from memd.domain.visibility import resolve_scope
from memd.rpc.credentials import LOCAL_OWNER, TokenFile, as_local_owner


class FixedClock:
    def __init__(self) -> None:
        self.us = 1_000 * limits.SECOND_US

    def now_us(self) -> int:
        return self.us

    def monotonic_s(self) -> float:
        return self.us / 1e6


def _entry(token: str, extra: str = "", namespace: str = "team-a", name: str = "agent") -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f'[[tokens]]\nname = "{name}"\nsha256 = "{digest}"\nnamespace = "{namespace}"\n{extra}\n'


def _file(tmp_path: Path, content: str, mode: int = 0o600) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(content)
    path.chmod(mode)
    return path


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("user-agent", "x"), ("authorization", f"Bearer {token}"))


def test_a_token_stands_for_its_caller(tmp_path: Path) -> None:
    extra = 'user_id = "u"\nagent_id = "a"\nrights = ["read"]'
    known = TokenFile(_file(tmp_path, _entry("t-1", extra) + _entry("t-2", namespace="team-b")), FixedClock())
    assert known(_bearer("t-1")) == Caller("agent", "team-a", "u", "a", frozenset({Right.READ}))
    assert known(_bearer("t-2")).namespace == "team-b"
    assert known(_bearer("t-2")).rights == {Right.READ, Right.WRITE}


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", "t-1"),),
        (("authorization", "Basic t-1"),),
        (("authorization", "Bearer "),),
        _bearer("t-2"),
        _bearer("T-1"),
        (*_bearer("t-1"), *_bearer("t-1")),
        (("authorization", b"Bearer t-1"),),
    ],
    ids=range(8),
)
def test_nothing_else_is_believed(tmp_path: Path, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
    known = TokenFile(_file(tmp_path, _entry("t-1")), FixedClock())
    with pytest.raises(Unauthenticated):
        known(metadata)


def test_a_token_ends_at_its_expiry(tmp_path: Path) -> None:
    clock = FixedClock()
    known = TokenFile(_file(tmp_path, _entry("t-1", "expires = 1970-01-01T00:20:00Z")), clock)
    assert known(_bearer("t-1")).writer == "agent"
    clock.us = 1_200 * limits.SECOND_US
    with pytest.raises(Unauthenticated):
        known(_bearer("t-1"))


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644, 0o666])
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        TokenFile(_file(tmp_path, _entry("t"), mode), FixedClock())


@pytest.mark.parametrize(
    "content",
    [
        "",
        "tokens = 1",
        "not toml",
        '[[tokens]]\nname = "x"\nsha256 = "abc"\nnamespace = "n"',
        _entry("t", 'righs = ["read"]'),
        _entry("t", 'rights = ["root"]'),
        _entry("t", "rights = []"),
        _entry("t", 'expires = "tomorrow"'),
        _entry("t", namespace="a/b"),
        _entry("t", namespace=""),
        _entry("t", name=""),
        _entry("t") + _entry("t"),
        "extra = 1\n" + _entry("t"),
    ],
    ids=range(13),
)
def test_a_malformed_file_is_refused_without_quoting_digests(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TokenFile(_file(tmp_path, content), FixedClock())
    assert hashlib.sha256(b"t").hexdigest() not in caught.value.message


def test_a_missing_file_is_one_plain_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        TokenFile(tmp_path / "none.toml", FixedClock())


def test_a_reload_brings_new_tokens_and_a_broken_one_keeps_the_old(tmp_path: Path) -> None:
    path = _file(tmp_path, _entry("t-1"))
    known = TokenFile(path, FixedClock())
    path.write_text(_entry("t-2"))
    assert known.reload() == 1
    with pytest.raises(Unauthenticated):
        known(_bearer("t-1"))
    path.write_text("broken")
    with pytest.raises(ConfigError):
        known.reload()
    assert known(_bearer("t-2")).writer == "agent"


def test_a_credential_narrows_and_never_widens(tmp_path: Path) -> None:
    known = TokenFile(_file(tmp_path, _entry("t", 'user_id = "u"')), FixedClock())
    caller = known(_bearer("t"))
    assert resolve_scope(caller, Scope("", "")) == Scope("team-a", "u")
    for asked in (Scope("team-b"), Scope("default"), Scope("team-a", "v"), Scope("team-")):
        with pytest.raises(PermissionDenied):
            resolve_scope(caller, asked)


def test_the_local_owner_may_name_any_namespace_and_defaults_to_default() -> None:
    assert as_local_owner(()) is LOCAL_OWNER
    assert resolve_scope(LOCAL_OWNER, Scope("")).namespace == "default"
    assert resolve_scope(LOCAL_OWNER, Scope("any")).namespace == "any"
