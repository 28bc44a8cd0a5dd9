"""Events as SQLite gives them out: one JSON text a query, because each row stepped through would cost the reading thread
its turn at the interpreter."""

from __future__ import annotations

import json

from memd.adapters.rows.session import decode_event
from memd.adapters.rows.summary import SUMMARY_COLUMNS, decode_summary
from memd.domain.model import Event

EVENT_JSON = "json_array(position, event_id, kind, ephemeral, tokens, count, last_seen, content, json(body))"

SUMMARY_JSON = f"json_array({SUMMARY_COLUMNS})"


def decode_events(text: str | None) -> list[Event]:
    """From a JSON list of EVENT_JSON."""
    return [decode_event(row) for row in json.loads(text)] if text else []


def decode_summaries(text: str) -> list[Event]:
    """From a JSON list of SUMMARY_JSON, oldest first."""
    return [decode_summary(row) for row in json.loads(text)] if text != "[]" else []
