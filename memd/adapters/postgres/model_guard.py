"""Keeps vectors of two embedding models from ever being mixed in one database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING

from memd.adapters.postgres.connection import Connections
from memd.adapters.postgres.errors import translated
from memd.adapters.postgres.schema import get_meta
from memd.domain.errors import InvalidArgument, ModelMismatch, WrongState
from memd.domain.model import EmbeddingModel

if TYPE_CHECKING:
    from memd.adapters.postgres.connection import Connection

FLOAT32_BYTES = 4
MODEL, SUPERSEDED = "embedding_model", "superseded_model"
"""Keys in memd.meta: what the embeddings are of, and what they were of before."""
STILL = "LOCK TABLE memd.embedding IN ACCESS SHARE MODE;"
"""Before the first statement of a snapshot that reads embeddings: the change of model, which gives the table's name to
another one, waits for its end. Without it rows and model would be those of the snapshot, and the vectors of the new table."""


class ModelGuard:
    """``model`` is what the daemon embeds with, None while there is none."""

    def __init__(self, connections: Connections, model: EmbeddingModel | None) -> None:
        self._connections = connections
        self._model = model
        self._frozen = False

    async def check(self, embeddings: Sequence[bytes]) -> str:
        """Before a transaction that stores embeddings: the first ones freeze the database to their model. For the
        transaction to know (``Transaction.model``)."""
        if not embeddings:
            return ""
        model = self._model or await self.frozen()
        if model is None:
            raise WrongState("there is no embedding model to store embeddings of")
        if any(len(one) != model.dimensions * FLOAT32_BYTES for one in embeddings):
            raise InvalidArgument(f"an embedding must have {model.dimensions} dimensions", field="embeddings")
        if not self._frozen:
            await self.use(model)
        return stored(model)

    async def use(self, model: EmbeddingModel) -> None:
        """Freeze to a model; ModelMismatch when the database has another."""
        async with self._connections.own() as connection:
            with translated():
                async with connection.transaction():
                    await freeze(connection, model)
        self._model = model
        self._frozen = True

    async def frozen(self) -> EmbeddingModel | None:
        """The model the embeddings were made with; None before the first."""
        return await self._read(MODEL)

    async def superseded(self) -> EmbeddingModel | None:
        """The model they were made with before the database was changed; None when it never was."""
        return await self._read(SUPERSEDED)

    async def _read(self, key: str) -> EmbeddingModel | None:
        async with self._connections.own() as connection:
            with translated():
                async with connection.transaction():
                    return await frozen_model(connection, key)


async def frozen_model(connection: Connection, key: str = MODEL) -> EmbeddingModel | None:
    found = await get_meta(connection, key)
    return EmbeddingModel(**json.loads(found)) if found else None


async def freeze(connection: Connection, model: EmbeddingModel) -> None:
    """Write the model down once, whoever comes first."""
    await connection.execute(
        "INSERT INTO memd.meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
        MODEL,
        stored(model),
    )
    have = await frozen_model(connection)
    assert have is not None
    if identity(have) != identity(model):
        raise ModelMismatch(
            f"the database was written with the embedding model {have.model_id} ({have.digest[:12]}), "
            f"configured is {model.model_id} ({model.digest[:12]}): configure the old one, or change the database with: "
            f"memd reembed --precision {model.precision} --postgres URL"
        )


@cache
def stored(model: EmbeddingModel) -> str:
    """As memd.meta has it; asked for by every write."""
    return json.dumps(asdict(model), ensure_ascii=False)


def readable(model: EmbeddingModel) -> str:
    """SQL that is true while the database is of ``model``, looked at once a statement: embeddings read under it are never
    those of another one, whenever it changes. A snapshot of several statements must begin with STILL."""
    return f"(SELECT value::json ->> 'digest' FROM memd.meta WHERE key = '{MODEL}') = '{bytes.fromhex(model.digest).hex()}'"


def identity(model: EmbeddingModel) -> tuple[str, str, int, str]:
    """Models with the same one make embeddings that may be compared."""
    return model.model_id, model.digest, model.dimensions, model.precision
