"""Where the daemon is, and as whom one calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from memd_client import Client, errors
from memd_client.address import default_address, default_socket_path, target


def test_default_socket() -> None:
    assert default_socket_path({"XDG_RUNTIME_DIR": "/run/user/7"}) == "/run/user/7/memd/memd.sock"
    assert default_socket_path({}) == f"/tmp/memd-{os.getuid()}/memd.sock"
    assert default_socket_path({"XDG_RUNTIME_DIR": "not/absolute"}) == f"/tmp/memd-{os.getuid()}/memd.sock"


def test_default_address() -> None:
    assert default_address({"MEMD_ADDRESS": "localhost:50051"}) == "localhost:50051"
    assert default_address({"XDG_RUNTIME_DIR": "/r"}) == "unix:/r/memd/memd.sock"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:/a/b.sock", "unix:/a/b.sock"),
        ("unix:///a/b.sock", "unix:/a/b.sock"),
        ("/a/b.sock", "unix:/a/b.sock"),
        ("localhost:50051", "localhost:50051"),
        ("[::1]:50051", "[::1]:50051"),
    ],
)
def test_addresses(address: str, expected: str) -> None:
    assert target(address) == expected


@pytest.mark.parametrize(
    "address", ["", "localhost", "host:", "host:0", "host:99999", ":1", "unix:", "http://h:1", "a/b"]
)
def test_bad_addresses_are_refused(address: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        target(address)


def test_a_token_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    with Client("/x", token_file=tmp_path / "token") as client:
        assert client._connection.metadata == (("authorization", "Bearer s3cret"),)


@pytest.mark.parametrize("token", ["", "two words", "ünicode", "line\nbreak"])
def test_bad_tokens_are_refused_without_showing_them(token: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        Client("/x", token=token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_call_always_has_a_deadline(timeout_s: float) -> None:
    with pytest.raises(errors.InvalidArgument):
        Client("/x", timeout_s=timeout_s)
    with Client("/x") as client, pytest.raises(errors.InvalidArgument):
        client.recall("q", timeout_s=timeout_s)
