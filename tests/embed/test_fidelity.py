"""What is embedded is what the reference implementation embeds: PyTorch embeddings, token counts, STS-B."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from memd.adapters.embed_onnx import OnnxEmbedder
from memd.adapters.embed_onnx.pieces import WordPieces
from memd.adapters.embed_onnx.weights import TOKENIZER_FILE

DATA = Path(__file__).parents[3] / "shared" / "data"
FP32_MIN_COSINE = 0.9999
DEFAULT_MIN_COSINE = 0.999
ODD_MIN_COSINE = 0.995
MIN_STSB_SPEARMAN = 0.819
MAX_PIECES = 256

ODD = ("", " ", "a", "zzzzqqqq xxyyzz", "1234567890", "🚀 launched v2.0 🎉")
"""Reference texts that are no natural sentence."""


def reference() -> list[dict[str, Any]]:
    path = DATA / "minilm_reference.json"
    if not path.exists():
        pytest.skip(f"no reference embeddings: {path} is missing")
    items: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["items"]
    return items


def vectors(embeddings: list[tuple[bytes, ...]]) -> NDArray[np.float32]:
    """First windows, which are what an implementation that cuts at 256 pieces embeds."""
    return np.array([np.frombuffer(windows[0], "<f4") for windows in embeddings])


async def test_embeddings_equal_the_pytorch_reference(embedder: OnnxEmbedder, precision: str) -> None:
    items = reference()
    ours = vectors(await embedder.memories([item["text"] for item in items]))
    theirs = np.array([item["embedding"] for item in items])
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
    for item, cosine in zip(items, cosines, strict=True):
        natural = FP32_MIN_COSINE if precision == "fp32" else DEFAULT_MIN_COSINE
        least = ODD_MIN_COSINE if precision != "fp32" and item["text"] in ODD else natural
        assert cosine >= least, (item["text"], cosine)
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() < 1e-5


def test_token_counts_equal_the_reference(weights_dir: Path) -> None:
    pieces = WordPieces((weights_dir / TOKENIZER_FILE).read_bytes())
    for item in reference():
        assert len(pieces.windows(item["text"])[0]) == item["tokens"], item["text"]


async def test_stsb_spearman_of_the_default_form_is_that_of_the_model(load: Callable[..., OnnxEmbedder]) -> None:
    embedder = load()
    path = DATA / "stsb" / "sts-test.csv"
    if not path.exists():
        pytest.skip(f"no STS-B: {path} is missing")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) >= 7]
    texts = sorted({text for row in rows for text in row[5:7]})
    found = []
    for start in range(0, len(texts), 256):
        found += await embedder.memories(texts[start : start + 256])
    embedding = dict(zip(texts, vectors(found), strict=True))
    cosines = np.array([float(embedding[row[5]] @ embedding[row[6]]) for row in rows])
    assert spearman(cosines, np.array([float(row[4]) for row in rows])) >= MIN_STSB_SPEARMAN


def spearman(left: NDArray[np.float64], right: NDArray[np.float64]) -> float:
    return float(np.corrcoef(ranks(left), ranks(right))[0, 1])


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks with ties averaged."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2)[inverse]
