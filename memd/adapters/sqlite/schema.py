"""The schema by numbered migrations, and the embedding model a file is frozen to."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources

import apsw

from memd.adapters.sqlite.connection import row, transaction
from memd.domain.errors import Corruption, ModelMismatch, SchemaTooNew
from memd.domain.model import EmbeddingModel

MIGRATIONS = (
    "0001_initial.sql",
    "0002_steps.sql",
    "0003_lifecycle.sql",
    "0004_summaries.sql",
    "0005_learning.sql",
    "0006_reembed.sql",
    "0007_page_order.sql",
    "0008_retention.sql",
    "0009_reembed_online.sql",
    "0010_session_erased.sql",
    "0011_tombstones.sql",
    "0012_recalls.sql",
    "0013_session_settings.sql",
)
_MODEL = "embedding_model"
_SUPERSEDED = "superseded_model"
TARGET_MODEL = "reembedding_model"
"""Key in meta of the model that the file is being changed to; the triggers of the schema know it too."""


def migrate(connection: apsw.Connection) -> None:
    """Bring the file to the newest schema, all steps in one transaction; SchemaTooNew for a file of a newer memd."""
    have = _version(connection)
    if have > len(MIGRATIONS):
        raise SchemaTooNew(
            f"the database has schema {have}, this memd knows {len(MIGRATIONS)}: it was written by a newer memd"
        )
    if have == len(MIGRATIONS):
        return
    with transaction(connection, "BEGIN IMMEDIATE"):
        for name in MIGRATIONS[have:]:
            connection.execute(_script(name)).fetchall()
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}").fetchall()


def _version(connection: apsw.Connection) -> int:
    found = row(connection, "PRAGMA user_version")
    assert found is not None
    version = int(found[0])
    if version == 0 and row(connection, "SELECT 1 FROM sqlite_schema LIMIT 1"):
        raise Corruption("the file is a database, but not one of memd")
    return version


def _script(name: str) -> str:
    return (resources.files("memd.adapters.sqlite") / "migrations" / name).read_text(encoding="utf-8")


def frozen_model(connection: apsw.Connection) -> EmbeddingModel | None:
    """The model the file's embeddings were made with; None before the first."""
    return read_model(connection, _MODEL)


def superseded_model(connection: apsw.Connection) -> EmbeddingModel | None:
    """The model the file was last changed from; None when it never was."""
    return read_model(connection, _SUPERSEDED)


def read_model(connection: apsw.Connection, key: str) -> EmbeddingModel | None:
    found = row(connection, "SELECT value FROM meta WHERE key = ?", (key,))
    return EmbeddingModel(**json.loads(found[0])) if found else None


def write_model(connection: apsw.Connection, key: str, model: EmbeddingModel) -> None:
    value = json.dumps(asdict(model), ensure_ascii=False)
    connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value)).fetchall()


def freeze_model(connection: apsw.Connection, model: EmbeddingModel) -> None:
    """Write the model down once; ModelMismatch when the file has another."""
    have = frozen_model(connection)
    if have is None:
        write_model(connection, _MODEL, model)
    elif not same_model(have, model):
        raise ModelMismatch(
            f"the store was written with the embedding model {have.model_id} ({have.digest[:12]}), "
            f"configured is {model.model_id} ({model.digest[:12]}): configure the old one, or change the store with: "
            f"memd reembed --precision {model.precision} --offline"
        )


def change_model(connection: apsw.Connection, model: EmbeddingModel) -> None:
    """Freeze to another model, in the transaction that has put its embeddings in the place of the old ones."""
    before = frozen_model(connection)
    if before is not None:
        write_model(connection, _SUPERSEDED, before)
    write_model(connection, _MODEL, model)


def forget_model(connection: apsw.Connection) -> None:
    """For a replica whose rows are gone."""
    connection.execute("DELETE FROM meta WHERE key = ?", (_MODEL,)).fetchall()


def same_model(one: EmbeddingModel, other: EmbeddingModel) -> bool:
    """Whether their embeddings may be compared."""
    return _identity(one) == _identity(other)


def _identity(model: EmbeddingModel) -> tuple[str, str, int, str]:
    return model.model_id, model.digest, model.dimensions, model.precision
