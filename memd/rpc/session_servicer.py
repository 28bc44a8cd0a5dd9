"""SessionService: check, convert, call, convert."""

from __future__ import annotations

from memd_client._proto.v1 import session_service_pb2 as ss

from memd.domain.errors import InvalidArgument
from memd.rpc import checks, convert_session, pages
from memd.rpc.calls import Call
from memd.rpc.convert_common import EVENT_KINDS, receipt
from memd.service.sessions import SessionService


class SessionServicer:
    def __init__(self, sessions: SessionService) -> None:
        self._sessions = sessions

    async def GetWorkingMemory(self, request: ss.GetWorkingMemoryRequest, call: Call) -> ss.GetWorkingMemoryResponse:
        return convert_session.working(await self._sessions.working(call.session(request.scope)))

    async def ClearWorkingMemory(
        self, request: ss.ClearWorkingMemoryRequest, call: Call
    ) -> ss.ClearWorkingMemoryResponse:
        scope = call.session(request.scope)
        written = await self._sessions.clear(scope, call.request_key(request, scope))
        return ss.ClearWorkingMemoryResponse(cleared=written.value, receipt=receipt(written))

    async def ListEpisodes(self, request: ss.ListEpisodesRequest, call: Call) -> ss.ListEpisodesResponse:
        scope = call.session(request.scope)
        kinds = frozenset(checks.choice(kind, "kinds", EVENT_KINDS) for kind in request.kinds)
        pager = call.pager(request, scope)

        async def fetch(size: int) -> ss.ListEpisodesResponse:
            page = await self._sessions.episodes(scope, kinds=kinds, size=size, cursor=pager.cursor)
            episodes = map(convert_session.event, page.items)
            return ss.ListEpisodesResponse(episodes=episodes, next_page_token=pager.token(page.next_cursor))

        return await pages.fitting(checks.page_size(request.page_size), fetch)

    async def ListSessions(self, request: ss.ListSessionsRequest, call: Call) -> ss.ListSessionsResponse:
        scope = call.scope(request.scope)
        checks.unset(scope.session_id, "scope.session_id", "it selects one session")
        pager = call.pager(request, scope)
        page = await self._sessions.list(scope, size=checks.page_size(request.page_size), cursor=pager.cursor)
        sessions = map(convert_session.session, page.items)
        return ss.ListSessionsResponse(sessions=sessions, next_page_token=pager.token(page.next_cursor))

    async def EndSession(self, request: ss.EndSessionRequest, call: Call) -> ss.EndSessionResponse:
        scope = call.session(request.scope)
        written = await self._sessions.end(scope, call.request_key(request, scope))
        return ss.EndSessionResponse(session=convert_session.session(written.value), receipt=receipt(written))

    async def UpdateSessionSettings(
        self, request: ss.UpdateSessionSettingsRequest, call: Call
    ) -> ss.UpdateSessionSettingsResponse:
        scope = call.session(request.scope)
        change = convert_session.settings_change(request.settings)
        if not change and not request.reset:
            raise InvalidArgument("settings must have at least one field set, or reset be true", field="settings")
        key = call.request_key(request, scope)
        written = await self._sessions.update_settings(scope, change, reset=request.reset, request=key)
        return ss.UpdateSessionSettingsResponse(
            session=convert_session.session(written.value), receipt=receipt(written)
        )
