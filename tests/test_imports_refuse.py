"""Ids in an import that are somebody else's or nobody's, and files that are none, wherever the rows are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from memd_client import Client, errors

from tests.daemon import Daemon

Line = dict[str, Any]


@pytest.fixture
def daemon(either_daemon: Daemon) -> Daemon:
    """Once on embedded storage, once on Postgres."""
    return either_daemon


def exported(daemon: Daemon) -> list[Line]:
    """Header, a memory of Ada's in the namespace "source", end."""
    with Client(daemon.address, namespace="source", user_id="ada") as client:
        client.remember("lives in Rome", memory_id="home")
        return [json.loads(line) for line in b"".join(client.export_namespace()).splitlines()]


def file_of(lines: list[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def changed(lines: list[Line], **fields: Any) -> list[Line]:
    header, memory, end = lines
    return [header, {**memory, "memory": {**memory["memory"], **fields}}, end]


def take_in(daemon: Daemon, content: bytes, namespace: str = "target") -> Any:
    with Client(daemon.address, namespace=namespace) as client:
        return client.import_namespace([content], into=namespace)


def test_an_id_that_another_user_has_here_is_left_to_them(daemon: Daemon) -> None:
    lines = exported(daemon)
    with Client(daemon.address, namespace="target", user_id="bob") as bob:
        bob.remember("lives in Oslo", memory_id="home")
        with pytest.raises(errors.AlreadyExists, match=r"1 differ.*imported 0") as refused:
            take_in(daemon, file_of(lines))
        assert "Oslo" not in refused.value.message
        assert bob.get("home").content == "lives in Oslo"
        with pytest.raises(errors.NotFound):
            bob.scoped(user_id="ada").get("home")
        assert [one.memory.content for one in bob.recall("where is home?").memories] == ["lives in Oslo"]
        assert bob.verify().ok


def test_an_id_that_stands_twice_is_taken_in_once(daemon: Daemon) -> None:
    header, memory, end = exported(daemon)
    other = changed([header, memory, end], content="lives in Bari")[1]
    end = {"end": {**end["end"], "memories": 2}}
    with pytest.raises(errors.AlreadyExists, match="1 differ"):
        take_in(daemon, file_of([header, memory, other, end]))
    with Client(daemon.address, namespace="target", user_id="ada") as client:
        assert client.get("home").content == "lives in Rome"
        assert client.verify().ok


def test_links_to_what_is_not_in_the_file_stay_links(daemon: Daemon) -> None:
    take_in(daemon, file_of(changed(exported(daemon), supersedes="nowhere")))
    with Client(daemon.address, namespace="target", user_id="ada") as client:
        assert client.get("home").supersedes == "nowhere"
        assert [one.memory.memory_id for one in client.recall("where is home?").memories] == ["home"]
        assert client.verify().ok


@pytest.mark.parametrize("bad", ["", "x" * 1_000, 7, None])
def test_an_id_that_is_none_is_refused_with_its_line(daemon: Daemon, bad: object) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"line 2: .*memory_id"):
        take_in(daemon, file_of(changed(exported(daemon), memory_id=bad)))


SPOILED: dict[str, tuple[Callable[[bytes], bytes], type[errors.MemdError], str]] = {
    "cut in a line": (lambda content: content[: len(content) // 2], errors.InvalidArgument, "was cut"),
    "cut after a line": (
        lambda content: content[: content.rindex(b"\n", 0, -1) + 1],
        errors.InvalidArgument,
        "was cut",
    ),
    "newer": (
        lambda content: content.replace(b'"format": 2', b'"format": 3', 1),
        errors.WrongState,
        "made by a newer memd",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_file_that_is_cut_or_of_a_newer_version_is_refused_and_can_be_given_whole(daemon: Daemon, name: str) -> None:
    content = file_of(exported(daemon))
    spoil, kind, said = SPOILED[name]
    with pytest.raises(kind, match=said):
        take_in(daemon, spoil(content))
    taken = take_in(daemon, content)
    assert taken.imported + taken.skipped == 1
    with Client(daemon.address, namespace="target", user_id="ada") as client:
        assert client.get("home").content == "lives in Rome"
        assert client.verify().ok


def test_another_namespace_must_be_named(daemon: Daemon) -> None:
    content = file_of(exported(daemon))
    with Client(daemon.address, namespace="target", user_id="ada") as client:
        with pytest.raises(errors.WrongState, match="another namespace"):
            client.import_namespace([content])
        with pytest.raises(errors.NotFound):
            client.get("home")
