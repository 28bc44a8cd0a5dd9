"""SettingsStore on Postgres. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from memd.adapters.postgres.database import Database
from memd.adapters.postgres.transaction import Reader, Transaction
from memd.domain.errors import VersionConflict
from memd.domain.model import NamespaceSettings, RequestKey, Written

STORE = "settings"
KIND = "settings"
"""In the change log."""
_SELECT = "SELECT version, body FROM memd.namespace_settings WHERE namespace = $1"
_COUNTS = (
    "SELECT (SELECT count(*) FROM memd.memory WHERE namespace = $1 AND coalesce(expire_time, $2::bigint + 1) > $2),"
    " (SELECT count(*) FROM memd.procedure WHERE namespace = $1),"
    " (SELECT count(*) FROM memd.session WHERE namespace = $1 AND NOT dead AND expire_time > $2),"
    " (SELECT count(*) FROM memd.session s JOIN memd.event e ON e.session_pk = s.pk"
    " WHERE s.namespace = $1 AND NOT s.dead AND s.expire_time > $2),"
    " (SELECT count(*) FROM memd.task t JOIN memd.checkpoint c USING (namespace, task_id)"
    " WHERE t.namespace = $1 AND t.expire_time > $2),"
    " coalesce((SELECT seq FROM memd.namespace_head WHERE namespace = $1), 0)"
)
_COUNTED = ("memories", "procedures", "sessions", "events", "checkpoints", "seq")


class PostgresNamespaceSettings:
    """``counts`` is of what Postgres holds; whoever keeps sessions or tasks elsewhere puts theirs in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settings(self, namespace: str) -> NamespaceSettings:
        return await self._database.read(namespace, lambda reader: find_settings(reader, namespace))

    async def put_settings(
        self,
        namespace: str,
        settings: NamespaceSettings,
        *,
        expected_version: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[NamespaceSettings]:
        async def operation(tx: Transaction) -> Written[NamespaceSettings]:
            if tx.known is not None:
                again = NamespaceSettings(**tx.known.reply)
                return Written(again, tx.known.seq, tx.durability, replayed=tx.replayed)
            current = decode_settings(await tx.row(f"{_SELECT} FOR UPDATE", namespace)).version
            if expected_version not in (0, current):
                raise VersionConflict("the settings have another version", current_version=current)
            stored = replace(settings, version=current + 1)
            await _write(tx, stored)
            tx.put(KIND, "", stored.version)
            tx.audit(writer, "put_settings")
            seq = await tx.seal(asdict(stored))
            return Written(stored, seq, tx.durability)

        return await self._database.write(namespace, operation, store=STORE, request=request)

    async def counts(self, namespace: str) -> Mapping[str, int]:
        async def operation(reader: Reader) -> Mapping[str, int]:
            found = await reader.row(_COUNTS, namespace, reader.now_us)
            assert found is not None
            return dict(zip(_COUNTED, found, strict=True))

        return await self._database.read(namespace, operation)


async def _write(tx: Transaction, stored: NamespaceSettings) -> None:
    if stored.version == 1:
        await insert_settings(tx, stored)
        return
    await tx.execute(
        "UPDATE memd.namespace_settings SET version = $2, body = $3 WHERE namespace = $1",
        tx.namespace,
        stored.version,
        json.dumps(asdict(stored)),
    )


async def insert_settings(tx: Transaction, settings: NamespaceSettings) -> None:
    """Those of a namespace that has none, under the version they have. Of two such writers one is run again, on a unique
    key."""
    await tx.execute(
        "INSERT INTO memd.namespace_settings (namespace, version, body) VALUES ($1, $2, $3)",
        tx.namespace,
        settings.version,
        json.dumps(asdict(settings)),
    )


async def find_settings(reader: Reader, namespace: str) -> NamespaceSettings:
    return decode_settings(await reader.row(_SELECT, namespace))


def decode_settings(found: Sequence[Any] | None) -> NamespaceSettings:
    return NamespaceSettings(**json.loads(found[1])) if found else NamespaceSettings()
