"""The embedding model: all-MiniLM-L6-v2, installed, verified and run on ONNX Runtime. See ``docs/encoder.md``.

What a daemon needs is here; ``memd model install`` is ``embed_onnx.install``.
"""

import os

# ONNX Runtime (1.31 for one) keeps a device id in the user's cache directory and sends its maker what it runs, unless this
# is set before it is loaded: whoever imports any module of this package comes through here first.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from memd.adapters.embed_onnx.cache import DEFAULT_PRECISION, FORMS, model_dir, models_dir
from memd.adapters.embed_onnx.embedder import AbsentEmbedder, OnnxEmbedder

__all__ = ["DEFAULT_PRECISION", "FORMS", "AbsentEmbedder", "OnnxEmbedder", "model_dir", "models_dir"]
