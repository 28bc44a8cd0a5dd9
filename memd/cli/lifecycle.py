"""``memd lifecycle``."""

from __future__ import annotations

import argparse

from memd.cli.connect import connected
from memd.cli.flags import VERIFY_TIMEOUT_S
from memd.cli.output import plain, print_fields, print_json


def run(args: argparse.Namespace) -> int:
    """Run a step of one job, or of all of them, in the daemon."""
    with connected(args, timeout_s=VERIFY_TIMEOUT_S) as client:
        ran = client.run_lifecycle(args.job, dry_run=args.dry_run)
    if args.json:
        print_json(ran)
    else:
        print_fields(plain(ran))
    return 0
