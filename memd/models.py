"""Which embedding model a daemon serves with, its embedder and index, and the way to another one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from memd.adapters.embed_onnx import AbsentEmbedder, OnnxEmbedder
from memd.adapters.embed_onnx.cache import FORMS, Form, form_named, form_of, model_dir
from memd.adapters.embed_onnx.cpus import usable_cpus
from memd.adapters.generations import CurrentEmbedder, CurrentIndex, Generation, Generations
from memd.adapters.index import IndexFeed, RustNamespaceIndex
from memd.adapters.index_files import IndexFiles
from memd.adapters.model_switch import OnlineModelSwitch
from memd.config import Config, EmbeddingConfig
from memd.domain.errors import ConfigError, InvalidArgument, ModelUnavailable
from memd.domain.model import EmbeddingModel
from memd.limits import MEGABYTE
from memd.ports import Embedder
from memd.service.reembed import ReembedService
from memd.stores import Stores

logger = logging.getLogger(__name__)


async def served_form(config: EmbeddingConfig, stores: Stores) -> Form:
    """The form of the model that was asked for, else the one the store is frozen to, else the default. What was asked for is
    an old wish where the store was changed from just that since (docs/adr/0013)."""
    frozen, superseded = await stores.frozen_model(), await stores.superseded_model()
    known = frozen.precision if frozen is not None and frozen.precision in FORMS else ""
    try:
        wanted = form_of(config.precision or known)
    except InvalidArgument as exc:
        raise ConfigError(f"embedding.precision: {exc.message}") from exc
    if not known or wanted.model == frozen or wanted.model != superseded:
        return wanted
    logger.warning(
        "embedding.precision is %s, but the store was changed from that to %s, which is served: correct the configuration",
        config.precision,
        known,
    )
    return form_of(known)


def load_embedder(config: EmbeddingConfig, precision: str) -> Embedder:
    try:
        return OnnxEmbedder.load(
            model_dir(precision, _root(config)), threads=config.threads or None, query_cache_entries=config.query_cache
        )
    except ModelUnavailable as exc:
        logger.warning("no embedding, everything else serves: %s", exc.message)
        return AbsentEmbedder(exc)


def open_index(
    config: Config, stores: Stores, model: EmbeddingModel, files: IndexFiles | None = None
) -> RustNamespaceIndex:
    return RustNamespaceIndex(
        stores.local.index_source(model),
        model.dimensions,
        files=files,
        memory_bytes=config.index.memory_mb * MEGABYTE,
        threads=usable_cpus(),
    )


def index_files(stores: Stores, model: EmbeddingModel) -> IndexFiles:
    return IndexFiles(stores.data_dir, f"{model.model_id}/{model.digest}", model.dimensions)


@dataclass(frozen=True, slots=True)
class Serving:
    """What embeds and searches, whichever model that is by now; and the way to another one."""

    embedder: CurrentEmbedder
    index: CurrentIndex
    reembed: ReembedService


def serving(config: Config, stores: Stores, feed: IndexFeed, embedder: Embedder, index: RustNamespaceIndex) -> Serving:
    generations = Generations(Generation(embedder, index))
    current = CurrentEmbedder(generations)
    switch = OnlineModelSwitch(
        generations,
        feed,
        lambda model: model_dir(model.precision, _root(config.embedding)),
        partial(open_index, config, stores),
        partial(index_files, stores),
    )
    reembed = ReembedService(stores.reembedding, switch, lambda name: form_named(name).model, lambda: current.model)
    return Serving(current, CurrentIndex(generations), reembed)


def close_indexes(feed: IndexFeed) -> None:
    """Blocking. Whichever serves; of the one that is being made nothing is kept."""
    if feed.beside is not None:
        feed.beside.discard()
    if feed.index is not None:
        feed.index.close()


def _root(config: EmbeddingConfig) -> Path | None:
    return Path(config.model_dir) if config.model_dir else None
