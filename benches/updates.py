"""Whether a Recall puts the value of now first, and the value of then when it is asked as of then.

The set is benches/data/updates: facts that are superseded, corrected or ended, or stay as they are, among plans that came to
nothing, old values that are quoted, near-copies and the same things of other people. Everything is written in the order of
time; then every question is a Recall at default settings, with ``as_of`` where it is about then. Half A is for work on the
product; half B was the final figure once; half C is kept for the next one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from memd_client import AsyncClient, Memory, NewMemory

from benches import report
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.population import user_client
from benches.report import Figure, Target, progress

DATA = Path(__file__).parent / "data" / "updates"
QUESTIONS_IN_FLIGHT = 4
TARGETS = (
    *(Target(key, ">=", 0.95) for key in ("now_first", "as_of_first", "now_in_5", "as_of_in_5")),
    Target("stale_shown", "<=", 0.0),
)
NOW, THEN = "now", "as_of"


@dataclass(frozen=True, slots=True)
class Question:
    """``gold`` is the memory to find, as ``content`` where its text was corrected; "" when the fact has ended: then
    ``ended`` is the memory that is no longer valid."""

    question_id: str
    kind: str
    text: str
    as_of: datetime | None = None
    gold: str = ""
    content: str = ""
    ended: str = ""
    oblique: bool = False

    @property
    def about(self) -> str:
        return THEN if self.as_of else NOW


@dataclass(frozen=True, slots=True)
class Answer:
    """``rank`` of the gold, from 1; None when it was not recalled."""

    question: Question
    found: tuple[Memory, ...]

    @property
    def rank(self) -> int | None:
        return next((rank for rank, memory in enumerate(self.found, 1) if self._is_gold(memory)), None)

    @property
    def shows_ended(self) -> bool:
        return any(memory.memory_id == self.question.ended for memory in self.found)

    def _is_gold(self, memory: Memory) -> bool:
        content = self.question.content
        return memory.memory_id == self.question.gold and content in ("", memory.content)


def read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def questions_of(half: str) -> list[Question]:
    """Every question of the half, in the file's order, which is mixed."""
    return [
        Question(
            line["id"],
            line["kind"],
            line["question"],
            _time(line, "as_of"),
            line.get("gold", ""),
            line.get("content", ""),
            line.get("ended", ""),
            line.get("oblique", False),
        )
        for line in read_lines(DATA / f"questions_{half}.jsonl")
    ]


async def write_all(client: AsyncClient, writes: Iterable[Mapping[str, Any]]) -> None:
    """One call a line, in order."""
    for line in writes:
        if line["op"] == "remember":
            memory = NewMemory(
                line["text"],
                memory_id=line["id"],
                speaker=line.get("speaker", ""),
                event_time=_time(line, "at"),
                supersedes=line.get("supersedes", ""),
            )
            await client.remember(memory)
        elif "valid_to" in line:
            await client.update(line["id"], valid_to=_time(line, "valid_to"))
        else:
            await client.update(line["id"], content=line["text"])


async def ask_all(client: AsyncClient, questions: Sequence[Question]) -> list[Answer]:
    """The answers in the order of the questions."""
    room = asyncio.Semaphore(QUESTIONS_IN_FLIGHT)

    async def ask(question: Question) -> Answer:
        async with room:
            reply = await client.recall(question.text, as_of=question.as_of)
        return Answer(question, tuple(hit.memory for hit in reply.memories))

    return await asyncio.gather(*map(ask, questions))


def score(answers: Sequence[Answer]) -> dict[str, Figure]:
    """Shares over the questions with a gold memory, then by kind of change and by wording."""
    figures: dict[str, Figure] = {}
    golden = [answer for answer in answers if answer.question.gold]
    for about in (NOW, THEN):
        these = [answer for answer in golden if answer.question.about == about]
        figures |= _shares(about, these)
        figures[f"{about}_questions"] = len(these)
    ended = [answer for answer in answers if answer.question.ended]
    figures["ended_questions"] = len(ended)
    for kind in sorted({answer.question.kind for answer in golden}):
        figures |= _part(kind, [answer for answer in golden if answer.question.kind == kind])
    for wording, oblique in (("plain wording", False), ("oblique wording", True)):
        figures |= _part(wording, [answer for answer in golden if answer.question.oblique == oblique])
    return figures


