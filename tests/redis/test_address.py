"""The forms of a URL, and one plain line for each wrong one."""

from __future__ import annotations

import pytest

from memd.adapters.redis import RedisSettings
from memd.adapters.redis.address import Address, parse
from memd.domain.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address("single", False, (("h", 6379),))),
        ("rediss://h:1/3", Address("single", True, (("h", 1),), database=3)),
        ("redis://u:p%40%3A%2F@[::1]:7/", Address("single", False, (("::1", 7),), user="u", password="p@:/")),
        ("redis://:p@h", Address("single", False, (("h", 6379),), password="p")),
        ("unix:///run/r%20r.sock?db=2", Address("unix", False, path="/run/r r.sock", database=2)),
        ("unix://u:p@/run/r.sock", Address("unix", False, path="/run/r.sock", user="u", password="p")),
        (
            "redis+sentinel://:p@a,b:2/main/4",
            Address("sentinel", False, (("a", 26379), ("b", 2)), service="main", database=4, password="p"),
        ),
        ("rediss+cluster://a:1,[::1]:2", Address("cluster", True, (("a", 1), ("::1", 2)))),
    ],
)
def test_every_form(url: str, address: Address) -> None:
    assert parse(url) == address


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "begin with one of"),
        ("localhost:6379", "begin with one of"),
        ("http://h", "begin with one of"),
        ("redis://", "a host is missing"),
        ("redis://h:0", "a port is a number"),
        ("redis://h:x", "a port is a number"),
        ("redis://h:70000", "a port is a number"),
        ("redis://h/x", "the database is one number"),
        ("redis://h/1/2", "the database is one number"),
        ("redis://h/-1", "the database is one number"),
        ("redis://h?timeout=3", "no '?' part"),
        ("redis://h#x", "%23"),
        ("redis://a,b", "one server has one host"),
        ("redis+cluster://a/1", "no database number"),
        ("redis+sentinel://a", "names the service"),
        ("unix://run/r.sock", "absolute path"),
        ("unix:///", "path of the socket"),
        ("unix:///r.sock?x=1", "nothing else"),
        ("redis://[::1", "not a URL"),
    ],
)
def test_what_is_wrong_is_said(url: str, says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(url)
    assert says in refused.value.message
    assert refused.value.message.startswith("redis.url: ")


def test_a_password_is_never_shown() -> None:
    for url in ("redis://u:secret@h:x", "redis://u:secret@h/x", "ftp://u:secret@h", "redis://:secret@h#x"):
        with pytest.raises(ConfigError) as refused:
            parse(url)
        assert "secret" not in refused.value.message
    assert "secret" not in f"{parse('redis://u:secret@h')}{parse('redis://u:secret@h')!r}"
    assert "secret" not in repr(RedisSettings("redis://u:secret@h", password="secret"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout_s": 0.0},
        {"timeout_s": 11.0},
        {"connect_timeout_s": 0.0},
        {"pool": 0},
        {"pool": 2_000},
        {"retries": -1},
        {"breaker_failures": 0},
        {"breaker_cool_down_s": 0.0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_out_of_their_bounds(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"redis\..*out of range"):
        RedisSettings("redis://h", **wrong)  # type: ignore[arg-type]
