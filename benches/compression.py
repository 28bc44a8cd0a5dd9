"""How many facts of a conversation survive compression: the extractive summarizer beside keeping head and tail, or the first
part, in the same number of tokens.

Data: benches/data/facts (--half a; half b is for final figures). A fact is kept when one line of what is left has all of its
values.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benches import report
from benches.data.facts.generate import HALVES, HERE
from benches.report import Figure, Target, median
from memd import _core
from memd.adapters.summarize.extractive import ExtractiveSummarizer
from memd.domain import importance
from memd.domain.context import event_label
from memd.domain.model import Event, EventKind
from memd.ports import SummaryRequest

TARGETS = (Target("facts_kept_at_20", ">=", 0.6), Target("ratio_to_head_tail_at_20", ">=", 1.5))
SHARES = (10, 20, 40)
"""Per cent of the conversation's tokens."""


@dataclass(frozen=True, slots=True)
class Conversation:
    events: tuple[Event, ...]
    facts: tuple[tuple[str, ...], ...]

    @property
    def text(self) -> str:
        """All of it, one line an event, as the extracts have it."""
        return "\n".join(f"{event_label(event)}: {' '.join(event.content.split())}" for event in self.events)


def conversations(half: str) -> Iterator[Conversation]:
    for line in (HERE / f"conversations_{half}.jsonl").read_text(encoding="utf-8").splitlines():
        raw = json.loads(line)
        yield Conversation(tuple(map(_event, raw["events"])), tuple(tuple(fact["values"]) for fact in raw["facts"]))


def _event(raw: Mapping[str, Any]) -> Event:
    event = Event("", EventKind[raw["kind"]], raw["content"], role=raw.get("role", ""), tool_name=raw.get("tool", ""))
    value, reasons = importance.score(event)
    return replace(event, importance=value, importance_reasons=reasons)


def kept(text: str, facts: Sequence[Sequence[str]]) -> int:
    lines = text.splitlines()
    return sum(any(all(value in line for value in values) for line in lines) for values in facts)


def fitting(cut: Callable[[int], str], most: int, fits: Callable[[str], bool]) -> str:
    """The longest ``cut(size)`` that fits."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(cut(middle)) else (low, middle - 1)
    return cut(low)


def measure(args: argparse.Namespace) -> dict[str, Figure]:
    counter = _core.TokenCounter()
    summarizer = ExtractiveSummarizer(counter)
    stock = list(conversations(args.half))
    facts = sum(len(one.facts) for one in stock)
    figures: dict[str, Figure] = {"half": args.half, "conversations": len(stock), "facts": facts}
    milliseconds = []
    for share in SHARES:
        found = dict.fromkeys(("facts_kept", "head_tail", "first"), 0)
        for one in stock:
            text = one.text
            budget = counter.count(text) * share // 100
            fits = _fits(counter, budget)
            started = time.perf_counter()
            extract = summarizer.extract(SummaryRequest(one.events, budget)).text
            milliseconds.append((time.perf_counter() - started) * 1_000)
            found["facts_kept"] += kept(extract, one.facts)
            found["head_tail"] += kept(fitting(_ends_of(text), len(text) // 2, fits), one.facts)
            found["first"] += kept(fitting(_start_of(text), len(text), fits), one.facts)
        figures |= {f"{name}_at_{share}": count / facts for name, count in found.items()}
        figures[f"ratio_to_head_tail_at_{share}"] = found["facts_kept"] / max(1, found["head_tail"])
    return {**figures, "extract_p50_ms": median(milliseconds)}


def _fits(counter: _core.TokenCounter, budget: int) -> Callable[[str], bool]:
    return lambda text: counter.count(text) <= budget


def _ends_of(text: str) -> Callable[[int], str]:
    return lambda size: f"{text[:size]}\n{text[len(text) - size :]}"


def _start_of(text: str) -> Callable[[int], str]:
    return lambda size: text[:size]


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--half", choices=HALVES, default="a")
    args = parser.parse_args()
    report.publish("compression", args, measure(args), TARGETS)


if __name__ == "__main__":
    main()
