"""Calls of the SessionService."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from memd_client import parse, wire, words
from memd_client import types as t
from memd_client._proto.v1 import session_service_pb2 as pb
from memd_client.calls.call import Call, new_request_id
from memd_client.enums import EventKind

_call = partial(Call, "SessionService")


def working_memory(scope: t.Scope, *, timeout_s: float | None = None) -> Call[t.WorkingMemory]:
    """What the client's session works with now."""
    request = pb.GetWorkingMemoryRequest(scope=wire.scope(scope))
    return _call("GetWorkingMemory", request, parse.working_memory, timeout_s)


def clear_working_memory(scope: t.Scope, *, request_id: str = "", timeout_s: float | None = None) -> Call[t.Removed]:
    """Empty the session's working memory; its episodes stay, its ephemeral events are deleted."""
    request = pb.ClearWorkingMemoryRequest(scope=wire.scope(scope), request_id=new_request_id(request_id))
    return _call("ClearWorkingMemory", request, lambda m: t.Removed(m.cleared, parse.receipt(m.receipt)), timeout_s)


def episodes_page(
    scope: t.Scope,
    *,
    kinds: Sequence[EventKind | str] = (),
    page_size: int = 0,
    page_token: str = "",
    timeout_s: float | None = None,
) -> Call[t.Page[t.Event]]:
    """Episodes of the client's session, newest first; ``kinds`` picks some."""
    request = pb.ListEpisodesRequest(
        scope=wire.scope(scope),
        page_size=page_size,
        page_token=page_token,
        kinds=[words.EVENT_KIND.number(kind, "kinds") for kind in kinds],
    )

    def page(m: pb.ListEpisodesResponse) -> t.Page[t.Event]:
        return t.Page(tuple(map(parse.event, m.episodes)), m.next_page_token)

    return _call("ListEpisodes", request, page, timeout_s)


def sessions_page(
    scope: t.Scope, *, page_size: int = 0, page_token: str = "", timeout_s: float | None = None
) -> Call[t.Page[t.Session]]:
    """Sessions of the client's user (its own session does not narrow them), most recently active first."""
    whole_user = t.Scope(scope.namespace, scope.user_id, scope.agent_id)
    request = pb.ListSessionsRequest(scope=wire.scope(whole_user), page_size=page_size, page_token=page_token)

    def page(m: pb.ListSessionsResponse) -> t.Page[t.Session]:
        return t.Page(tuple(map(parse.session, m.sessions)), m.next_page_token)

    return _call("ListSessions", request, page, timeout_s)


def update_session_settings(
    scope: t.Scope,
    *,
    working_max_items: int | None = None,
    working_max_tokens: int | None = None,
    compress: bool | None = None,
    compress_at: float | None = None,
    compress_keep: int | None = None,
    compress_to: float | None = None,
    summary_share: float | None = None,
    reset: bool = False,
    request_id: str = "",
    timeout_s: float | None = None,
) -> Call[t.Session]:
    """Replace the given settings of the client's session, which override its namespace's for as long as the session lives; 0
    goes back to the namespace's. ``reset``: so does what is not given. They hold from the next event on; a session that is
    not there is opened. ``working_memory().settings`` and ``sessions()`` tell what is set."""
    request = pb.UpdateSessionSettingsRequest(
        scope=wire.scope(scope),
        settings=pb.SessionSettings(
            working_max_items=working_max_items,
            working_max_tokens=working_max_tokens,
            compress=compress,
            compress_at=compress_at,
            compress_keep=compress_keep,
            compress_to=compress_to,
            summary_share=summary_share,
        ),
        reset=reset,
        request_id=new_request_id(request_id),
    )
    return _call(
        "UpdateSessionSettings", request, lambda m: parse.session(m.session, parse.receipt(m.receipt)), timeout_s
    )


def end_session(scope: t.Scope, *, request_id: str = "", timeout_s: float | None = None) -> Call[t.Session]:
    """Mark the client's session ended; a later ``observe`` opens it again. NotFound when there is none."""
    request = pb.EndSessionRequest(scope=wire.scope(scope), request_id=new_request_id(request_id))
    return _call("EndSession", request, lambda m: parse.session(m.session, parse.receipt(m.receipt)), timeout_s)
