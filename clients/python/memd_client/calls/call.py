"""What a call is, whoever sends it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from memd_client.types import Page

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One RPC, ready to be sent, any number of times, with the same request."""

    service: str
    method: str
    request: Message
    # Its argument is the RPC's response message.
    parse: Callable[[Any], R]
    # None: the client's.
    timeout_s: float | None = None


def new_request_id(given: str) -> str:
    """The caller's, or a fresh one: one logical call has one, however often it is sent."""
    return given or uuid.uuid4().hex


def following(call: Call[Page[T]], page: Page[T]) -> Call[Page[T]] | None:
    """The call for the page after this one; None after the last."""
    if not page.next_page_token:
        return None
    request: Any = type(call.request)()
    request.CopyFrom(call.request)
    request.page_token = page.next_page_token
    return replace(call, request=request)
