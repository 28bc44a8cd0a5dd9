"""``memd reembed``: another embedding model, while the daemon serves or for a stopped one's data."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from memd import config
from memd.adapters.embed_onnx import OnnxEmbedder, model_dir
from memd.adapters.sqlite.reembed import Reembedded, reembed
from memd.cli.connect import connected
from memd.cli.errors import CommandError
from memd.cli.flags import VERIFY_TIMEOUT_S
from memd.cli.output import note, print_json
from memd.cli.values import USAGE_ERROR


def run(args: argparse.Namespace) -> int:
    """Change the model; run again after an interruption, it goes on."""
    if args.cancel:
        return _cancel(args)
    if not args.precision:
        raise CommandError("--precision names the form to change to", USAGE_ERROR)
    return _offline(args) if args.offline or args.data_dir else _online(args)


def _online(args: argparse.Namespace) -> int:
    with connected(args, timeout_s=VERIFY_TIMEOUT_S) as client:
        last = said = None
        for last in client.reembed(args.precision):
            if last != said:
                said = last
                note(f"{last.phase}: {last.done:,} of {last.total:,} texts")
    if last is None or last.phase != "done":
        raise CommandError("it was cancelled, and everything is as it was")
    if args.json:
        print_json(last)
    else:
        print(f"the daemon serves with {last.embedding_model}")
    return 0


def _cancel(args: argparse.Namespace) -> int:
    if args.offline or args.data_dir:
        raise CommandError("--cancel is for a running daemon", USAGE_ERROR)
    with connected(args) as client:
        client.cancel_reembed()
    print("cancelled; everything is as it was")
    return 0


def _offline(args: argparse.Namespace) -> int:
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
        return await reembed(data_dir, embedder, lambda done, total: note(f"{done:,} of {total:,} texts"))
    finally:
        embedder.close()
