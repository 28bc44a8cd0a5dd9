"""Makes ``int8.safetensors.xz``: ``python -m memd.adapters.embed_onnx.calibration.calibrate WEIGHTS_DIR``.

Run once by whoever changes the int8 form, never on a user's machine: it uses matrix products, whose last bits differ
between machines. Its result is committed, and the sha256 of the graph derived from it is pinned in ``cache.FORMS``.

Steps: run the fp32 form over ``sentences`` and record the input of every dense layer; choose shift and smoothing scale
per channel; choose the rounding of each weight; correct the biases for the mean error the roundings leave.
"""

from __future__ import annotations

import lzma
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
from numpy.typing import NDArray

from memd.adapters.embed_onnx import graph, onnx_file, safetensors, weights
from memd.adapters.embed_onnx.calibration.sentences import sentences
from memd.adapters.embed_onnx.int8 import CALIBRATION_FILE, Calibration, column_scales, folded
from memd.adapters.embed_onnx.pieces import WordPieces
from memd.adapters.embed_onnx.weights import HIDDEN, LAYERS, Weights

Doubles = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]

ALPHA = {"qkv": 0.8, "out": 0.8, "up": 0.75}
"""How much of a channel's range moves into the weights (SmoothQuant's alpha), by dense layer."""
DAMPING = 0.5
"""Added to the diagonal of the covariance, as a share of its mean: without it the roundings fit the calibration texts and
not the next ones. Chosen on held-out texts: the error there is .75 of plain rounding at 0.02, .70 at 0.5, .70 at 1."""
SWEEPS = 4
MIN_GAIN = 0.03
"""A rounding is changed only when the output error falls by this share of what one step costs: keeps the file small."""


def record_inputs(encoder: Weights, pieces: WordPieces) -> dict[str, Doubles]:
    """The inputs of each dense layer over all calibration texts: (tokens, inputs) by ``layer{n}/{dense}``."""
    taps: dict[str, str] = {}
    for index in range(LAYERS):
        name = f"layer{index}"
        taps[f"{name}/qkv"] = f"layer{index - 1}/feed/norm" if index else "embed/norm"
        taps[f"{name}/out"] = f"{name}/attend"
        taps[f"{name}/up"] = f"{name}/attention/norm"
        taps[f"{name}/down"] = f"{name}/gelu"
    model = onnx_file.with_outputs(graph.build(graph.fp32(encoder)), list(taps.values()))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    runs = [
        session.run(list(taps.values()), {graph.INPUT: np.array([ids], np.int64)})
        for text in sentences()
        for ids in pieces.windows(text)
    ]
    return {
        name: np.concatenate([run[position][0] for run in runs]).astype(np.float64)
        for position, name in enumerate(taps)
    }


def choose_scales(encoder: Weights, inputs: dict[str, Doubles]) -> Tensors:
    """``scale`` and ``shift`` of each smoothed input, float32."""
    chosen: Tensors = {}
    for name, x in inputs.items():
        layer, dense = name.split("/")
        if dense == "down":
            continue
        shift = ((x.max(axis=0) + x.min(axis=0)) / 2).astype(np.float32)
        reach = np.abs(x - shift).max(axis=0)
        matrix = getattr(encoder.layers[int(layer.removeprefix("layer"))], dense).weight
        rows = np.abs(matrix.astype(np.float64)).max(axis=1)
        scale = reach ** ALPHA[dense] / rows ** (1 - ALPHA[dense])
        chosen[f"{name}/scale"] = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
        chosen[f"{name}/shift"] = shift
    return chosen


def fold_bias(encoder: Weights, calibration: Calibration, name: str) -> Doubles:
    """The bias of a dense layer after shifts and scales, before the correction."""
    layer, dense = name.split("/")
    parameters = getattr(encoder.layers[int(layer.removeprefix("layer"))], dense)
    bias: Doubles = parameters.bias.astype(np.float64)
    if dense != "down":
        bias = bias + calibration.doubles(f"{name}/shift") @ parameters.weight.astype(np.float64)
    if dense == "qkv":
        bias[2 * HIDDEN :] -= calibration.doubles(f"{layer}/out/shift")
        bias[2 * HIDDEN :] /= calibration.doubles(f"{layer}/out/scale")
    lost_on_residual = {"out": "qkv", "down": "up"}.get(dense)
    if lost_on_residual:
        bias = bias + calibration.doubles(f"{layer}/{lost_on_residual}/shift")
    return bias


def choose_roundings(steps: Doubles, x: Doubles) -> tuple[NDArray[np.uint8], Doubles]:
    """Which weights to round to the second nearest integer, bits packed; and the integers.

    ``steps``: weights in steps (inputs, outputs). Coordinate descent on the error of the layer's output over the
    calibration inputs, ``e^T H e`` per column with their covariance ``H`` (the objective of GPTQ, Frantar et al. 2023;
    centred, because the bias takes care of the mean), one change per weight, so that the result is one bit each.
    """
    centred = x - x.mean(axis=0)
    covariance = centred.T @ centred / len(x)
    diagonal = np.diagonal(covariance).copy()
    covariance[np.diag_indices_from(covariance)] += DAMPING * diagonal.mean()
    nearest = np.rint(steps)
    second = np.where(steps >= nearest, 1.0, -1.0)
    changed = np.zeros(steps.shape, bool)
    gradient = covariance @ (nearest - steps)
    order = np.argsort(-diagonal)
    for _ in range(SWEEPS):
        for row in order:
            move = np.where(changed[row], -second[row], second[row])
            cost = covariance[row, row]
            better = 2 * move * gradient[row] + cost < -MIN_GAIN * cost
            if better.any():
                columns = np.flatnonzero(better)
                gradient[:, columns] += np.outer(covariance[row], move[columns])
                changed[row, columns] ^= True
    integers = nearest + changed * second
    outside = np.abs(integers) > 127
    changed &= ~outside
    return np.packbits(changed), nearest + changed * second


def calibrate(directory: Path) -> Tensors:
    encoder = weights.parse((directory / weights.WEIGHTS_FILE).read_bytes())
    inputs = record_inputs(encoder, WordPieces((directory / weights.TOKENIZER_FILE).read_bytes()))
    tensors = choose_scales(encoder, inputs)
    calibration = Calibration(tensors)
    for name, x in inputs.items():
        folded_x = x if name.endswith("down") else (x - tensors[f"{name}/shift"]) / tensors[f"{name}/scale"]
        matrix = folded(encoder, calibration, name)
        scale = column_scales(matrix)
        tensors[f"{name}/steps"], integers = choose_roundings(matrix / scale, folded_x)
        correction = folded_x.mean(axis=0) @ (matrix - integers * scale)
        tensors[f"{name}/bias"] = (fold_bias(encoder, calibration, name) + correction).astype(np.float32)
        changed = np.unpackbits(tensors[f"{name}/steps"]).mean()
        print(f"{name}: {changed:.1%} of the roundings changed", file=sys.stderr)
    return tensors


def main() -> None:
    packed = lzma.compress(safetensors.serialize(calibrate(Path(sys.argv[1]))), preset=9 | lzma.PRESET_EXTREME)
    target = Path(__file__).with_name(CALIBRATION_FILE)
    target.write_bytes(packed)
    print(f"{target.name}: {len(packed):,} bytes")


if __name__ == "__main__":
    main()
