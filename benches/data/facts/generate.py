"""Makes one half of the set from its templates and a seed: the same bytes every time.

A conversation is a list of events as an agent observes them: what user and assistant say, tool calls with verbose output,
decisions, errors. Facts lie between sentences that say nothing; a fact is kept by a summary when one of its lines has every
value of the fact's slots.
"""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HALVES = ("a", "b")
SEED = 20_260_301
"""The committed files are of this seed."""
CONVERSATIONS = 12
FACTS = 20
EMPTY_MESSAGES = 30
SAID_AROUND = (2, 6)
"""Sentences that say nothing in a message of user or assistant, least and most."""
TOOL_LINES = (5, 14)


@dataclass(frozen=True)
class Fact:
    """``values`` must stand together in one line of what is kept."""

    kind: str
    text: str
    values: tuple[str, ...]


def generate(half: str, seed: int = SEED) -> list[dict[str, Any]]:
    """The conversations of a half, each with ``events`` and ``facts``."""
    templates = tomllib.loads((HERE / f"templates_{half}.toml").read_text(encoding="utf-8"))
    rng = random.Random(f"{seed}/{half}")
    return [_conversation(rng, templates, f"{half}{number:02}") for number in range(1, CONVERSATIONS + 1)]


def lines(half: str, seed: int = SEED) -> str:
    """The file of a half."""
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in generate(half, seed))


def _conversation(rng: random.Random, templates: Mapping[str, Any], name: str) -> dict[str, Any]:
    facts = list(_facts(rng, templates))
    messages = [_message(rng, templates, fact.kind, fact.text) for fact in facts]
    for _ in range(EMPTY_MESSAGES):
        messages.append(_message(rng, templates, rng.choice(("user", "assistant", "assistant", "tool")), ""))
    rng.shuffle(messages)
    return {
        "conversation": name,
        "events": messages,
        "facts": [{"text": fact.text, "values": list(fact.values)} for fact in facts],
    }


def _facts(rng: random.Random, templates: Mapping[str, Any]) -> Iterator[Fact]:
    """FACTS different ones, every kind about as often."""
    seen: set[str] = set()
    kinds = list(templates["facts"])
    while len(seen) < FACTS:
        kind = kinds[len(seen) % len(kinds)]
        template = rng.choice(kind["say"])
        values = {slot: rng.choice(templates["slots"][slot]) for slot in re.findall(r"{(\w+)}", template)}
        text = template.format(**values)
        if text not in seen:
            seen.add(text)
            yield Fact(kind["kind"], text, tuple(values.values()))


def _message(rng: random.Random, templates: Mapping[str, Any], kind: str, said: str) -> dict[str, Any]:
    """One event; ``said`` lies somewhere in it."""
    if kind in ("DECISION", "ERROR"):
        return {"kind": kind, "role": "assistant", "content": said}
    least, most = TOOL_LINES if kind == "tool" else SAID_AROUND
    parts = [rng.choice(templates["filler"][kind]) for _ in range(rng.randint(least, most))]
    if said:
        parts.insert(rng.randrange(len(parts) + 1), said)
    if kind == "tool":
        return {"kind": "TOOL_CALL", "tool": "run", "content": "\n".join(parts)}
    return {"kind": "TURN", "role": kind, "content": " ".join(parts)}


def main() -> None:
    for half in HALVES:
        (HERE / f"conversations_{half}.jsonl").write_text(lines(half), encoding="utf-8")


if __name__ == "__main__":
    main()
