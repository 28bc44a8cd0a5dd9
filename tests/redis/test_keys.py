"""Names of keys: different scopes have different ones, and a session's are in one slot."""

from __future__ import annotations

import itertools

from redis.crc import key_slot

from memd.adapters.redis import keys
from memd.domain.model import Scope
from tests.contract.builders import request

HOSTILE = [
    "",
    "a",
    "a:b",
    ":",
    "{",
    "}",
    "{a}",
    "%",
    "%3A",
    "*",
    "a*",
    "/",
    "a/b",
    "?",
    "[a]",
    "\\",
    " ",
    "\n",
    "\0",
    "é",
    "漢",
]


def test_different_parts_have_different_names() -> None:
    names = {keys.joined(*parts) for parts in itertools.product(HOSTILE, repeat=3)}
    assert len(names) == len(HOSTILE) ** 3


def test_a_name_gives_its_parts_back() -> None:
    for parts in itertools.product(HOSTILE, repeat=2):
        assert keys.split(keys.joined(*parts)) == parts


def test_only_the_hash_tag_has_braces() -> None:
    for part in HOSTILE:
        for key in keys.session_keys(Scope(part, part, part, part), request(part or "r")):
            assert key.count("{") == key.count("}") == 1


def test_a_session_and_its_requests_are_in_one_slot() -> None:
    for parts in itertools.product(HOSTILE[1:], HOSTILE):
        scope = Scope(parts[0], parts[1], "a", "s")
        slots = {key_slot(key.encode()) for key in keys.session_keys(scope, request(parts[1] or "r"))}
        assert len(slots) == 1
        slots = {key_slot(key.encode()) for key in keys.task_keys(parts[0], parts[1] or "t", request("r"))}
        assert len(slots) == 1
