"""One ONNX Runtime session: word-piece ids in, the bytes of an embedding out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]

from memd.adapters.embed_onnx.graph import INPUT, OUTPUT
from memd.adapters.embed_onnx.weights import HIDDEN
from memd.domain.errors import ModelUnavailable

_LOG_ERRORS_ONLY = 3


class EncoderSession:
    """Safe to run from any number of threads at once; each run uses one thread and releases the GIL."""

    def __init__(self, model: Path, *, exact_int8: bool) -> None:
        """``exact_int8``: multiply int8 without 16-bit sums, for CPUs where those could clip (``cpus.int8_saturates``).

        ModelUnavailable when the runtime cannot load ``model``.
        """
        try:
            self._session = ort.InferenceSession(
                str(model),
                _options(exact_int8=exact_int8),
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        except (RuntimeError, ValueError) as exc:
            raise ModelUnavailable(
                "ONNX Runtime cannot load the embedding model; run `memd model install`, or update onnxruntime"
            ) from exc

    def embed(self, ids: Sequence[int]) -> bytes:
        """The unit embedding of one text: float32 little-endian, 384 * 4 bytes. One text per run: in the int8 form the
        ranges of activations are per run, so a text's embedding would otherwise depend on its neighbours."""
        (embedding,) = self._session.run([OUTPUT], {INPUT: np.array([ids], np.int64)})
        data: bytes = embedding.astype("<f4", copy=False).tobytes()
        return data


def mean_direction(embeddings: Sequence[bytes]) -> bytes:
    """The unit vector along the mean of ``embeddings``; of one, itself."""
    if len(embeddings) == 1:
        return embeddings[0]
    mean = np.frombuffer(b"".join(embeddings), "<f4").reshape(-1, HIDDEN).mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    return embeddings[0] if length == 0.0 else (mean / length).astype("<f4").tobytes()


def _options(*, exact_int8: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # no slower here, and the peak of one long text is given back
    options.log_severity_level = _LOG_ERRORS_ONLY
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if exact_int8:
        # The rewrite of int8 to uint8 weights is an extended optimisation. It must not be asked for where VNNI is: the
        # runtime would give up its VNNI kernels for the same products.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options
