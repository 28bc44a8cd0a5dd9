"""How much of the evidence for real questions a Recall brings back, at default settings.

--data names a directory with memories.jsonl (id, conv, session, turn, speaker, text, body, ts) and questions.jsonl
(question_id, conv, question, category, gold): see docs/benchmarks.md. Each conversation is a namespace; every turn is
remembered as it was said, with session, position, speaker and time as fields; every question is a Recall with limit 20.
Then the same with all cues off (plain fusion), with each cue off (paired bootstrap intervals), and what is recognised as
not answerable. --headline leaves these out; --leave-one-out adds weights fitted on some conversations and used on others.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from memd_client import AsyncClient, NewMemory

from benches import abstention, report
from benches.asking import ask_all, ranked
from benches.chart import Bar, Chart, svg
from benches.cue_study import each_cue, leave_one_out
from benches.daemon import MeasuredDaemon, running, temporary_directory
from benches.population import remember_all
from benches.report import Figure, Target, median, progress
from benches.scoring import Question, counted, means, measures, score
from benches.servers import backend
from memd._core import default_cues
from memd.limits import SEARCH_MOVE_INTERVAL_S

MOVED_S = 600.0
TARGETS = (
    Target("recall_at_10", ">=", 0.78),
    Target("recall_at_20", ">=", 0.84),
    Target("ndcg_at_10", ">=", 0.61),
)


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


def by_category(questions: Sequence[Question], found: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """Measures of each category of the data set, the adversarial one too."""
    groups: defaultdict[str, list[dict[str, float]]] = defaultdict(list)
    for question in questions:
        if question.gold:
            groups[str(question.category)].append(measures(question, found.get(question.question_id, ())))
    return {name: {"questions": len(rows), **means(rows)} for name, rows in sorted(groups.items())}


async def measure(args: argparse.Namespace, address: str) -> tuple[dict[str, list[str]], dict[str, Figure]]:
    """The ranked ids and what there is to say about them."""
    questions = questions_of(args.data)
    if args.questions:
        questions = list(itertools.islice(questions, args.questions))
    conversations = {question.conv for question in questions}
    memories = {conv: m for conv, m in memories_of(args.data, args.content).items() if conv in conversations}
    async with AsyncClient(address) as client:
        started = time.perf_counter()
        for conv, turns in memories.items():
            await remember_all(client.scoped(namespace=conv), turns, conv)
        remembered_s = time.perf_counter() - started
        if args.index == "pgvector":
            await moved(client, memories, args.postgres_url)
        started = time.perf_counter()
        answers = await ask_all(client, questions)
        asked_s = time.perf_counter() - started
        progress(f"{len(questions):,} questions asked")
        found = ranked(answers)
        stored = sum(map(len, memories.values()))
        figures: dict[str, Figure] = {
            **score(questions, found),
            "questions": len(counted(questions)),
            "memories": stored,
            "returned_mean": sum(map(len, found.values())) / max(1, len(found)),
            "recall_p50_ms": median([answer.elapsed_ms for answer in answers.values()]),
            "remember_per_s": stored / remembered_s,
            "recall_per_s": len(questions) / asked_s,
            "embedding_model": (await client.stats()).embedding_model,
            "content": args.content,
            "category": by_category(questions, found),
        }
        if not args.headline:
            speakers = {conv: sorted({turn.speaker for turn in turns}) for conv, turns in memories.items()}
            figures |= await studies(client, questions, found, speakers, args)
        return found, figures


async def moved(client: AsyncClient, namespaces: Iterable[str], url: str) -> None:
    """Until Postgres searches them all."""
    for namespace in namespaces:
        await client.scoped(namespace=namespace).update_namespace_settings(index="pgvector")
    wanted = len(list(namespaces))
    connection = await asyncpg.connect(url)
    waited_s = 0.0
    while await connection.fetchval("SELECT count(*) FROM memd.search_namespace WHERE searchable") < wanted:
        if waited_s > MOVED_S:
            raise RuntimeError("the namespaces did not move to pgvector; the daemon's log says why")
        waited_s += await asyncio.sleep(SEARCH_MOVE_INTERVAL_S, SEARCH_MOVE_INTERVAL_S)
    await connection.close()
    await asyncio.sleep(3 * SEARCH_MOVE_INTERVAL_S)  # the daemon's next look
    progress(f"{wanted} namespaces moved to pgvector")


async def studies(
    client: AsyncClient,
    questions: Sequence[Question],
    found: Mapping[str, Sequence[str]],
    speakers: Mapping[str, Sequence[str]],
    args: argparse.Namespace,
) -> dict[str, Figure]:
    """Plain fusion, each cue's worth, abstention; with ``--leave-one-out`` fitted and held-out figures."""
    default = {q.question_id: measures(q, found[q.question_id]) for q in counted(questions)}
    off = dict.fromkeys(default_cues(), 0.0)
    plain = ranked(await ask_all(client, questions, cues=off))
    figures: dict[str, Figure] = {
        "plain_fusion": {**score(questions, plain), "category": by_category(questions, plain)},
        "cues": await each_cue(client, questions, default, args.seed),
        "abstention": await abstention.study(client, questions, speakers),
    }
    if args.leave_one_out:
        figures["leave_one_out"] = await leave_one_out(client, questions, default)
    return figures


def charts(figures: Mapping[str, Any]) -> list[Chart]:
    """Default settings beside plain fusion, overall and by category, and what is recognised as not answerable."""
    plain = figures["plain_fusion"]
    pairs = [(f"recall at {k}", figures[f"recall_at_{k}"], plain[f"recall_at_{k}"]) for k in (5, 10, 20)]
    pairs += [
        (f"recall at 10, category {name}", rows["recall_at_10"], plain["category"][name]["recall_at_10"])
        for name, rows in figures["category"].items()
    ]
    bars = [
        bar for label, ours, its in pairs for bar in (Bar(label, 100 * ours), Bar("plain fusion", 100 * its, "other"))
    ]
    curve = [
        Bar(f"below {threshold} ({100 * share['false']:.1f} % false)", 100 * share["recognised"])
        for threshold, share in figures["abstention"].get("by_threshold", {}).items()
    ]
    drawn = [Chart("Evidence found", "%", "more is better", bars)]
    return [*drawn, Chart("Unanswerable questions recognised", "%", "more is better", curve)] if curve else drawn


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
    parser.add_argument("--headline", action="store_true", help="only the default settings")
    parser.add_argument("--plot", type=Path, help="draw the figures there, as SVG; not with --headline")
    parser.add_argument("--leave-one-out", action="store_true", help="also fit weights, a few minutes")
    parser.add_argument("--questions", type=int, default=0, help="only the first ones; 0 is all")
    parser.add_argument("--index", choices=["memory", "pgvector"], default="memory", help="what searches")
    args = parser.parse_args()
    kind = "servers" if args.index == "pgvector" else "sqlite"
    with temporary_directory() as directory, backend(kind, directory) as environment:
        args.postgres_url = environment.get("MEMD_POSTGRES_URL", "")
        daemon = MeasuredDaemon(directory / "memd", environment=environment)
        with running(daemon):
            ranked, found = asyncio.run(measure(args, daemon.address))
    if args.results:
        write_results(args.results, ranked)
    if args.plot and not args.headline:
        args.plot.write_text(svg("benches.quality, default settings", charts(found)), encoding="utf-8")
    report.publish("quality", args, found, TARGETS)


if __name__ == "__main__":
    main()
