"""Procedures as rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from memd.adapters.rows.compact import encode
from memd.domain.model import Procedure, Scope
from memd.ports import IndexRow

COLUMNS = (
    "procedure_id, user_id, agent_id, key, v.version, trigger, content, metadata, successes, failures, create_time,"
    " last_outcome_time"
)
ALL_VERSIONS = "procedure p JOIN procedure_version v ON v.procedure_pk = p.pk"
NEWEST = f"{ALL_VERSIONS} AND v.version = p.version"


def decode(namespace: str, row: Sequence[Any]) -> Procedure:
    """From COLUMNS."""
    procedure_id, user_id, agent_id, key, version, trigger, content, metadata, won, lost, created, last = row
    scope = Scope(namespace, user_id, agent_id)
    return Procedure(
        procedure_id, scope, key, version, trigger, content, json.loads(metadata), won, lost, created, last
    )


def metadata_json(procedure: Procedure) -> str:
    return encode(dict(procedure.metadata))


def procedure_index_row(
    procedure_id: str, version: int, key: str, trigger: str, vectors: bytes, user_id: str, agent_id: str
) -> IndexRow:
    fields = {name: value for name, value in (("user_id", user_id), ("agent_id", agent_id)) if value}
    return IndexRow(procedure_id, version, f"{key} {trigger}".rstrip(), vectors, encode(fields).encode())
