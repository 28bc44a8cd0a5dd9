"""S1: nothing answers without identity. Every RPC of the contract x {no token, wrong, expired, other namespace, lower
right}, generated from the proto descriptors, against a real daemon: a new RPC is in the matrix by itself, and fails
without a rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memd_client.errors import MemdError, from_status

from memd.domain.identity import Right
from memd.rpc.authorise import AUTHORISATION
from memd.rpc.server import SERVICES
from tests.daemon import Daemon

METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method for service in SERVICES.values() for method in service.methods
}
SCOPED = {name for name, method in METHODS.items() if "scope" in method.input_type.fields_by_name}
RIGHTS = [right.value for right in Right]


def _entry(token: str, rights: list[str], extra: str = "") -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    words = ", ".join(f'"{right}"' for right in rights)
    return f'[[tokens]]\nname = "{token}"\nsha256 = "{digest}"\nnamespace = "home"\nrights = [{words}]\n{extra}\n'


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:  # stubs want serialisers that gRPC does not
    tokens = tmp_path_factory.mktemp("tokens") / "tokens.toml"
    content = _entry("full", RIGHTS) + _entry("expired", RIGHTS, "expires = 2020-01-01T00:00:00Z")
    content += _entry("bound", RIGHTS, 'user_id = "ada"\nagent_id = "helper"')
    content += "".join(_entry(f"without-{right}", [r for r in RIGHTS if r != right]) for right in RIGHTS)
    tokens.touch(mode=0o600)
    tokens.write_text(content)
    with (
        Daemon(tmp_path_factory.mktemp("s1"), arguments=["--token-file", str(tokens)]) as daemon,
        grpc.insecure_channel(daemon.address) as opened,
    ):
        yield opened


def _call(channel: Any, name: str, token: str | None, **scope: str) -> MemdError | None:
    """The error of a call with an otherwise empty request, None for OK."""
    method = METHODS[name]
    request: Message = GetMessageClass(method.input_type)()
    if scope:
        for part, value in scope.items():
            setattr(request.scope, part, value)  # type: ignore[attr-defined]
    metadata = [("authorization", f"Bearer {token}")] if token is not None else []
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    invoke = getattr(channel, kind)(name, request_serializer=GetMessageClass(method.input_type).SerializeToString)
    argument: Any = iter([request]) if method.client_streaming else request
    try:
        reply = invoke(argument, timeout=10, metadata=metadata)
        if method.server_streaming:
            list(reply)
    except grpc.RpcError as exc:
        return from_status(exc.code(), exc.details(), exc.trailing_metadata())
    return None


def _reason(error: MemdError | None) -> str:
    return error.reason if error else "OK"


def test_every_rpc_has_exactly_one_rule() -> None:
    assert set(AUTHORISATION) == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "token", [None, "", "wrong", "Full", "expired"], ids=["none", "empty", "wrong", "case", "expired"]
)
def test_no_identity_no_answer(channel: Any, name: str, token: str | None) -> None:
    assert _reason(_call(channel, name, token)) == "UNAUTHENTICATED"


@pytest.mark.parametrize("name", METHODS)
def test_a_lower_right_is_refused(channel: Any, name: str) -> None:
    token = f"without-{AUTHORISATION[name].value}"
    assert _reason(_call(channel, name, token)) == "PERMISSION_DENIED"


@pytest.mark.parametrize("name", sorted(SCOPED))
@pytest.mark.parametrize("namespace", ["away", "default", "hom", "home2", "HOME", "*", "%"])
def test_another_namespace_is_refused(channel: Any, name: str, namespace: str) -> None:
    assert _reason(_call(channel, name, "full", namespace=namespace, session_id="s")) == "PERMISSION_DENIED"


@pytest.mark.parametrize("name", sorted(SCOPED))
@pytest.mark.parametrize("part", ["user_id", "agent_id"])
def test_what_a_credential_fixes_cannot_be_changed(channel: Any, name: str, part: str) -> None:
    assert _reason(_call(channel, name, "bound", session_id="s", **{part: "eve"})) == "PERMISSION_DENIED"


@pytest.mark.parametrize("name", METHODS)
def test_the_right_token_gets_past_the_door(channel: Any, name: str) -> None:
    """The matrix above would also pass if everything were refused."""
    reason = _reason(_call(channel, name, "full"))
    assert reason not in {"UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "UNIMPLEMENTED"}


def test_every_rpc_has_a_scope() -> None:
    assert set(METHODS) == SCOPED


def test_a_method_outside_the_contract_needs_identity_too(channel: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/memd.v1.MemoryService/Dream")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_alone_answers_without_identity_and_reflection_is_off(channel: Any) -> None:
    health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    for version in ("v1", "v1alpha"):
        with pytest.raises(grpc.RpcError) as caught:
            list(
                channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")(
                    iter([b""]), timeout=10, metadata=[("authorization", "Bearer full")]
                )
            )
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_the_token_file_is_not_world_readable_or_the_daemon_does_not_start(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(_entry("full", RIGHTS))
    tokens.chmod(0o644)
    daemon = Daemon(tmp_path / "d", arguments=["--token-file", str(tokens)])
    try:
        assert daemon.spawn().wait(30) == 1
        assert daemon.log_tail().splitlines() == [
            f"memd: token file {tokens} must be a file that others cannot read or change: chmod 600"
        ]
    finally:
        daemon.close()
