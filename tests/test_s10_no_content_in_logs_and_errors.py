"""S10: memory text, metadata, queries, states and credentials reach no log line, no metric and no error message.

Canaries go into every field of every RPC, well formed and malformed, at the chattiest log level, with and without bugs
that quote them; then everything the daemon said outside its replies is searched.
"""

from __future__ import annotations

import hashlib
import socket
import urllib.request
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from memd.rpc.server import SERVICES
from tests.daemon import Daemon

CANARY = "cAnArY5e7d"
TOKEN = f"{CANARY}-token"
PLANTS = "tests.app.plants:remember_raises_the_text,tests.app.plants:semantic_tier_raises_the_query"
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for service in SERVICES.values()
    for method in service.methods
    if not method.client_streaming and not method.server_streaming
}
VALID_ENUMS = 1
_LEFT_OUT = {"namespace", "page_token", "supersedes"}  # with them nothing would get far
MAX_DEPTH = 5


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Fill:
    """Messages with a canary in every text. ``extra`` makes some of them wrong: control characters, too long."""

    def __init__(self, extra: str = "") -> None:
        self._text = CANARY + extra

    def message(self, kind: type[Message], depth: int = 0) -> Message:
        made = kind()
        oneofs: set[str] = set()
        for field in kind.DESCRIPTOR.fields:
            oneof = field.containing_oneof
            if depth > MAX_DEPTH or (oneof is not None and oneof.name in oneofs):
                continue
            if oneof is not None:
                oneofs.add(oneof.name)
            self._set(made, field, depth)
        return made

    def _set(self, made: Any, field: Any, depth: int) -> None:
        if field.message_type is not None:
            if field.message_type.full_name == "google.protobuf.Struct":
                getattr(made, field.name).update({self._text: self._text, "list": [self._text]})
            elif field.message_type.full_name == "google.protobuf.FieldMask":
                getattr(made, field.name).paths.append("content")
            elif field.message_type.full_name.startswith("memd."):
                inner = self.message(GetMessageClass(field.message_type), depth + 1)
                values = getattr(made, field.name)
                values.append(inner) if field.is_repeated else values.CopyFrom(inner)
            return
        value: Any = None
        if field.type == FieldDescriptor.TYPE_STRING and field.name not in _LEFT_OUT:
            value = f"metadata.{self._text}" if field.name in {"field", "exists"} else self._text
        elif field.type == FieldDescriptor.TYPE_BYTES:
            value = self._text.encode()
        elif field.type == FieldDescriptor.TYPE_ENUM:
            value = VALID_ENUMS
        if value is not None:
            getattr(made, field.name).append(value) if field.is_repeated else setattr(made, field.name, value)


WRONG: dict[str, Fill] = {
    "well formed": Fill(),
    "control characters": Fill("\x00"),
    "new lines": Fill("\n2026-01-01 ERROR"),
    "far too long": Fill("x" * 300_000),
}


@pytest.fixture(params=["", PLANTS], ids=["healthy", "with bugs"], scope="module")
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Everything a daemon said beside its replies, after the whole barrage; and the codes of the calls."""
    tmp_path = tmp_path_factory.mktemp("s10")
    port = _free_port()
    arguments = ["--log-level", "debug", "--metrics-listen", f"127.0.0.1:{port}"]
    arguments += ["--token-file", str(_tokens(tmp_path))]
    environment = {"MEMD_TESTING": "1", "MEMD_TEST_PLANT": request.param} if request.param else {}
    with Daemon(tmp_path, arguments=arguments, environment=environment) as daemon:
        with grpc.insecure_channel(daemon.address) as channel:
            errors, codes = _barrage(channel)
        metrics = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
        daemon.terminate()
        log = daemon.log_path.read_text(errors="replace")
    return {"log": log, "errors": errors, "metrics": metrics, "codes": codes, "planted": request.param}


def _tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.touch(mode=0o600)
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    path.write_text(
        f'[[tokens]]\nname = "a"\nsha256 = "{digest}"\nnamespace = "n"\nrights = ["read", "write", "admin"]'
    )
    return path


def _barrage(channel: Any) -> tuple[str, str]:
    errors: list[str] = []
    codes: list[str] = []
    for name, method in METHODS.items():
        invoke = channel.unary_unary(name)
        kind = GetMessageClass(method.input_type)
        bodies = [fill.message(kind).SerializeToString() for fill in WRONG.values()]
        bodies.append(CANARY.encode() + b"\xff")
        for body in bodies:
            for token in (TOKEN, f"{CANARY}-wrong"):
                try:
                    invoke(body, timeout=20, metadata=[("authorization", f"Bearer {token}")])
                    codes.append("OK")
                except grpc.RpcError as exc:
                    status: Any = exc
                    codes.append(status.code().name)
                    errors.append(f"{name} {status.details()} {status.trailing_metadata()}")
    return "\n".join(errors), " ".join(codes)


@pytest.mark.parametrize("where", ["log", "errors", "metrics"])
def test_no_canary_is_anywhere_but_in_replies(said: dict[str, str], where: str) -> None:
    text = said[where]
    assert text
    position = text.find(CANARY)
    assert position < 0, text[max(0, position - 300) : position + 100]


def test_the_barrage_reached_the_code_it_was_made_for(said: dict[str, str]) -> None:
    codes = said["codes"].split()
    assert codes.count("OK") >= 15
    assert {"INVALID_ARGUMENT", "UNAUTHENTICATED"} <= set(codes)
    assert ("INTERNAL" in codes) == bool(said["planted"])
    assert ("builtins.ValueError" in said["log"]) == bool(said["planted"])


def test_an_internal_error_is_found_in_the_log_by_its_id(said: dict[str, str]) -> None:
    ids = {line.partition("error id ")[2][:16] for line in said["errors"].splitlines() if "error id " in line}
    assert bool(ids) == bool(said["planted"])
    assert all(f"error_id={one}" in said["log"] for one in ids)