def _part(name: str, answers: Sequence[Answer]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for about in (NOW, THEN):
        these = [answer for answer in answers if answer.question.about == about]
        if these:
            figures[f"{name}, {about}"] = {**_shares(about, these), "questions": len(these)}
    return figures


def _shares(about: str, answers: Sequence[Answer]) -> dict[str, Figure]:
    ranks = [answer.rank for answer in answers]
    count = max(1, len(ranks))
    first, in_5 = sum(rank == 1 for rank in ranks), sum(rank is not None and rank <= 5 for rank in ranks)
    return {f"{about}_first": first / count, f"{about}_in_5": in_5 / count}


def misses(answers: Sequence[Answer]) -> list[Answer]:
    """What was not answered as it should be, in the order asked."""
    return [a for a in answers if (a.shows_ended if a.question.ended else a.rank != 1)]


def stale_share(answers: Sequence[Answer], lines: Mapping[str, Mapping[str, Any]]) -> float:
    """How many of the answers hold a value of the asked fact that is not the one of that moment."""

    def stale(answer: Answer) -> bool:
        question = answer.question
        fact = lines[question.gold or question.ended]["fact"]
        values = [
            m for m in answer.found if lines[m.memory_id]["fact"] == fact and lines[m.memory_id]["told"] == "value"
        ]
        return any(m.memory_id != question.gold or question.content not in ("", m.content) for m in values)

    return sum(map(stale, answers)) / max(1, len(answers))


def first_instead(answers: Iterable[Answer], lines: Mapping[str, Mapping[str, Any]]) -> dict[str, Figure]:
    """What stood in the gold's place: a distractor of the same fact by its name, or something of another fact."""
    found: Counter[str] = Counter()
    for answer in answers:
        if answer.question.gold and answer.found:
            first, gold = lines[answer.found[0].memory_id], lines[answer.question.gold]
            same_fact, same_subject = first["fact"] == gold["fact"], _subject(first) == _subject(gold)
            found[first["told"] if same_fact else "same subject" if same_subject else "other subject"] += 1
    return dict(found.most_common())


def show(answer: Answer, lines: Mapping[str, Mapping[str, Any]]) -> str:
    """A miss as a person reads it: the question, what came, what should have."""
    question = answer.question
    when = f" as of {question.as_of:%Y-%m-%d}" if question.as_of else ""
    shown = [f"{question.question_id} ({question.kind}, rank {answer.rank}) {question.text}{when}"]
    wanted = question.gold or question.ended
    for rank, memory in enumerate(answer.found, 1):
        mark = "=>" if memory.memory_id == wanted else "  "
        shown.append(f"  {mark} {rank} {_spoken(memory.speaker, memory.content)}   [{lines[memory.memory_id]['told']}]")
    if wanted not in [memory.memory_id for memory in answer.found]:
        line = lines[wanted]
        shown.append(f"  => - {_spoken(line.get('speaker', ''), question.content or line['text'])}")
    return "\n".join(shown)


def _spoken(speaker: str, text: str) -> str:
    return f"{speaker}: {text}" if speaker else text


def _subject(line: Mapping[str, Any]) -> str:
    return str(line["fact"]).partition("/")[0]


def _time(line: Mapping[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(line[name]) if name in line else None


async def measure(args: argparse.Namespace, address: str) -> dict[str, Figure]:
    """All figures; the misses go to standard error."""
    half = args.half.lower()
    writes = read_lines(DATA / f"writes_{half}.jsonl")
    questions = questions_of(half)
    if args.questions:
        questions = list(itertools.islice(questions, args.questions))
    async with user_client(address) as client:
        started = time.perf_counter()
        await write_all(client, writes)
        progress(f"{len(writes):,} writes in {time.perf_counter() - started:.1f} s")
        started = time.perf_counter()
        answers = await ask_all(client, questions)
        progress(f"{len(questions):,} questions in {time.perf_counter() - started:.1f} s")
        model = (await client.stats()).embedding_model
    lines = {line["id"]: line for line in writes if line["op"] == "remember"}
    missed = misses(answers)
    for answer in itertools.islice(missed, args.show):
        print(show(answer, lines), file=sys.stderr)
    return {
        "stale_shown": stale_share(answers, lines),
        **score(answers),
        "first_instead": first_instead(missed, lines),
        "half": args.half,
        "memories": len(lines),
        "embedding_model": model,
    }


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--half", choices=["A", "B", "C"], default="A", help="C is for the next final figure")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print the first N misses to standard error")
    parser.add_argument("--questions", type=int, default=0, help="only the first ones; 0 is all")
    args = parser.parse_args()
    with temporary_directory() as directory:
        daemon = MeasuredDaemon(directory)
        with running(daemon):
            found = asyncio.run(measure(args, daemon.address))
    report.publish("updates", args, found, TARGETS)


if __name__ == "__main__":
    main()
