"""``memd reembed``: another embedding model for a stopped daemon's data."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from memd import config
from memd.adapters.embed_onnx import OnnxEmbedder, model_dir
from memd.adapters.sqlite.reembed import Reembedded, reembed
from memd.cli.output import print_json


def run(args: argparse.Namespace) -> int:
    """Change the model; run again after an interruption, it goes on."""
    data_dir = Path(args.data_dir) if args.data_dir else config.default_data_dir(os.environ)
    done = asyncio.run(_reembed(data_dir, args.precision))
    if args.json:
        print_json({"model": done.model.model_id, "embedded": done.embedded, "resumed": done.resumed})
    else:
        print(f"{data_dir} is of {done.model.model_id}: {done.embedded:,} texts embedded, {done.resumed:,} before")
    return 0


async def _reembed(data_dir: Path, precision: str) -> Reembedded:
    embedder = OnnxEmbedder.load(model_dir(precision))
    try:
        return await reembed(data_dir, embedder, _say)
    finally:
        embedder.close()


def _say(done: int, total: int) -> None:
    print(f"{done:,} of {total:,} texts", file=sys.stderr)
