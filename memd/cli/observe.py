"""``memd observe``."""

from __future__ import annotations

import argparse

from memd_client import Event, Overflow
from memd_client.types import ObservedEvent

from memd.cli.connect import connected
from memd.cli.errors import CommandError
from memd.cli.output import print_json
from memd.cli.values import USAGE_ERROR, batches

# Lines of stdin in one call.
BATCH = 64


def run(args: argparse.Namespace) -> int:
    """Append the text, or every line of stdin, and print the event ids."""
    if not args.session:
        raise CommandError("observe needs --session: events belong to one", USAGE_ERROR)
    overflow = Overflow.EXTRACT if args.extract else Overflow.REFUSE
    seen: list[ObservedEvent] = []
    with connected(args) as client:
        for texts in batches(args.text, BATCH):
            observed = client.observe([_event(text, args) for text in texts], overflow=overflow).events
            seen += observed
            if not args.json:
                for event in observed:
                    merged = ", merged into an equal one" if event.merged else ""
                    print(f"{event.event_id}  {event.tokens} tokens{merged}", flush=True)
    if args.json:
        print_json(seen)
    return 0


def _event(text: str, args: argparse.Namespace) -> Event:
    return Event(
        content=text,
        kind=args.kind,
        role=args.role,
        tool_name=args.tool,
        outcome=args.outcome,
        resolves=args.resolves,
        ephemeral=args.ephemeral,
    )
