"""``memd forget``."""

from __future__ import annotations

import argparse

from memd_client import Expr, ForgetReceipt

from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.flags import BULK_TIMEOUT_S
from memd.cli.output import print_fields, print_json, print_table
from memd.cli.values import chosen


def run(args: argparse.Namespace) -> int:
    """Delete and print the receipt."""
    matching = chosen(args)
    _check(args, matching)
    with connected(args, timeout_s=BULK_TIMEOUT_S) as client:
        receipt = client.forget(
            args.ids or None,
            filter=matching,
            everything=args.everything,
            all_users=args.all_users,
            task_ids=args.task,
            dry_run=args.dry_run,
        )
    if args.json:
        print_json(receipt)
    else:
        _show(receipt)
    return 0


def _check(args: argparse.Namespace, matching: Expr | None) -> None:
    if bool(args.ids) + (matching is not None) + args.everything != 1:
        raise CommandError("say what to forget in one way: ids, --tag/--where, or --everything", USAGE_ERROR)
    if (args.all_users or args.task) and not args.everything:
        raise CommandError("--all-users and --task go with --everything", USAGE_ERROR)


def _show(receipt: ForgetReceipt) -> None:
    counted = [(what, count) for what, count in receipt.counts.items() if count]
    print_table(("would be deleted" if receipt.dry_run else "deleted", "count"), counted)
    print_fields({"receipt": receipt.receipt_id, "out of reach": "; ".join(receipt.out_of_reach)})
