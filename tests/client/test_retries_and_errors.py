"""How the client behaves on the wire, sync and async alike: retries, deadlines, credentials, errors rebuilt by reason."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from memd_client import AsyncClient, Client, MemdError, RetryPolicy, errors
from memd_client._proto.v1 import common_pb2 as common
from memd_client._proto.v1 import memory_service_pb2 as pb

from tests.client.scripted import Answer, Refusal, ScriptedServer, Silence

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
BUSY = Refusal(UNAVAILABLE, "STORE_BUSY")
OK = pb.RememberResponse(memories=[pb.RememberedMemory(memory_id="m1", version=1, created=True)])

# gRPC reads deadlines on a coarse clock
CLOCK_S = 0.05

Caller = Callable[..., Any]


def _sync(address: str, method: str, *args: Any, options: dict[str, Any], **kwargs: Any) -> Any:
    with Client(address, **options) as client:
        got = getattr(client, method)(*args, **kwargs)
        return list(got) if inspect.isgenerator(got) else got


def _async(address: str, method: str, *args: Any, options: dict[str, Any], **kwargs: Any) -> Any:
    async def run() -> Any:
        async with AsyncClient(address, **options) as client:
            got = getattr(client, method)(*args, **kwargs)
            return [x async for x in got] if inspect.isasyncgen(got) else await got

    return asyncio.run(run())


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Caller:
    """Calls a method of one client or the other."""
    chosen: Caller = request.param
    return chosen


@pytest.fixture
def serve(tmp_path: Path) -> Any:
    """Makes a scripted server."""

    def make(*answers: Answer) -> ScriptedServer:
        return ScriptedServer(tmp_path / "s.sock", answers)

    return make


def test_a_write_is_retried_with_one_request_id(serve: Any, call: Caller) -> None:
    with serve(BUSY, BUSY, OK) as server:
        got = call(server.address, "remember", "tea", options={})
    assert got.memories[0].memory_id == "m1"
    sent = [pb.RememberRequest.FromString(s.request) for s in server.seen]
    assert len(sent) == 3
    assert len({r.request_id for r in sent}) == 1
    assert len(sent[0].request_id) == 32


def test_two_logical_calls_have_two_request_ids(serve: Any) -> None:
    with serve(OK) as server, Client(server.address) as client:
        client.remember("tea")
        client.remember("tea")
        client.remember("tea", request_id="mine")
    ids = [pb.RememberRequest.FromString(s.request).request_id for s in server.seen]
    assert len(set(ids)) == 3
    assert ids[2] == "mine"


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c not in (UNAVAILABLE, grpc.StatusCode.OK)])
def test_only_unavailable_is_retried(serve: Any, call: Caller, code: grpc.StatusCode) -> None:
    with serve(Refusal(code), OK) as server, pytest.raises(MemdError):
        call(server.address, "remember", "tea", options={})
    assert len(server.seen) == 1


def test_what_a_stopping_daemon_dropped_is_sent_again(serve: Any, call: Caller) -> None:
    """gRPC's server cancels, without a reason, what it had received and not yet begun when it was stopped."""
    with serve(Refusal(grpc.StatusCode.CANCELLED, message="CANCELLED"), OK) as server:
        call(server.address, "remember", "tea", options={})
    sent = [pb.RememberRequest.FromString(s.request) for s in server.seen]
    assert len(sent) == 2
    assert sent[0] == sent[1]


def test_retries_end_with_the_deadline(serve: Any, call: Caller) -> None:
    with serve(BUSY) as server, pytest.raises(errors.StoreBusy):
        call(server.address, "recall", "tea", options={"timeout_s": 0.4})
    assert len(server.seen) >= 3
    assert server.seen[-1].at_s - server.seen[0].at_s < 0.4
    remaining = [s.remaining_s for s in server.seen]
    assert max(remaining) <= 0.4 + CLOCK_S
    assert remaining[-1] < remaining[0] - 0.1, "every try gets what is left of the one deadline"


def test_the_pause_the_daemon_asked_for_is_kept(serve: Any, call: Caller) -> None:
    with serve(Refusal(UNAVAILABLE, "NOT_READY", retry_after_s=0.3), OK) as server:
        call(server.address, "remember", "tea", options={})
    assert 0.3 <= server.seen[1].at_s - server.seen[0].at_s < 1.0


def test_a_longer_pause_than_the_deadline_fails_at_once(serve: Any, call: Caller) -> None:
    with (
        serve(Refusal(UNAVAILABLE, "NOT_READY", retry_after_s=9.0)) as server,
        pytest.raises(errors.NotReady) as caught,
    ):
        call(server.address, "remember", "tea", options={"timeout_s": 1.0})
    assert len(server.seen) == 1
    assert caught.value.retry_after_s == 9.0


def test_a_silent_daemon_meets_the_deadline(serve: Any, call: Caller) -> None:
    with serve(Silence(1.0)) as server, pytest.raises(errors.DeadlineExceeded):
        call(server.address, "recall", "tea", timeout_s=0.1, options={})
    assert len(server.seen) == 1


def test_every_call_carries_deadline_and_token(serve: Any, call: Caller) -> None:
    with serve(OK) as server:
        call(server.address, "remember", "tea", options={"token": "s3cret"})
    assert 4.0 < server.seen[0].remaining_s <= 5.0 + CLOCK_S
    assert server.seen[0].metadata["authorization"] == "Bearer s3cret"


