"""Another embedding model for a directory no daemon runs on.

The new embeddings are made in batches beside the old ones, each batch in a commit of its own, and take their place in one
transaction together with the model that the store is frozen to. Killed before that, the store is still one of the old model:
a daemon may run on it and goes on with the change, and so does the next run. Indexes that were saved are of the old model by
their name, and are built anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apsw

from memd.adapters.sqlite import reembed_rows
from memd.adapters.sqlite.connection import check_library, connect, transaction
from memd.adapters.sqlite.datadir import DataDir
from memd.adapters.sqlite.errors import translated
from memd.adapters.sqlite.replica import is_replica
from memd.adapters.sqlite.schema import frozen_model, migrate, same_model
from memd.domain.errors import ModelUnavailable, WrongState
from memd.domain.model import EmbeddingModel, Reembedded
from memd.limits import REEMBED_BATCH, REEMBED_CLEAR_ROWS
from memd.ports import Embedder

Progress = Callable[[int, int], None]
"""How many texts of how many are done."""
_WRITE = "BEGIN IMMEDIATE"


async def reembed(data_dir: Path, embedder: Embedder, progress: Progress) -> Reembedded:
    """Change the store to the embedder's model; takes the directory's lock. WrongState when a daemon has it, or it is a
    replica; ModelUnavailable. Nothing happens when the store is of that model already, but that a change to another one
    which was not finished is given up."""
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
        raise WrongState("the directory holds a copy of what is in Postgres: change that, with --postgres URL")
    aimed = reembed_rows.target(connection)
    if aimed is None or not same_model(aimed, model):
        with transaction(connection, _WRITE):
            reembed_rows.give_up(connection)
        _clear(connection)
    frozen = frozen_model(connection)
    if frozen is not None and same_model(frozen, model):
        return Reembedded(model, 0, 0)
    if reembed_rows.target(connection) is None:
        with transaction(connection, _WRITE):
            reembed_rows.aim(connection, model)
    resumed, total = reembed_rows.counts(connection)
    done = resumed
    progress(done, total)
    while read := reembed_rows.lacking(connection, REEMBED_BATCH):
        embedded = await embedder.memories([one.text for one in read])
        with transaction(connection, _WRITE):
            reembed_rows.put(connection, read, embedded)
        done += len(read)
        progress(done, total)
    with transaction(connection, _WRITE):
        reembed_rows.switch(connection, model)
    _clear(connection)
    return Reembedded(model, done - resumed, resumed)


def _clear(connection: apsw.Connection) -> None:
    more = 1
    while more:
        with transaction(connection, _WRITE):
            more = reembed_rows.clear(connection, REEMBED_CLEAR_ROWS)
