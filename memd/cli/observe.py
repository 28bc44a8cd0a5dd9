"""``memd observe``."""

from __future__ import annotations

import argparse

from memd_client import Event, Overflow
from memd_client.types import ObservedEvent

from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.output import print_json
from memd.cli.values import batches

# Lines of stdin in one call.
BATCH = 64


def run(args: argparse.Namespace) -> int:
    """Append the text, or every line of stdin, and print the event ids."""
    if not args.session:
        raise CommandError("observe needs --session: events belong to one", USAGE_ERROR)
    overflow = Overflow.EXTRACT if args.extract else None
    seen: list[ObservedEvent] = []
    with connected(args) as client:
        for texts in batches(args.text, BATCH):
            events = [_event(text, args) for text in texts]
            observed = client.observe(events, overflow=overflow, keep_whole=args.whole).events
            seen += observed
            if not args.json:
                for event in observed:
                    merged = ", merged into an equal one" if event.merged else ""
                    extracted = ", an extract" if event.extracted else ""
                    print(f"{event.event_id}  {event.tokens} tokens{merged}{extracted}", flush=True)
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
