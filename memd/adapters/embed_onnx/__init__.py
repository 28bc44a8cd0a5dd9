"""The embedding model: all-MiniLM-L6-v2, installed, verified and run on ONNX Runtime. See ``docs/encoder.md``.

What a daemon needs is here; ``memd model install`` is ``embed_onnx.install``.
"""

from memd.adapters.embed_onnx.cache import DEFAULT_PRECISION, FORMS, model_dir, models_dir
from memd.adapters.embed_onnx.embedder import AbsentEmbedder, OnnxEmbedder

__all__ = ["DEFAULT_PRECISION", "FORMS", "AbsentEmbedder", "OnnxEmbedder", "model_dir", "models_dir"]
