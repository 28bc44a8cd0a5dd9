"""The embedding model alone: the daemon's form of it, its tokenizer and its runtime settings, without queue or loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from memd.adapters.embed_onnx import cache, cpus
from memd.adapters.embed_onnx.pieces import WordPieces
from memd.adapters.embed_onnx.session import EncoderSession
from memd.adapters.embed_onnx.weights import TOKENIZER_FILE


class BareEncoder:
    """Word pieces and one run of the model a text, on as many threads as there are callers (at most one a CPU)."""

    def __init__(self, model_id: str, callers: int) -> None:
        """``model_id``: as the daemon reports it, ``NAME/PRECISION``. ModelUnavailable when it is not installed."""
        precision = model_id.rpartition("/")[2]
        directory = cache.model_dir(precision)
        cache.verify(directory)
        exact_int8 = precision != "fp32" and cpus.int8_saturates()
        self._session = EncoderSession(directory / cache.MODEL_FILE, exact_int8=exact_int8)
        self._pieces = WordPieces((directory / TOKENIZER_FILE).read_bytes())
        self._threads = min(callers, cpus.usable_cpus())

    def latencies_ms(self, texts: Sequence[str]) -> list[float]:
        """Milliseconds of each text."""
        if self._threads == 1:
            return [self._timed(text) for text in texts]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._timed, texts))

    def embeddings(self, texts: Sequence[str]) -> list[bytes]:
        """The embedding of each text's first window: float32 little-endian, unit length."""
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda text: self._session.embed(self._pieces.windows(text)[0]), texts))

    def tokens(self, text: str) -> int:
        """Word pieces of a text, special ones included."""
        return sum(len(ids) for ids in self._pieces.windows(text))

    def _timed(self, text: str) -> float:
        started = time.perf_counter()
        for ids in self._pieces.windows(text):
            self._session.embed(ids)
        return (time.perf_counter() - started) * 1e3
