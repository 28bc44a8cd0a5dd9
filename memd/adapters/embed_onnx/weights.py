"""The authentic weights of all-MiniLM-L6-v2: what they are called, what they hash to, how they are laid out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memd.adapters.embed_onnx import safetensors
from memd.domain.errors import ModelUnavailable

MODEL_NAME = "all-MiniLM-L6-v2"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"

LAYERS = 6
HEADS = 12
HIDDEN = 384
MAX_PIECES = 256
"""The model was trained on texts of up to 256 word pieces, the two special tokens included."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Norm:
    """A layer normalisation: (384,) each."""

    gamma: Floats
    beta: Floats


@dataclass(frozen=True)
class Dense:
    """``y = x @ weight + bias``; weight is (inputs, outputs), the transpose of what the file holds."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True)
class Layer:
    """One transformer layer: attention (``qkv`` to ``attention_norm``), then feed-forward (``up`` to ``norm``)."""

    qkv: Dense
    out: Dense
    attention_norm: Norm
    up: Dense
    down: Dense
    norm: Norm


@dataclass(frozen=True)
class Weights:
    """All parameters. ``words``: (30522, 384). ``positions``: (256, 384), token type 0 already added."""

    words: Floats
    positions: Floats
    embedding_norm: Norm
    layers: tuple[Layer, ...]


def verify(data: bytes, expected_sha256: str, what: str) -> bytes:
    """``data`` itself when it hashes to ``expected_sha256``; ModelUnavailable otherwise."""
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected_sha256:
        raise ModelUnavailable(
            f"{what} is not the authentic file: its sha256 is {actual[:12]}..., not {expected_sha256[:12]}...; "
            "take it from another source with `memd model install --from SOURCE`"
        )
    return data


def parse(data: bytes) -> Weights:
    """The parameters in a (verified) ``model.safetensors``; nothing is computed but two additions and transposes."""
    tensors = safetensors.parse(data)
    token_type = tensors["embeddings.token_type_embeddings.weight"][0]
    return Weights(
        words=tensors["embeddings.word_embeddings.weight"],
        positions=tensors["embeddings.position_embeddings.weight"][:MAX_PIECES] + token_type,
        embedding_norm=_norm(tensors, "embeddings.LayerNorm"),
        layers=tuple(_layer(tensors, f"encoder.layer.{index}") for index in range(LAYERS)),
    )


def _norm(tensors: dict[str, NDArray[Any]], name: str) -> Norm:
    return Norm(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _dense(tensors: dict[str, NDArray[Any]], *names: str) -> Dense:
    return Dense(
        np.concatenate([tensors[f"{name}.weight"].T for name in names], axis=1),
        np.concatenate([tensors[f"{name}.bias"] for name in names]),
    )


def _layer(tensors: dict[str, NDArray[Any]], name: str) -> Layer:
    attention = f"{name}.attention.self"
    return Layer(
        qkv=_dense(tensors, f"{attention}.query", f"{attention}.key", f"{attention}.value"),
        out=_dense(tensors, f"{name}.attention.output.dense"),
        attention_norm=_norm(tensors, f"{name}.attention.output.LayerNorm"),
        up=_dense(tensors, f"{name}.intermediate.dense"),
        down=_dense(tensors, f"{name}.output.dense"),
        norm=_norm(tensors, f"{name}.output.LayerNorm"),
    )
