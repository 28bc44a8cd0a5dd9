"""What the sync and the async client share: construction and views."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Self

from memd_client.connection import DEFAULT_TIMEOUT_S, Connection, checked_timeout, connection
from memd_client.retry import RetryPolicy
from memd_client.types import Scope


class ClientBase:
    """A scope and a way to the daemon."""

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        token_file: str | Path | None = None,
        namespace: str = "",
        user_id: str = "",
        agent_id: str = "",
        session_id: str = "",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Connects with the first call.

        ``address``: ``unix:/PATH``, ``/PATH`` or ``HOST:PORT``; default ``$MEMD_ADDRESS``, else the daemon's default
        socket. ``token`` or ``token_file``: the credential, where the daemon wants one; it travels unencrypted, so over
        TCP only on a network you trust. ``namespace`` to ``session_id``: the scope of every call. ``timeout_s``: deadline
        of a call with all its retries.
        """
        self._connection: Connection = connection(address, token, token_file, timeout_s, retry or RetryPolicy())
        self._scope = Scope(namespace, user_id, agent_id, session_id)
        self._open()

    def _open(self) -> None:
        raise NotImplementedError

    @property
    def address(self) -> str:
        """Where the daemon is expected."""
        return self._connection.address

    @property
    def scope(self) -> Scope:
        """The scope of every call of this view."""
        return self._scope

    def scoped(
        self,
        *,
        namespace: str | None = None,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Self:
        """A view with another scope or timeout on the same connection; ``""`` unsets a part. Costs next to nothing.

        Closing the view closes the connection for all.
        """
        given = {"namespace": namespace, "user_id": user_id, "agent_id": agent_id, "session_id": session_id}
        view = copy.copy(self)
        view._scope = replace(self._scope, **{name: part for name, part in given.items() if part is not None})
        if timeout_s is not None:
            view._connection = replace(self._connection, timeout_s=checked_timeout(timeout_s))
        return view
