"""``memd remember``."""

from __future__ import annotations

import argparse
from datetime import timedelta

from memd_client import NewMemory
from memd_client.types import RememberedMemory

from memd.cli.connect import connected
from memd.cli.errors import USAGE_ERROR, CommandError
from memd.cli.flags import BULK_TIMEOUT_S
from memd.cli.output import print_json
from memd.cli.values import batches, metadata, moment

# Lines of stdin in one call: a batch is embedded before the reply, so a large one would outlast the deadline.
BATCH = 32


def run(args: argparse.Namespace) -> int:
    """Store the text, or every line of stdin, and print the ids."""
    if args.text == "-" and (args.id or args.supersedes):
        raise CommandError("--id and --supersedes go with one text, not with -", USAGE_ERROR)
    stored: list[RememberedMemory] = []
    with connected(args, timeout_s=BULK_TIMEOUT_S) as client:
        for texts in batches(args.text, BATCH):
            memories = [_memory(text, args) for text in texts]
            remembered = client.remember(memories, agent_private=args.agent_private).memories
            stored += remembered
            if not args.json:
                for memory in remembered:
                    print(f"{memory.memory_id}{'' if memory.created else '  (was there)'}", flush=True)
    if args.json:
        print_json(stored)
    return 0


def _memory(text: str, args: argparse.Namespace) -> NewMemory:
    return NewMemory(
        content=text,
        memory_id=args.id,
        metadata=metadata(args.metadata),
        tags=args.tag,
        source=args.source,
        speaker=args.speaker,
        event_time=moment(args.event_time),
        importance=args.importance,
        pinned=args.pinned,
        supersedes=args.supersedes,
        ttl=None if args.ttl is None else timedelta(seconds=args.ttl),
    )
