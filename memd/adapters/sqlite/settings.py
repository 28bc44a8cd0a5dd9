"""SettingsStore on SQLite. See ``memd.ports`` for what each method promises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace

from memd.adapters.sqlite import requests
from memd.adapters.sqlite.connection import Row, row
from memd.adapters.sqlite.reads import ReadPool
from memd.adapters.sqlite.transaction import Transaction
from memd.adapters.sqlite.writer import Writer
from memd.domain.errors import VersionConflict
from memd.domain.model import Durability, NamespaceSettings, RequestKey, Written
from memd.ports import Clock

STORE = "settings"
SELECT_SETTINGS = "SELECT version, body FROM namespace_settings WHERE namespace = ?"
_COUNTS = (
    "SELECT (SELECT count(*) FROM memory WHERE namespace = ?1 AND coalesce(expire_time, ?2 + 1) > ?2),"
    " (SELECT count(*) FROM procedure WHERE namespace = ?1),"
    " (SELECT count(*) FROM session WHERE namespace = ?1 AND dead = 0 AND expire_time > ?2),"
    " (SELECT count(*) FROM session s JOIN event e ON e.session_pk = s.pk"
    " WHERE s.namespace = ?1 AND s.dead = 0 AND s.expire_time > ?2),"
    " (SELECT count(*) FROM task t JOIN checkpoint c USING (namespace, task_id)"
    " WHERE t.namespace = ?1 AND t.expire_time > ?2),"
    " coalesce((SELECT seq FROM namespace_head WHERE namespace = ?1), 0)"
)
_COUNTED = ("memories", "procedures", "sessions", "events", "checkpoints", "seq")


class SqliteSettings:
    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    async def settings(self, namespace: str) -> NamespaceSettings:
        return decode_settings(await self._reads.run(lambda connection: row(connection, SELECT_SETTINGS, (namespace,))))

    async def put_settings(
        self,
        namespace: str,
        settings: NamespaceSettings,
        *,
        expected_version: int,
        writer: str,
        request: RequestKey | None,
    ) -> Written[NamespaceSettings]:
        def operation(tx: Transaction) -> Written[NamespaceSettings]:
            known = requests.find(tx, STORE, request)
            if known is not None:
                return Written(NamespaceSettings(**known[1]), known[0], Durability.SYNCED, replayed=True)
            current = decode_settings(tx.row(SELECT_SETTINGS, (namespace,))).version
            if expected_version not in (0, current):
                raise VersionConflict("the settings have another version", current_version=current)
            stored = replace(settings, version=current + 1)
            write_settings(tx, namespace, stored)
            tx.audit(namespace, writer, "put_settings")
            seq = tx.seq(namespace)
            requests.save(tx, STORE, request, (seq, asdict(stored)))
            return Written(stored, seq, Durability.SYNCED)

        return await self._writer.submit(operation)

    async def counts(self, namespace: str) -> Mapping[str, int]:
        bindings = (namespace, self._clock.now_us())
        found = await self._reads.run(lambda connection: row(connection, _COUNTS, bindings))
        assert found is not None
        return dict(zip(_COUNTED, found, strict=True))


def write_settings(tx: Transaction, namespace: str, settings: NamespaceSettings) -> None:
    """Under the version they have."""
    tx.execute(
        "INSERT OR REPLACE INTO namespace_settings (namespace, version, body) VALUES (?, ?, ?)",
        (namespace, settings.version, json.dumps(asdict(settings))),
    )


def decode_settings(found: Row | None) -> NamespaceSettings:
    return NamespaceSettings(**json.loads(found[1])) if found else NamespaceSettings()
