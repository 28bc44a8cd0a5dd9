"""``memd serve``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from memd import app, config
from memd.adapters.embed_onnx.weights import MODEL_NAME
from memd.cli.errors import USAGE_ERROR, CommandError

# Flag -> configuration key.
FLAGS: Mapping[str, str] = {
    "data_dir": "storage.data_dir",
    "redis": "redis.url",
    "postgres": "postgres.url",
    "socket": "server.socket",
    "listen": "server.listen",
    "token_file": "server.token_file",
    "insecure_loopback": "server.insecure_loopback",
    "metrics_listen": "server.metrics_listen",
    "health_listen": "server.health_listen",
    "log_level": "log.level",
}


def run(args: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop; its exit code."""
    overrides = {key: getattr(args, flag) for flag, key in FLAGS.items()}
    overrides["embedding.precision"] = _precision(args.model)
    return app.serve(config.load(Path(args.config) if args.config else None, overrides))


def _precision(model: str | None) -> str | None:
    """The precision of ``ID/PRECISION``, the one id there is."""
    if model is None:
        return None
    model_id, _, precision = model.rpartition("/")
    if model_id not in ("", MODEL_NAME):
        raise CommandError(f"the embedding model is {MODEL_NAME}, not {model_id}", USAGE_ERROR)
    return precision
