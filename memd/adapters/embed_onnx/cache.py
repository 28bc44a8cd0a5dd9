"""Where installed models live on disk, and how one is read back and trusted.

``<models>/all-MiniLM-L6-v2/<precision>/<digest>/{model.onnx, tokenizer.json, manifest.json}``. The digests of the files
are part of this program (``FORMS``), so nobody can slip another model under a store by editing the manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memd.adapters.embed_onnx.weights import HIDDEN, MAX_PIECES, MODEL_NAME, TOKENIZER_FILE, TOKENIZER_SHA256
from memd.domain.errors import InvalidArgument, ModelUnavailable
from memd.domain.model import EmbeddingModel

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
MANIFEST_FORMAT = 1
_DIGEST_PREFIX = 16


@dataclass(frozen=True)
class Form:
    """One precision of the encoder: the sha256 of the ``model.onnx`` every machine derives, and its size."""

    precision: str
    sha256: str
    size_bytes: int

    @property
    def model(self) -> EmbeddingModel:
        return EmbeddingModel(
            model_id=f"{MODEL_NAME}/{self.precision}",
            digest=self.sha256,
            dimensions=HIDDEN,
            precision=self.precision,
            max_tokens=MAX_PIECES,
        )


FORMS: Mapping[str, Form] = {
    form.precision: form
    for form in (Form("fp32", "dc298fd57d55b0b424b8befd39d5a4ebdff183382cd219e87035e9eacf616902", 89_876_786),)
}
DEFAULT_PRECISION = "fp32"


def form_of(precision: str) -> Form:
    """The form called ``precision``; "" is the default one. InvalidArgument for any other name."""
    form = FORMS.get(precision or DEFAULT_PRECISION)
    if form is None:
        raise InvalidArgument(f"unknown precision {precision!r}: choose one of {', '.join(FORMS)}", field="precision")
    return form


def models_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """``$MEMD_MODEL_DIR``, else ``memd/models`` in the user's cache directory."""
    if environ.get("MEMD_MODEL_DIR"):
        return Path(environ["MEMD_MODEL_DIR"])
    cache_home = environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "memd" / "models"


def model_dir(precision: str = "", root: Path | None = None) -> Path:
    """Where that form is or would be installed, whether it is there or not. ``root``: default ``models_dir()``."""
    form = form_of(precision)
    return (root or models_dir()) / MODEL_NAME / form.precision / form.sha256[:_DIGEST_PREFIX]


def manifest(form: Form) -> bytes:
    fields = {
        "format": MANIFEST_FORMAT,
        "model_id": form.model.model_id,
        "precision": form.precision,
        "dimensions": form.model.dimensions,
        "max_tokens": form.model.max_tokens,
        "sha256": {MODEL_FILE: form.sha256, TOKENIZER_FILE: TOKENIZER_SHA256},
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def read(directory: Path) -> tuple[EmbeddingModel, bytes, bytes]:
    """(model, bytes of model.onnx, bytes of tokenizer.json), digests checked: what is loaded is what was checked.

    ModelUnavailable, with one sentence that says what is wrong and what to do.
    """
    form = _form_in(directory)
    graph = _checked(directory / MODEL_FILE, form.sha256)
    tokenizer = _checked(directory / TOKENIZER_FILE, TOKENIZER_SHA256)
    return form.model, graph, tokenizer


def _form_in(directory: Path) -> Form:
    data = _read(directory / MANIFEST_FILE)
    form = next((form for form in FORMS.values() if manifest(form) == data), None)
    if form is None:
        raise ModelUnavailable(
            f"the manifest of the embedding model in {directory} was changed or is of another memd: "
            "run `memd model install`"
        )
    return form


def _checked(path: Path, expected_sha256: str) -> bytes:
    data = _read(path)
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        raise ModelUnavailable(f"the embedding model file {path} was changed or is damaged: run `memd model install`")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise ModelUnavailable(
            f"the embedding model is not installed ({path} is missing): run `memd model install`"
        ) from exc
    except OSError as exc:
        raise ModelUnavailable(
            f"the embedding model file {path} cannot be read ({exc.strerror}): run `memd model install`"
        ) from exc
