"""The encoder as an ONNX graph: ``input_ids`` [1, L] in, one unit vector [1, 384] out.

Mean pooling and L2 normalisation are part of the graph; there is no attention mask because there is no padding (one
text per run). How a dense layer multiplies is a ``Multiply``: fp32 here, int8 in ``int8.py``; all else is shared.
The position table has 256 rows, so a longer input fails in the runtime instead of being cut.

The graph is written with the operators ONNX Runtime would fuse it to anyway (MultiHeadAttention, Gelu,
LayerNormalization). Never SkipLayerNormalization: its CPU kernel is a scalar loop, a third of the run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from memd.adapters.embed_onnx import onnx_file
from memd.adapters.embed_onnx.onnx_file import Graph
from memd.adapters.embed_onnx.weights import HEADS, HIDDEN, MAX_PIECES, Dense, Floats, Norm, Weights

INPUT = "input_ids"
OUTPUT = "embedding"
_MICROSOFT = "com.microsoft"
_EPSILON = 1e-12


class Multiply(Protocol):
    """A dense layer in some precision."""

    def add_to(self, graph: Graph, x: str, name: str) -> str:
        """Add ``x @ weight + bias`` under ``name``; returns the output's name."""


class Lookup(Protocol):
    """The word embedding table in some precision."""

    def add_to(self, graph: Graph, ids: str, name: str) -> str:
        """Add the gather of one row of 384 floats per id; returns the output's name."""


@dataclass(frozen=True)
class Fp32Multiply:
    dense: Dense

    def add_to(self, graph: Graph, x: str, name: str) -> str:
        weight = graph.constant(f"{name}/weight", self.dense.weight)
        product = graph.add("MatMul", [x, weight], name=f"{name}/matmul")
        return graph.add("Add", [product, graph.constant(f"{name}/bias", self.dense.bias)], name=name)


@dataclass(frozen=True)
class Fp32Lookup:
    words: Floats

    def add_to(self, graph: Graph, ids: str, name: str) -> str:
        return graph.add("Gather", [graph.constant(f"{name}/table", self.words), ids], name=name, axis=0)


@dataclass(frozen=True)
class EncoderLayer:
    """One layer ready to be written. A ``residual`` (384,) multiplies what goes round the dense layers: it undoes a
    scale that was folded into the norm before (None: nothing to undo)."""

    qkv: Multiply
    out: Multiply
    attention_residual: Floats | None
    attention_norm: Norm
    up: Multiply
    down: Multiply
    residual: Floats | None
    norm: Norm


@dataclass(frozen=True)
class Encoder:
    words: Lookup
    positions: Floats
    embedding_norm: Norm
    layers: Sequence[EncoderLayer]


def fp32(weights: Weights) -> Encoder:
    """The plain form: every parameter as it is in the file."""
    layers = [
        EncoderLayer(
            qkv=Fp32Multiply(layer.qkv),
            out=Fp32Multiply(layer.out),
            attention_residual=None,
            attention_norm=layer.attention_norm,
            up=Fp32Multiply(layer.up),
            down=Fp32Multiply(layer.down),
            residual=None,
            norm=layer.norm,
        )
        for layer in weights.layers
    ]
    return Encoder(Fp32Lookup(weights.words), weights.positions, weights.embedding_norm, layers)


def build(encoder: Encoder) -> bytes:
    """The bytes of ``model.onnx``; the same parameters give the same bytes on every machine."""
    graph = Graph("all-MiniLM-L6-v2")
    x = _embed(graph, encoder)
    for index, layer in enumerate(encoder.layers):
        x = _layer(graph, x, layer, f"layer{index}")
    pooled = graph.add("ReduceMean", [x, graph.constant("pool/axes", np.array([1], np.int64))], name="pool", keepdims=0)
    graph.add("LpNormalization", [pooled], name="normalize", outputs=[OUTPUT], axis=-1, p=2)
    return graph.serialize(
        inputs={INPUT: (onnx_file.INT64, (1, "pieces"))}, outputs={OUTPUT: (onnx_file.FLOAT, (1, HIDDEN))}
    )


def _embed(graph: Graph, encoder: Encoder) -> str:
    words = encoder.words.add_to(graph, INPUT, "words")
    shape = graph.add("Shape", [INPUT], name="positions/length", start=1, end=2)
    table = graph.constant("positions/table", encoder.positions.reshape(1, MAX_PIECES, HIDDEN))
    start = graph.constant("positions/start", np.array([0], np.int64))
    axis = graph.constant("positions/axis", np.array([1], np.int64))
    positions = graph.add("Slice", [table, start, shape, axis], name="positions")
    return _norm(graph, graph.add("Add", [words, positions], name="embed/sum"), encoder.embedding_norm, "embed")


def _norm(graph: Graph, x: str, norm: Norm, name: str) -> str:
    inputs = [x, graph.constant(f"{name}/gamma", norm.gamma), graph.constant(f"{name}/beta", norm.beta)]
    return graph.add("LayerNormalization", inputs, name=f"{name}/norm", axis=-1, epsilon=_EPSILON)


def _add_and_norm(graph: Graph, x: str, branch: str, scale: Floats | None, norm: Norm, name: str) -> str:
    if scale is not None:
        x = graph.add("Mul", [x, graph.constant(f"{name}/residual", scale)], name=f"{name}/unscaled")
    return _norm(graph, graph.add("Add", [branch, x], name=f"{name}/sum"), norm, name)


def _layer(graph: Graph, x: str, layer: EncoderLayer, name: str) -> str:
    qkv = layer.qkv.add_to(graph, x, f"{name}/qkv")
    parts = [f"{name}/{part}" for part in ("query", "key", "value")]
    graph.add("Split", [qkv], name=f"{name}/split", outputs=parts, axis=-1, num_outputs=3)
    attended = graph.add("MultiHeadAttention", parts, name=f"{name}/attend", domain=_MICROSOFT, num_heads=HEADS)
    out = layer.out.add_to(graph, attended, f"{name}/out")
    x = _add_and_norm(graph, x, out, layer.attention_residual, layer.attention_norm, f"{name}/attention")
    up = layer.up.add_to(graph, x, f"{name}/up")
    hidden = graph.add("Gelu", [up], name=f"{name}/gelu", domain=_MICROSOFT)
    down = layer.down.add_to(graph, hidden, f"{name}/down")
    return _add_and_norm(graph, x, down, layer.residual, layer.norm, f"{name}/feed")
