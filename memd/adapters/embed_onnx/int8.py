"""The int8 form of the encoder, derived from the authentic weights and the shipped calibration.

Two machines must derive the same file to the byte, so nothing is calibrated here and nothing is summed: the derivation is
elementwise IEEE float64 arithmetic, maxima and roundings, which give the same bits everywhere. What needed sums or a
model run (the scales, the shifts, the corrected biases, the changed roundings) is data: ``calibration/int8.safetensors.xz``.

The form ("A1" in docs/encoder.md): activations are quantised per run by DynamicQuantizeMatMul, after two transforms
that cost nothing at run time. *Shift*: a channel's mid-range is subtracted in the norm before and added back in the
biases. *Smooth* (SmoothQuant, Xiao et al. 2023): channels with outliers are divided by a scale that the weights' rows
are multiplied with. The input of ``down`` (a GELU output, with outliers in few tokens) is scaled per token instead.
Weights are symmetric int8 with a scale per output column.
"""

from __future__ import annotations

import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memd.adapters.embed_onnx import safetensors
from memd.adapters.embed_onnx.graph import Encoder, EncoderLayer
from memd.adapters.embed_onnx.onnx_file import Graph
from memd.adapters.embed_onnx.weights import HIDDEN, Dense, Floats, Norm, Weights

CALIBRATION_FILE = "int8.safetensors.xz"
INT8_MAX = 127
_MICROSOFT = "com.microsoft"

_GELU_MINIMUM = -0.17
"""GELU is never below -0.16998."""
_TOKEN_ZERO = np.uint8(20)
"""Steps below zero. 20 loses least over the calibration texts: 51 would suit tokens whose maximum is 0.7, but it is 2.3
at the median, and every step below -0.17 is wasted."""
_TOKEN_STEP = np.float32(1 / 235)
"""A token's scale is its maximum, so the 255 - 20 steps above zero reach it."""
_SMALLEST_TOKEN_SCALE = np.float32(-_GELU_MINIMUM * 235 / 20)
"""The scale at which the steps below zero just reach the minimum."""

