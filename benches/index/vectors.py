"""What the indexes are filled with and asked for: unit vectors of 384 dimensions, embedded sentences or made up."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benches.encoder import BareEncoder
from benches.index import sentences
from benches.index.engines.engine import Vectors
from benches.report import progress
from memd.adapters.embed_onnx import cache, cpus

DIMENSIONS = cache.form_of("").model.dimensions
ROW_BYTES = 4 * DIMENSIONS
_EMBED_BATCH = 2_048
_CLUSTER_SIZE = 100
_SPREAD = 0.9  # length of a member's offset from its centre: neighbours at cosines like those of the real data
_CHUNK_ROWS = 8_192


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to index and held-out queries, both of unit length."""

    rows: Vectors
    queries: Vectors


def sample(kind: str, rows: int, queries: int, seed: int) -> Sample:
    """``kind``: "real" or "synthetic". RuntimeError when there are not that many real ones."""
    found = _real(rows + queries) if kind == "real" else _synthetic(rows + queries, seed)
    return Sample(rows=np.ascontiguousarray(found[queries:]), queries=np.ascontiguousarray(found[:queries]))


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """``memd/bench-vectors`` in the user's cache directory."""
    cache_home = environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "memd" / "bench-vectors"


def _real(count: int) -> Vectors:
    """Embeddings of the first ``count`` sentences; the cache holds those of an earlier run, and grows by what is missing."""
    form = cache.form_of("")
    digest = hashlib.sha256(f"{form.sha256}/{sentences.digest()}".encode()).hexdigest()
    path = cache_dir() / f"{digest[:16]}.f32"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two runs must not append the same rows
        there = path.stat().st_size // ROW_BYTES
        file.truncate(there * ROW_BYTES)  # half a row that a kill left
        if there < count:
            progress("reading the docstrings of the installed packages")
            texts = sentences.sentences()
            if len(texts) < count:
                raise RuntimeError(f"this environment's docstrings hold {len(texts):,} sentences, {count:,} are needed")
            encoder = BareEncoder(form.model.model_id, cpus.usable_cpus())
            for start in range(there, count, _EMBED_BATCH):
                file.write(b"".join(encoder.embeddings(texts[start : min(count, start + _EMBED_BATCH)])))
                file.flush()
                progress(f"embedded {min(count, start + _EMBED_BATCH):,} of {count:,} sentences")
    return np.fromfile(path, "<f4", count * DIMENSIONS).reshape(count, DIMENSIONS)


def _synthetic(count: int, seed: int) -> Vectors:
    """Gaussian clusters of about 100 on the unit sphere, in random order."""
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((max(1, count // _CLUSTER_SIZE), DIMENSIONS), np.float32))
    found = np.empty((count, DIMENSIONS), np.float32)
    for start in range(0, count, _CHUNK_ROWS):
        size = min(_CHUNK_ROWS, count - start)
        offsets = rng.standard_normal((size, DIMENSIONS), np.float32) * np.float32(_SPREAD / DIMENSIONS**0.5)
        found[start : start + size] = _unit(centres[rng.integers(len(centres), size=size)] + offsets)
    return found


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
