"""``memd list`` and ``memd get``."""

from __future__ import annotations

import argparse
import dataclasses
import json
from itertools import islice

from memd_client import Client, Memory

from memd.cli.connect import connected
from memd.cli.output import note, one_line, plain, print_fields, print_json, printable
from memd.cli.values import chosen, moment

PAGE = 100


def run(args: argparse.Namespace) -> int:
    """Print memories, or one of them whole."""
    with connected(args) as client:
        return _get(client, args) if args.command == "get" else _list(client, args)


def _list(client: Client, args: argparse.Namespace) -> int:
    size = min(args.limit + 1, PAGE) if args.limit else PAGE
    found = client.list(
        filter=chosen(args), page_size=size, include_invalid=args.include_invalid, as_of=moment(args.as_of)
    )
    memories = islice(found, args.limit or None)
    if args.json:
        print_json([_object(m) for m in memories])
        return 0
    for memory in memories:
        tags = f"  [{', '.join(memory.tags)}]" if memory.tags else ""
        when = memory.event_time or memory.create_time
        stamp = when.astimezone().strftime("%Y-%m-%d %H:%M") if when else " " * 16
        print(f"{memory.memory_id}  {stamp}{printable(tags)}  {one_line(memory.content)}")
    if next(found, None) is not None:
        note(f"there are more than {args.limit}; --limit 0 shows all")
    return 0


def _get(client: Client, args: argparse.Namespace) -> int:
    states = list(client.revisions(args.id)) if args.revisions else [client.get(args.id)]
    if args.json:
        print_json([_object(m) for m in states] if args.revisions else _object(states[0]))
        return 0
    for i, memory in enumerate(states):
        if i:
            print()
        _show(memory)
    return 0


def _show(memory: Memory) -> None:
    fields = _object(memory)
    del fields["scope"], fields["content"]
    flat = {**plain(memory.scope), **fields}
    words = {name: one_line(_word(value)) for name, value in flat.items() if value not in (None, "", [], {})}
    print_fields({**words, "content": printable(memory.content)})


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _object(memory: Memory) -> dict[str, object]:
    """The memory for printing; the receipt of a write, which a read does not have, is left out."""
    names = [f.name for f in dataclasses.fields(memory) if f.name != "receipt"]
    return {name: plain(getattr(memory, name)) for name in names}
