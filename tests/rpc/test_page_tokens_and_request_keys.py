"""Page tokens belong to one call with its arguments; request keys tell bodies apart."""

from __future__ import annotations

import pytest
from memd_client._proto.v1 import common_pb2 as pb
from memd_client._proto.v1 import memory_service_pb2 as ms

from memd import limits
from memd.domain.errors import InvalidArgument
from memd.domain.model import Scope
from memd.rpc.page_tokens import Pager
from memd.rpc.request_keys import request_key

METHOD = "/memd.v1.MemoryService/ListMemories"
SCOPE = Scope("n", "u")


def _list(token: str = "", **fields: object) -> ms.ListMemoriesRequest:
    return ms.ListMemoriesRequest(page_token=token, **fields)  # type: ignore[arg-type]


TOKEN = Pager(METHOD, _list(), SCOPE).token("cursor-1")


def test_a_token_brings_its_cursor_back_whatever_the_page_size() -> None:
    assert Pager(METHOD, _list(TOKEN, page_size=7), SCOPE).cursor == "cursor-1"


def test_the_last_page_has_no_token() -> None:
    assert Pager(METHOD, _list(), SCOPE).token("") == ""


@pytest.mark.parametrize(
    ("method", "request_", "scope"),
    [
        ("/memd.v1.MemoryService/ListMemoryRevisions", _list(TOKEN), SCOPE),
        (METHOD, _list(TOKEN, include_invalid=True), SCOPE),
        (METHOD, _list(TOKEN, filter=pb.Filter(exists="tags")), SCOPE),
        (METHOD, _list(TOKEN), Scope("other", "u")),
        (METHOD, _list(TOKEN), Scope("n", "v")),
        (METHOD, _list(TOKEN[:-1]), SCOPE),
        (METHOD, _list(TOKEN[:20] + ("A" if TOKEN[20] != "A" else "B") + TOKEN[21:]), SCOPE),
        (METHOD, _list("!!!"), SCOPE),
        (METHOD, _list("é"), SCOPE),
        (METHOD, _list("A" * (limits.MAX_PAGE_TOKEN_BYTES + 1)), SCOPE),
        (METHOD, _list("AAAA"), SCOPE),
    ],
    ids=range(11),
)
def test_a_tampered_or_borrowed_token_is_refused(method: str, request_: ms.ListMemoriesRequest, scope: Scope) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Pager(method, request_, scope)
    assert caught.value.field == "page_token"


def _remember(request_id: str, *texts: str) -> ms.RememberRequest:
    return ms.RememberRequest(request_id=request_id, memories=[ms.NewMemory(content=text) for text in texts])


def test_no_request_id_no_key() -> None:
    assert request_key("m", _remember("", "x"), SCOPE) is None


def test_the_digest_is_of_method_scope_and_body_and_not_of_the_id() -> None:
    base = request_key("m", _remember("id-1", "x"), SCOPE)
    assert base is not None
    again = request_key("m", _remember("id-2", "x"), SCOPE)
    assert again is not None
    assert again.body_sha256 == base.body_sha256
    others = [
        request_key("m", _remember("id-1", "y"), SCOPE),
        request_key("m2", _remember("id-1", "x"), SCOPE),
        request_key("m", _remember("id-1", "x"), Scope("n", "v")),
    ]
    assert all(other is not None and other.body_sha256 != base.body_sha256 for other in others)


def test_metadata_in_another_order_is_the_same_body() -> None:
    first, second = _remember("id", "x"), _remember("id", "x")
    first.memories[0].metadata.update({"a": 1, "b": 2})
    second.memories[0].metadata.update({"b": 2, "a": 1})
    assert request_key("m", first, SCOPE) == request_key("m", second, SCOPE)


def test_the_request_keeps_its_id() -> None:
    request = _remember("id-1", "x")
    request_key("m", request, SCOPE)
    assert request.request_id == "id-1"


def test_an_oversized_request_id_is_refused() -> None:
    with pytest.raises(InvalidArgument) as caught:
        request_key("m", _remember("r" * (limits.MAX_REQUEST_ID_BYTES + 1), "x"), SCOPE)
    assert caught.value.field == "request_id"
