"""Another embedding model for a directory no daemon runs on.

The new embeddings are made in batches beside the old ones, each batch in a commit of its own, and take their place in one
transaction together with the model that the store is frozen to. Killed before that, the store is still one of the old model:
a daemon may run on it and change it, and the next run embeds what is missing or has changed since. Indexes that were saved
are of the old model by their name, and are built anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import apsw

from memd.adapters.rows.memory import spoken_text
from memd.adapters.sqlite.connection import check_library, connect, row, rows, transaction
from memd.adapters.sqlite.datadir import DataDir
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.replica import is_replica
from memd.adapters.sqlite.schema import change_model, frozen_model, migrate, same_model
from memd.domain.errors import ModelUnavailable, WrongState
from memd.domain.model import EmbeddingModel
from memd.limits import REEMBED_BATCH
from memd.ports import Embedder

Progress = Callable[[int, int], None]
"""How many texts of how many are done."""
_TARGET = "reembedding_model"
_MEMORIES = (
    "SELECT pk, m.version, content, fields FROM memory m JOIN embedding e ON e.memory_pk = pk"
    " WHERE pk > ? AND NOT EXISTS (SELECT 1 FROM memory_reembedding r WHERE r.memory_pk = pk AND r.version = m.version)"
    " ORDER BY pk LIMIT ?"
)
_PROCEDURES = (
    "SELECT v.procedure_pk, v.version, coalesce(nullif(trigger, ''), key) FROM procedure_version v"
    " JOIN procedure ON pk = v.procedure_pk LEFT JOIN procedure_reembedding r USING (procedure_pk, version)"
    " WHERE r.procedure_pk IS NULL ORDER BY v.procedure_pk, v.version LIMIT ?"
)
_COUNTS = (
    "SELECT (SELECT count(*) FROM embedding) + (SELECT count(*) FROM procedure_version),"
    " (SELECT count(*) FROM memory_reembedding r JOIN memory ON pk = memory_pk AND memory.version = r.version)"
    " + (SELECT count(*) FROM procedure_reembedding)"
)


@dataclass(frozen=True, slots=True)
class Reembedded:
    """``embedded`` by this run; ``resumed``: those that an earlier one had left."""

    model: EmbeddingModel
    embedded: int
    resumed: int


async def reembed(data_dir: Path, embedder: Embedder, progress: Progress) -> Reembedded:
    """Change the store to the embedder's model; takes the directory's lock. WrongState when a daemon has it, or it is a
    replica; ModelUnavailable. Nothing happens when the store is of that model already."""
    model = embedder.model
    if model is None:
        raise ModelUnavailable("there is no model to embed with")
    check_library()
    directory = DataDir(data_dir, create=False)
    try:
        with translated():
            connection = connect(directory.database, vfs=None, writes=True)
            try:
                migrate(connection)
                return await _reembed(connection, embedder, model, progress)
            finally:
                connection.close(True)
    finally:
        directory.close()


async def _reembed(
    connection: apsw.Connection, embedder: Embedder, model: EmbeddingModel, progress: Progress
) -> Reembedded:
    if is_replica(connection):
        raise WrongState("the directory holds a copy of what is in Postgres, which keeps the model it was made with")
    frozen = frozen_model(connection)
    if frozen is not None and same_model(frozen, model):
        return Reembedded(model, 0, 0)
    _aim(connection, model)
    total, resumed = row(connection, _COUNTS) or (0, 0)
    done, last = resumed, 0
    progress(done, total)
    while found := rows(connection, _MEMORIES, (last, REEMBED_BATCH)):
        last = found[-1][0]
        embedded = await embedder.memories([spoken_text(content, fields) for _, _, content, fields in found])
        _put_memories(connection, found, embedded)
        done += len(found)
        progress(done, total)
    while found := rows(connection, _PROCEDURES, (REEMBED_BATCH,)):
        embedded = await embedder.memories([text for _, _, text in found])
        _put_procedures(connection, found, embedded)
        done += len(found)
        progress(done, total)
    _switch(connection, model)
    return Reembedded(model, done - resumed, resumed)


def _aim(connection: apsw.Connection, model: EmbeddingModel) -> None:
    """Note what is being made; what an earlier run made of a third model goes."""
    wanted = json.dumps(asdict(model), ensure_ascii=False)
    found = row(connection, "SELECT value FROM meta WHERE key = ?", (_TARGET,))
    if found and found[0] == wanted:
        return
    with transaction(connection, "BEGIN IMMEDIATE"):
        _clear(connection)
        connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (_TARGET, wanted)).fetchall()


def _put_memories(
    connection: apsw.Connection, found: Sequence[tuple[Any, ...]], embedded: Sequence[tuple[bytes, ...]]
) -> None:
    made = [
        (pk, version, len(windows), b"".join(windows))
        for (pk, version, *_), windows in zip(found, embedded, strict=True)
    ]
    with transaction(connection, "BEGIN IMMEDIATE"):
        connection.executemany(
            "INSERT OR REPLACE INTO memory_reembedding (memory_pk, version, windows, vectors) VALUES (?, ?, ?, ?)", made
        ).fetchall()


def _put_procedures(
    connection: apsw.Connection, found: Sequence[tuple[Any, ...]], embedded: Sequence[tuple[bytes, ...]]
) -> None:
    made = [(pk, version, b"".join(windows)) for (pk, version, _), windows in zip(found, embedded, strict=True)]
    with transaction(connection, "BEGIN IMMEDIATE"):
        connection.executemany(
            "INSERT INTO procedure_reembedding (procedure_pk, version, vectors) VALUES (?, ?, ?)", made
        ).fetchall()


def _switch(connection: apsw.Connection, model: EmbeddingModel) -> None:
    with transaction(connection, "BEGIN IMMEDIATE"):
        connection.execute(
            "UPDATE embedding SET windows = r.windows, vectors = r.vectors FROM memory_reembedding r"
            " WHERE r.memory_pk = embedding.memory_pk"
        ).fetchall()
        connection.execute(
            "UPDATE procedure_version AS v SET vectors = r.vectors FROM procedure_reembedding r"
            " WHERE r.procedure_pk = v.procedure_pk AND r.version = v.version"
        ).fetchall()
        _clear(connection)
        change_model(connection, model)


def _clear(connection: apsw.Connection) -> None:
    for sql in (
        "DELETE FROM memory_reembedding",
        "DELETE FROM procedure_reembedding",
        f"DELETE FROM meta WHERE key = '{_TARGET}'",
    ):
        connection.execute(sql).fetchall()