def test_no_daemon_says_which_address(tmp_path: Path, call: Caller) -> None:
    address = f"unix:{tmp_path}/nobody.sock"
    with pytest.raises(errors.Unreachable) as caught:
        call(address, "recall", "tea", options={"timeout_s": 0.2})
    assert caught.value.address == address
    assert address in str(caught.value)


def test_no_daemon_can_fail_at_once(tmp_path: Path, call: Caller) -> None:
    with pytest.raises(errors.Unreachable):
        call(f"{tmp_path}/no.sock", "health", options={"timeout_s": 60.0, "retry": RetryPolicy(unreachable=False)})


def test_a_daemon_that_comes_late_is_found(serve: Any, call: Caller, tmp_path: Path) -> None:
    with ExitStack() as started:
        timer = threading.Timer(0.3, lambda: started.enter_context(serve(OK)))
        timer.start()
        begun = time.monotonic()
        assert call(f"{tmp_path}/s.sock", "remember", "tea", options={}).memories[0].created
        assert 0.3 <= time.monotonic() - begun < 3.0
        timer.join()


@pytest.mark.parametrize("kind", errors.BY_REASON.values())
def test_errors_are_rebuilt_from_the_reason(serve: Any, call: Caller, kind: type[MemdError]) -> None:
    # a code that would mean something else shows that the reason decides
    refusal = Refusal(
        grpc.StatusCode.UNKNOWN,
        kind.reason,
        message="text",
        metadata={"current_version": "7", "error_id": "e1"},
        field_path="memories[0].content",
    )
    with serve(refusal) as server, pytest.raises(kind) as caught:
        call(server.address, "remember", "tea", options={"retry": RetryPolicy(attempts=1)})
    error = caught.value
    assert type(error) is kind
    assert (error.message, error.reason, error.field) == ("text", kind.reason, "memories[0].content")
    assert error.metadata["error_id"] == "e1"
    if isinstance(error, errors.VersionConflict):
        assert error.current_version == 7


def test_every_reason_of_the_daemon_has_its_class_here() -> None:
    domain = pytest.importorskip("memd.domain.errors")

    def below(cls: Any) -> list[Any]:
        return [c for sub in cls.__subclasses__() for c in (sub, *below(sub))]

    # a ConfigError stops the daemon before it serves
    ours = {c.reason: [b.__name__ for b in c.__mro__] for c in errors.BY_REASON.values()}
    for theirs in below(domain.MemdError):
        if theirs.reason != domain.ConfigError.reason:
            assert theirs.__name__ in ours[theirs.reason]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.UNIMPLEMENTED, errors.Unimplemented),
        (grpc.StatusCode.UNKNOWN, errors.Internal),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.LimitExceeded),
    ],
)
@pytest.mark.parametrize(("reason", "domain"), [("", "memd"), ("FROM_THE_FUTURE", "memd"), ("NOT_READY", "other")])
def test_an_unknown_reason_falls_back_to_the_code(
    serve: Any, call: Caller, code: grpc.StatusCode, kind: type[MemdError], reason: str, domain: str
) -> None:
    with serve(Refusal(code, reason, domain=domain)) as server, pytest.raises(kind) as caught:
        call(server.address, "recall", "tea", options={})
    assert type(caught.value) is kind
    if reason == "FROM_THE_FUTURE":
        assert caught.value.reason == reason


def test_unreadable_details_leave_code_and_text() -> None:
    error = errors.from_status(grpc.StatusCode.NOT_FOUND, "gone", [(errors.DETAILS_KEY, b"\xff\xff")])
    assert type(error) is errors.NotFound
    assert error.message == "gone"


def test_lists_fetch_page_after_page(serve: Any, call: Caller) -> None:
    def page(ids: str, token: str) -> pb.ListMemoriesResponse:
        return pb.ListMemoriesResponse(memories=[common.Memory(memory_id=i) for i in ids], next_page_token=token)

    with serve(page("ab", "t1"), BUSY, page("", "t2"), page("c", "")) as server:
        got = call(server.address, "list", page_size=2, options={"user_id": "ada"})
    assert [m.memory_id for m in got] == ["a", "b", "c"]
    sent = [pb.ListMemoriesRequest.FromString(s.request) for s in server.seen]
    assert [r.page_token for r in sent] == ["", "t1", "t1", "t2"]
    assert {(r.page_size, r.scope.user_id) for r in sent} == {(2, "ada")}


def test_views_share_the_connection_and_change_the_scope(serve: Any) -> None:
    with serve(OK) as server, Client(server.address, namespace="n", user_id="ada", session_id="s1") as client:
        view = client.scoped(user_id="bob", session_id="", timeout_s=2.0)
        assert view._transport is client._transport
        view.remember("tea")
        client.remember("tea")
    scopes = [pb.RememberRequest.FromString(s.request).scope for s in server.seen]
    assert [(s.namespace, s.user_id, s.session_id) for s in scopes] == [("n", "bob", ""), ("n", "ada", "s1")]
    assert server.seen[0].remaining_s <= 2.0 + CLOCK_S < server.seen[1].remaining_s
