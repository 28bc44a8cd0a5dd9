"""What a namespace loses in ranking when Postgres searches it: the questions of benches.quality, asked of both kinds of index
over the same rows, with default ranking. Without a daemon: conversations are stored in a Postgres of its own.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benches import report
from benches.pgvector import SETTINGS
from benches.quality import questions_of, read_lines
from benches.report import Figure, Target, progress
from benches.scoring import Question, score
from benches.servers import database
from memd import _core
from memd.adapters.embed_onnx import OnnxEmbedder
from memd.adapters.embed_onnx.cache import form_of, model_dir
from memd.adapters.index import answered
from memd.adapters.postgres import PostgresSettings, PostgresStores
from memd.adapters.rows.memory import replica_index_row
from memd.domain.model import Memory, NewMemory, Scope
from memd.domain.spoken import spoken
from memd.domain.visibility import visible
from memd.limits import SECOND_US
from memd.ports import SearchOptions

TARGETS = (Target("lost_at_10", "<=", 0.02),)
LIMIT = 20
NOW_US = 1_800_000_000 * SECOND_US


def turns_of(directory: Path) -> Mapping[str, list[Memory]]:
    """The turns of each conversation, as benches.quality remembers them."""
    found: defaultdict[str, list[Memory]] = defaultdict(list)
    for line in read_lines(directory / "memories.jsonl"):
        at = datetime.fromisoformat(line["ts"]).replace(tzinfo=UTC)
        found[line["conv"]].append(
            Memory(
                line["id"],
                Scope(line["conv"], "", "", f"session-{line['session']}"),
                line["text"],
                speaker=line["speaker"],
                position=line["turn"],
                event_time=int(at.timestamp()) * SECOND_US,
            )
        )
    return found


async def store(stores: PostgresStores, embedder: OnnxEmbedder, conv: str, turns: Sequence[Memory]) -> None:
    for start in range(0, len(turns), 100):
        batch = turns[start : start + 100]
        embeddings = await embedder.memories([spoken(one.speaker, one.content) for one in batch])
        drafts = [NewMemory(one, windows) for one, windows in zip(batch, embeddings, strict=True)]
        await stores.memories.remember(conv, drafts, fence=0, writer="bench", request=None)


async def in_process(stores: PostgresStores, conv: str, dimensions: int) -> _core.NamespaceIndex:
    """What a replica holds of the same rows."""
    core = _core.NamespaceIndex(dimensions)
    async for batch in stores.changes.snapshot(conv):
        rows = [replica_index_row(one) for one in batch.memories]
        core.upsert([_core.IndexEntry(r.entry_id, r.version, r.text, r.embeddings, r.fields) for r in rows], 0)
    return core


async def measure(stores: PostgresStores, embedder: OnnxEmbedder, args: argparse.Namespace) -> dict[str, Figure]:
    questions = questions_of(args.data)
    asked: defaultdict[str, list[Question]] = defaultdict(list)
    for question in questions:
        asked[question.conv].append(question)
    index, dimensions = stores.pgvector(), form_of("").model.dimensions
    options = SearchOptions(limit=LIMIT, now_us=NOW_US)
    theirs: dict[str, list[str]] = {}
    ours: dict[str, list[str]] = {}
    for conv, turns in turns_of(args.data).items():
        await store(stores, embedder, conv, turns)
        await index.tables.build(conv)
        core = await in_process(stores, conv, dimensions)
        where = visible(Scope(conv), at_us=NOW_US, now_us=NOW_US)
        for question in asked[conv]:
            embedding = await embedder.query(question.text, bytes)
            found = await index.search(conv, question.text, embedding, where, options)
            expected = answered(core, question.text, embedding, where, options, 0)
            theirs[question.question_id] = [hit.entry_id for hit in found.hits]
            ours[question.question_id] = [hit.entry_id for hit in expected.hits]
        progress(f"{conv}: {len(asked[conv])} questions")
    pgvector, memory = score(questions, theirs), score(questions, ours)
    same = sum(theirs[one] == ours[one] for one in ours) / len(ours)
    return {
        **{f"pgvector_{name}": value for name, value in pgvector.items()},
        **{f"memory_{name}": value for name, value in memory.items()},
        "lost_at_10": memory["recall_at_10"] - pgvector["recall_at_10"],
        "same_lists": same,
    }


async def _run(url: str, args: argparse.Namespace) -> dict[str, Figure]:
    model = form_of("").model
    embedder = await asyncio.to_thread(OnnxEmbedder.load, model_dir())
    stores = await PostgresStores.open(PostgresSettings(url), model=model)
    try:
        return await measure(stores, embedder, args)
    finally:
        await stores.close()
        embedder.close()


def main() -> None:
    parser = report.arguments(__doc__ or "")
    parser.add_argument("--data", type=Path, required=True, help="memories.jsonl and questions.jsonl")
    args = parser.parse_args()
    with database(SETTINGS) as url:
        figures = asyncio.run(_run(url, args))
    report.publish("pgvector_quality", args, figures, TARGETS)


if __name__ == "__main__":
    main()
