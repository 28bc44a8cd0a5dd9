"""Memories, queries and events an agent could have, made from a seed: no data set, the same texts on every machine.

A memory is one or two sentences of about 10 to 30 tokens; a query asks in other words for something of that kind. Names and
topics repeat as they do in real use, so that words have long and short posting lists.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SOURCE = tomllib.loads(Path(__file__).with_name("corpus.toml").read_text(encoding="utf-8"))
_SLOTS: Mapping[str, Sequence[str]] = {
    **_SOURCE["slots"],
    "date": [str(n) for n in range(1, 29)],
    "number": [str(n) for n in range(2, 60)],
}
# Slots that a template may use twice, with different values.
_SECONDS = {name: _SLOTS[name] for name in ("drink", "food", "tool", "number")}
_MEMORIES: Sequence[str] = _SOURCE["templates"]["memories"]
_QUERIES: Sequence[str] = _SOURCE["templates"]["queries"]
_EVENTS: Sequence[str] = _SOURCE["templates"]["events"]
PROCEDURES: Sequence[tuple[str, str, str]] = [(p["key"], p["trigger"], p["content"]) for p in _SOURCE["procedures"]]
"""Key, trigger and content of the how-tos a benchmark's agent knows."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Everything one seed gives. Each method starts from the seed again: the same call, the same texts."""

    seed: int

    def memories(self, count: int) -> list[str]:
        """``count`` different memories."""
        return _distinct(random.Random(f"{self.seed}/memories"), _MEMORIES, count)

    def queries(self, count: int) -> list[str]:
        """``count`` different queries."""
        return _distinct(random.Random(f"{self.seed}/queries"), _QUERIES, count)

    def events(self) -> Iterator[str]:
        """Texts of turns, without end; no two in a row are equal."""
        rng = random.Random(f"{self.seed}/events")
        last = ""
        while True:
            text = _filled(rng, rng.choice(_EVENTS))
            if text != last:
                yield text
            last = text

    def documents(self, count: int, sentences: int) -> list[str]:
        """``count`` texts of ``sentences`` sentences each."""
        rng = random.Random(f"{self.seed}/documents")
        return [" ".join(_filled(rng, rng.choice(_MEMORIES)) for _ in range(sentences)) for _ in range(count)]


def _distinct(rng: random.Random, templates: Sequence[str], count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(_filled(rng, rng.choice(templates)))
    return list(found)


def _filled(rng: random.Random, template: str) -> str:
    values = {name: rng.choice(options) for name, options in _SLOTS.items()}
    second = {f"{name}2": rng.choice([o for o in options if o != values[name]]) for name, options in _SECONDS.items()}
    return template.format(**values, **second)
