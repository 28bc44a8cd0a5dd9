"""How much of the evidence for real questions a Recall brings back, at default settings.

--data names a directory with memories.jsonl (id, conv, session, turn, speaker, text, body, ts) and questions.jsonl
(question_id, conv, question, category, gold): see docs/benchmarks.md. Each conversation is a namespace; every turn is
remembered as it was said, with session, position, speaker and time as fields; every question is a Recall with limit 20.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memd_client import AsyncClient, NewMemory

from benches import report
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.population import remember_all
from benches.report import Figure, Target, progress
from benches.scoring import ADVERSARIAL_CATEGORY, Question, score

LIMIT = 20
QUESTIONS_IN_FLIGHT = 4
TARGETS = (Target("recall_at_10", ">=", 0.67),)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def questions_of(directory: Path) -> list[Question]:
    """Every question of the data set."""
    return [
        Question(line["question_id"], line["conv"], line["question"], line["category"], frozenset(line["gold"]))
        for line in read_lines(directory / "questions.jsonl")
    ]


def memories_of(directory: Path, content: str) -> Mapping[str, list[NewMemory]]:
    """The turns of each conversation. ``content``: the field that is remembered, "text" (``Speaker: words``) or "body"."""
    found: defaultdict[str, list[NewMemory]] = defaultdict(list)
    for line in read_lines(directory / "memories.jsonl"):
        memory = NewMemory(
            line[content],
            memory_id=line["id"],
            session_id=f"session-{line['session']}",
            position=line["turn"],
            speaker=line["speaker"],
            event_time=datetime.fromisoformat(line["ts"]).replace(tzinfo=UTC),
        )
        found[line["conv"]].append(memory)
    return found


async def ask_all(client: AsyncClient, questions: Sequence[Question]) -> dict[str, list[str]]:
    """Question id to the ids of the memories recalled, best first."""
    ranked: dict[str, list[str]] = {}
    waiting = iter(questions)

    async def caller() -> None:
        for question in waiting:
            view = client.scoped(namespace=question.conv)
            found = await view.recall(question.text, limit=LIMIT)
            ranked[question.question_id] = [hit.memory.memory_id for hit in found.memories]

    async with asyncio.TaskGroup() as group:
        for _ in range(QUESTIONS_IN_FLIGHT):
            group.create_task(caller())
    return ranked


async def measure(args: argparse.Namespace, address: str) -> tuple[dict[str, list[str]], dict[str, Figure]]:
    """The ranked ids and what there is to say about them."""
    questions = questions_of(args.data)
    if args.questions:
        questions = list(itertools.islice(questions, args.questions))
    conversations = {question.conv for question in questions}
    async with AsyncClient(address) as client:
        started = time.perf_counter()
        stored = 0
        for conv, memories in memories_of(args.data, args.content).items():
            if conv in conversations:
                await remember_all(client.scoped(namespace=conv), memories, conv)
                stored += len(memories)
        remembered_s = time.perf_counter() - started
        started = time.perf_counter()
        ranked = await ask_all(client, questions)
        progress(f"{len(questions):,} questions asked")
        asked_s = time.perf_counter() - started
        model = (await client.stats()).embedding_model
    return ranked, {
        **score(questions, ranked),
        "questions": sum(bool(q.gold) and q.category != ADVERSARIAL_CATEGORY for q in questions),
        "memories": stored,
        "returned_mean": sum(map(len, ranked.values())) / max(1, len(ranked)),
        "remember_per_s": stored / remembered_s,
        "recall_per_s": len(questions) / asked_s,
        "embedding_model": model,
        "content": args.content,
    }


def write_results(path: Path, ranked: Mapping[str, Sequence[str]]) -> None:
    """``{"question_id", "ranked"}`` lines, for any other scorer."""
    with path.open("w", encoding="utf-8") as lines:
        for question_id, ids in sorted(ranked.items()):
            lines.write(json.dumps({"question_id": question_id, "ranked": list(ids)}) + "\n")


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, required=True, help="directory of the data set")
    parser.add_argument("--results", type=Path, help="write the ranked ids there, as JSON lines")
    parser.add_argument("--content", choices=["text", "body"], default="text", help="what is remembered of a turn")
    parser.add_argument("--questions", type=int, default=0, help="only the first ones; 0 is all")
    args = parser.parse_args()
    with temporary_directory() as directory:
        daemon = MeasuredDaemon(directory)
        with running(daemon):
            ranked, found = asyncio.run(measure(args, daemon.address))
    if args.results:
        write_results(args.results, ranked)
    report.publish("quality", args, found, TARGETS)


if __name__ == "__main__":
    main()
