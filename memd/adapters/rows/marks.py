"""Sessions as background work reads them from rows, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memd.domain.model import Scope
from memd.ports import MarkedPage, MarkedSession

MARK_COLUMNS = "pk, namespace, user_id, agent_id, session_id, create_time, promoted, digested, last_position"


def marked_page(found: Sequence[Sequence[Any]], limit: int) -> MarkedPage:
    """Of rows of MARK_COLUMNS by ``pk``; a page that is not full is the last one."""
    sessions = tuple(map(_session, found))
    return MarkedPage(sessions, sessions[-1].key if len(sessions) == limit else "")


def _session(found: Sequence[Any]) -> MarkedSession:
    pk, namespace, user_id, agent_id, session_id, *numbers = found
    return MarkedSession(str(pk), Scope(namespace, user_id, agent_id, session_id), *numbers)