Ints = NDArray[np.int8]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Tensors by name: ``layer{n}/{qkv,out,up}/{scale,shift}`` (inputs,), ``layer{n}/{qkv,out,up,down}/bias`` (outputs,),
    ``.../steps`` (bits, packed: the weights to round to the second nearest integer)."""

    tensors: Mapping[str, NDArray[Any]]

    def doubles(self, name: str) -> Doubles:
        return self.tensors[name].astype(np.float64)


@dataclass(frozen=True)
class Quantized:
    """A weight matrix as int8 (inputs, outputs), a scale per column, and the bias that goes with it."""

    weight: Ints
    scale: Floats
    bias: Floats


@dataclass(frozen=True)
class RunRangeMultiply:
    """Quantises its input over the range of the whole run."""

    dense: Quantized

    def add_to(self, graph: Graph, x: str, name: str) -> str:
        weight = graph.constant(f"{name}/weight", self.dense.weight)
        scale = graph.constant(f"{name}/scale", self.dense.scale)
        bias = graph.constant(f"{name}/bias", self.dense.bias)
        return graph.add("DynamicQuantizeMatMul", [x, weight, scale, "", bias], name=name, domain=_MICROSOFT)


@dataclass(frozen=True)
class TokenRangeMultiply:
    """Quantises its input, a GELU output, over the range of each token."""

    dense: Quantized

    def add_to(self, graph: Graph, x: str, name: str) -> str:
        axis = graph.constant("token/axis", np.array([-1], np.int64))
        least = graph.constant("token/least", np.array(_SMALLEST_TOKEN_SCALE))
        step = graph.constant("token/step", np.array(_TOKEN_STEP))
        zero = graph.constant("token/zero", np.array(_TOKEN_ZERO))
        top = graph.add("ReduceMax", [x, axis], name=f"{name}/top", keepdims=1)
        token = graph.add("Max", [top, least], name=f"{name}/token")
        unit = graph.add("Div", [x, token], name=f"{name}/unit")
        quantized = graph.add("QuantizeLinear", [unit, step, zero], name=f"{name}/quantized")
        weight = graph.constant(f"{name}/weight", self.dense.weight)
        scale = graph.constant(f"{name}/scale", self.dense.scale)
        inputs = [quantized, weight, step, scale, zero]
        product = graph.add("MatMulIntegerToFloat", inputs, name=f"{name}/product", domain=_MICROSOFT)
        scaled = graph.add("Mul", [product, token], name=f"{name}/scaled")
        return graph.add("Add", [scaled, graph.constant(f"{name}/bias", self.dense.bias)], name=name)


@dataclass(frozen=True)
class Int8Lookup:
    """The word table as int8 with a scale per row."""

    words: Ints
    scale: Floats

    def add_to(self, graph: Graph, ids: str, name: str) -> str:
        row = graph.add("Gather", [graph.constant(f"{name}/table", self.words), ids], name=f"{name}/row", axis=0)
        scale = graph.add("Gather", [graph.constant(f"{name}/scale", self.scale), ids], name=f"{name}/of", axis=0)
        whole = graph.add("Cast", [row], name=f"{name}/cast", to=1)
        return graph.add("Mul", [whole, scale], name=name)


def load_calibration() -> Calibration:
    """The shipped calibration."""
    packed = resources.files("memd.adapters.embed_onnx.calibration").joinpath(CALIBRATION_FILE).read_bytes()
    return Calibration(safetensors.parse(lzma.decompress(packed)))


def int8(weights: Weights, calibration: Calibration) -> Encoder:
    """The encoder with every dense layer in int8."""
    return Encoder(
        words=_quantize_rows(weights.words),
        positions=weights.positions,
        embedding_norm=fold_norm(weights.embedding_norm, calibration, "layer0/qkv"),
        layers=[_layer(weights, calibration, index) for index in range(len(weights.layers))],
    )


def folded(weights: Weights, calibration: Calibration, name: str) -> Doubles:
    """The weight matrix of ``name`` ("layer{n}/{qkv,out,up,down}"), the scales of its input multiplied into its rows.
    The value columns of ``qkv`` are divided by the scales of ``out``, whose input they are."""
    layer, dense = name.split("/")
    parameters: Dense = getattr(weights.layers[int(layer.removeprefix("layer"))], dense)
    matrix = parameters.weight.astype(np.float64)
    if dense == "down":
        return matrix
    matrix = matrix * calibration.doubles(f"{name}/scale")[:, None]
    if dense == "qkv":
        matrix[:, 2 * HIDDEN :] /= calibration.doubles(f"{layer}/out/scale")
    return matrix


def column_scales(matrix: Doubles) -> Doubles:
    """One scale per column so that the largest weight is 127 steps; rounded to float32, as the graph has it."""
    largest: Doubles = np.abs(matrix).max(axis=0)
    return (largest / INT8_MAX).astype(np.float32).astype(np.float64)


def fold_norm(norm: Norm, calibration: Calibration, consumer: str) -> Norm:
    """The norm that emits ``(x - shift) / scale`` for the dense layer ``consumer``."""
    scale, shift = calibration.doubles(f"{consumer}/scale"), calibration.doubles(f"{consumer}/shift")
    return Norm(
        (norm.gamma.astype(np.float64) / scale).astype(np.float32),
        ((norm.beta.astype(np.float64) - shift) / scale).astype(np.float32),
    )


def _round(steps: Doubles, calibration: Calibration, name: str) -> Doubles:
    """Weights to integers: to the nearest one, except where the calibration found the second nearest to be better."""
    nearest = np.rint(steps)
    changed = (
        np.unpackbits(calibration.tensors[f"{name}/steps"], count=nearest.size)
        .reshape(nearest.shape)
        .astype(np.float64)
    )
    second = np.where(steps >= nearest, 1.0, -1.0)
    return nearest + changed * second


def _layer(weights: Weights, calibration: Calibration, index: int) -> EncoderLayer:
    name, layer = f"layer{index}", weights.layers[index]
    last = index + 1 == len(weights.layers)
    return EncoderLayer(
        qkv=RunRangeMultiply(_quantize(weights, calibration, f"{name}/qkv")),
        out=RunRangeMultiply(_quantize(weights, calibration, f"{name}/out")),
        attention_residual=calibration.tensors[f"{name}/qkv/scale"],
        attention_norm=fold_norm(layer.attention_norm, calibration, f"{name}/up"),
        up=RunRangeMultiply(_quantize(weights, calibration, f"{name}/up")),
        down=TokenRangeMultiply(_quantize(weights, calibration, f"{name}/down")),
        residual=calibration.tensors[f"{name}/up/scale"],
        norm=layer.norm if last else fold_norm(layer.norm, calibration, f"layer{index + 1}/qkv"),
    )


def _quantize(weights: Weights, calibration: Calibration, name: str) -> Quantized:
    matrix = folded(weights, calibration, name)
    scale = column_scales(matrix)
    steps = np.clip(_round(matrix / scale, calibration, name), -INT8_MAX, INT8_MAX)
    return Quantized(steps.astype(np.int8), scale.astype(np.float32), calibration.tensors[f"{name}/bias"])


def _quantize_rows(words: Floats) -> Int8Lookup:
    rows = words.astype(np.float64)
    scale = (np.abs(rows).max(axis=1, keepdims=True) / INT8_MAX).astype(np.float32)
    scale = np.where(scale == 0, np.float32(1), scale)
    return Int8Lookup(np.rint(rows / scale.astype(np.float64)).astype(np.int8), scale)
