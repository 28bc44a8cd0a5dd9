"""``memd verify``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from memd import config
from memd.adapters.sqlite import verify_offline
from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.flags import VERIFY_TIMEOUT_S
from memd.cli.output import plain, print_fields, print_json


def run(args: argparse.Namespace) -> int:
    """Print what was compared and what is wrong; 1 when something is."""
    if args.offline:
        return _offline(args)
    if args.data_dir:
        raise CommandError("--data-dir goes with --offline", USAGE_ERROR)
    with connected(args, timeout_s=VERIFY_TIMEOUT_S) as client:
        found = client.verify()
    if args.json:
        print_json(found)
    else:
        print_fields({**plain(found), "problems": "; ".join(found.problems)})
    return 0 if found.ok else 1


def _offline(args: argparse.Namespace) -> int:
    data_dir = Path(args.data_dir) if args.data_dir else config.default_data_dir(os.environ)
    problems = verify_offline(data_dir)
    if args.json:
        print_json({"ok": not problems, "data_dir": str(data_dir), "problems": problems})
    else:
        print("\n".join(problems) or f"{data_dir}: nothing is wrong")
    return 1 if problems else 0
