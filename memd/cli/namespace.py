"""``memd namespace``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from memd_client import Client, NamespaceSettings

from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.flags import BULK_TIMEOUT_S
from memd.cli.output import plain, print_fields, print_json
from memd.cli.values import retention, span

WORKING_MEMORY = (
    "working_max_items",
    "working_max_tokens",
    "compress",
    "compress_at",
    "compress_keep",
    "compress_to",
    "summary_share",
)
SETTINGS = (*WORKING_MEMORY, "episodic_max_items", "checkpoint_history", "index")
"""Flags that are the client's arguments as they are."""


def run(args: argparse.Namespace) -> int:
    """Print the settings of a namespace, or change some of them."""
    changes = given(args, SETTINGS)
    if args.episodic_ttl is not None:
        changes["episodic_ttl"] = span(args.episodic_ttl)
    changes |= retention(args)
    if bool(changes) != (args.action == "set"):
        raise CommandError("set wants at least one setting, show takes none", USAGE_ERROR)
    with connected(args, timeout_s=BULK_TIMEOUT_S) as client:
        settings = _set(client, args, changes) if changes else client.namespace_settings()
    shown = {name: value for name, value in plain(settings).items() if name != "receipt"}
    if args.json:
        print_json(shown)
    else:
        print_fields({name.replace("_", " "): value for name, value in shown.items()})
    return 0


def given(args: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """The flags of these names that are there."""
    return {name: getattr(args, name) for name in names if getattr(args, name) is not None}


def _set(client: Client, args: argparse.Namespace, changes: dict[str, Any]) -> NamespaceSettings:
    return client.update_namespace_settings(**changes, confirm_retention=args.confirm_retention)
