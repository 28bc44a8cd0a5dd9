"""``memd reembed``: another embedding model, while the daemon serves or for a stopped one's data."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from memd import config
from memd.adapters.embed_onnx import OnnxEmbedder, model_dir
from memd.adapters.postgres import PostgresSettings
from memd.adapters.postgres.reembed import reembed as reembed_postgres
from memd.adapters.sqlite.reembed import reembed
from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.flags import VERIFY_TIMEOUT_S
from memd.cli.output import note, print_json
from memd.domain.model import Reembedded


def run(args: argparse.Namespace) -> int:
    """Change the model; run again after an interruption, it goes on."""
    if args.cancel:
        return _cancel(args)
    if not args.precision:
        raise CommandError("--precision names the form to change to", USAGE_ERROR)
    return _offline(args) if args.offline or args.data_dir or args.postgres else _online(args)


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
    if args.offline or args.data_dir or args.postgres:
        raise CommandError("--cancel is for a running daemon", USAGE_ERROR)
    with connected(args) as client:
        client.cancel_reembed()
    print("cancelled; everything is as it was")
    return 0


def _offline(args: argparse.Namespace) -> int:
    if args.postgres and args.data_dir:
        raise CommandError("--postgres and --data-dir are two stores: name one", USAGE_ERROR)
    data_dir = Path(args.data_dir) if args.data_dir else config.default_data_dir(os.environ)
    done = asyncio.run(_reembed(args.postgres, data_dir, args.precision))
    if args.json:
        print_json({"model": done.model.model_id, "embedded": done.embedded, "resumed": done.resumed})
    else:
        what = "the database" if args.postgres else data_dir
        print(f"{what} is of {done.model.model_id}: {done.embedded:,} texts embedded, {done.resumed:,} before")
    return 0


async def _reembed(postgres: str | None, data_dir: Path, precision: str) -> Reembedded:
    embedder = OnnxEmbedder.load(model_dir(precision))
    try:
        if postgres:
            return await reembed_postgres(PostgresSettings(postgres), embedder, _say, _say_indexes)
        return await reembed(data_dir, embedder, _say)
    finally:
        embedder.close()


def _say(done: int, total: int) -> None:
    note(f"{done:,} of {total:,} texts")


def _say_indexes(done: int, total: int) -> None:
    note(f"{done:,} of {total:,} indexes of namespaces that Postgres searches")
