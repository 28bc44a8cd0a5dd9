"""Page tokens: a store's cursor, bound to the call and the arguments it belongs to.

The digest catches accidents and tampering by hand; it is no secret and need be none, since every page applies scope and
filter anew and stores check their cursors. It has to outlive a restart of the daemon, so there is no key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

from google.protobuf.message import Message

from memd.domain.errors import InvalidArgument
from memd.domain.model import Scope
from memd.limits import MAX_PAGE_TOKEN_BYTES

DIGEST_BYTES = 12


class Pager:
    """The token of one list request: ``cursor`` is where it asks to go on, ``token(cursor)`` what its reply carries."""

    def __init__(self, method: str, request: Message, scope: Scope) -> None:
        self._arguments = _arguments(method, request, scope)
        self.cursor = self._open(request.page_token)  # type: ignore[attr-defined]

    def token(self, cursor: str) -> str:
        """``""`` for ``""``: the last page has none."""
        if not cursor:
            return ""
        sealed = self._digest(cursor.encode()) + cursor.encode()
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def _open(self, token: str) -> str:
        if not token:
            return ""
        if len(token) > MAX_PAGE_TOKEN_BYTES:
            raise _bad()
        try:
            sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            cursor = sealed[DIGEST_BYTES:].decode()
        except (binascii.Error, ValueError) as exc:
            raise _bad() from exc
        if not cursor or not hmac.compare_digest(sealed[:DIGEST_BYTES], self._digest(cursor.encode())):
            raise _bad()
        return cursor

    def _digest(self, cursor: bytes) -> bytes:
        return hashlib.blake2b(cursor, key=self._arguments, digest_size=DIGEST_BYTES).digest()


def _arguments(method: str, request: Message, scope: Scope) -> bytes:
    """Digest of what must stay the same from page to page: everything but the token itself and the page size."""
    same = type(request)()
    same.CopyFrom(request)
    same.ClearField("page_token")
    same.ClearField("page_size")
    who = "\0".join((method, scope.namespace, scope.user_id, scope.agent_id, scope.session_id))
    return hashlib.blake2b(who.encode() + b"\0" + same.SerializeToString(deterministic=True), digest_size=32).digest()


def _bad() -> InvalidArgument:
    return InvalidArgument(
        "not a page token of this call with these arguments: begin again with the first page", field="page_token"
    )
