"""``memd backup`` and ``memd restore``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from memd import config
from memd.adapters.sqlite.backup import DIRECTORY, restore
from memd.cli.connect import connected
from memd.cli.flags import VERIFY_TIMEOUT_S
from memd.cli.output import plain, print_fields, print_json


def run(args: argparse.Namespace) -> int:
    """Make a backup through the running daemon, or restore one where none runs."""
    return _restore(args) if args.command == "restore" else _backup(args)


def _backup(args: argparse.Namespace) -> int:
    with connected(args, timeout_s=VERIFY_TIMEOUT_S) as client:
        made = client.backup(args.name)
    if made.not_included:
        _say(f"not in the backup, since Redis has them: {', '.join(made.not_included)}")
    if args.json:
        print_json(made)
    else:
        print_fields(plain(made))
    return 0


def _restore(args: argparse.Namespace) -> int:
    data_dir = Path(args.data_dir) if args.data_dir else config.default_data_dir(os.environ)
    named = data_dir / DIRECTORY / args.name
    backup = named if os.sep not in args.name and named.is_dir() else Path(args.name)
    restored = restore(data_dir, backup, replace=args.replace, progress=_say)
    if args.json:
        print_json(restored)
    else:
        print(f"restored {restored.bytes:,} bytes; {restored.forgotten:,} entries had been forgotten since and stay so")
    return 0


def _say(what: str) -> None:
    print(what, file=sys.stderr)
