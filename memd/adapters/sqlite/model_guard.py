"""Keeps vectors of two embedding models from ever being mixed in one store."""

from __future__ import annotations

from collections.abc import Sequence

from memd.adapters.sqlite.schema import freeze_model, frozen_model
from memd.adapters.sqlite.transaction import Transaction
from memd.domain.errors import InvalidArgument, StoreBusy, WrongState
from memd.domain.model import EmbeddingModel

FLOAT32_BYTES = 4


class ModelGuard:
    """``model`` is what the daemon embeds with, None while there is none."""

    def __init__(self, model: EmbeddingModel | None) -> None:
        self._model = model
        self._frozen = False
        self._since = 0
        """Fences before this mark are of writes that were embedded with an earlier model."""

    def check(self, tx: Transaction, embeddings: Sequence[bytes], fence: int | None = None) -> None:
        """Before embeddings are stored: the first ones freeze the store to their model. ``fence``: the mark that was taken
        before they were made, None where they are known to be of the store's model. StoreBusy when the model has changed
        since."""
        if not embeddings:
            return
        if fence is not None and fence < self._since:
            raise StoreBusy("the embedding model was changed while this write was on its way; nothing was stored")
        model = self._model or frozen_model(tx.connection)
        if model is None:
            raise WrongState("there is no embedding model to store embeddings of")
        if any(len(one) != model.dimensions * FLOAT32_BYTES for one in embeddings):
            raise InvalidArgument(f"an embedding must have {model.dimensions} dimensions", field="embeddings")
        if not self._frozen:
            freeze_model(tx.connection, model)
            tx.after_commit.append(self._freeze)

    def _freeze(self) -> None:
        self._frozen = True

    def changed(self, model: EmbeddingModel, mark: int) -> None:
        """After the commit that gave the store another model, under this mark."""
        self._model = model
        self._since = mark

    def use(self, tx: Transaction, model: EmbeddingModel) -> None:
        """Freeze to a model before anything is embedded; ModelMismatch when the store has another."""
        freeze_model(tx.connection, model)
        self._model = model
        tx.after_commit.append(self._freeze)
