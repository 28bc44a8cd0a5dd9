"""The embedding model: all-MiniLM-L6-v2, installed, verified and run on ONNX Runtime. See ``docs/encoder.md``."""

from memd.adapters.embed_onnx.cache import DEFAULT_PRECISION, FORMS, model_dir, models_dir
from memd.adapters.embed_onnx.embedder import AbsentEmbedder, OnnxEmbedder
from memd.adapters.embed_onnx.install import InstalledModel, install

__all__ = [
    "DEFAULT_PRECISION",
    "FORMS",
    "AbsentEmbedder",
    "InstalledModel",
    "OnnxEmbedder",
    "install",
    "model_dir",
    "models_dir",
]
