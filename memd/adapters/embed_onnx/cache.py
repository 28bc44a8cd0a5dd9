"""Where installed models live on disk, and how one is checked before it is trusted.

``<models>/all-MiniLM-L6-v2/<precision>/<digest>/{model.onnx, tokenizer.json, manifest.json}``. The digests of the files
are part of this program (``FORMS``), so nobody can slip another model under a store by editing the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
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
    for form in (
        Form("fp32", "dc298fd57d55b0b424b8befd39d5a4ebdff183382cd219e87035e9eacf616902", 89_876_786),
        Form("int8-a1", "5450b5eb97423dabb15e794c2e19b10e1bf5830954c34738792f18d2b7cfe71e", 23_093_941),
    )
}
DEFAULT_PRECISION = "int8-a1"
"""By the rule of docs/adr/0004: the fastest form whose retrieval cannot be told from fp32."""


def form_of(precision: str) -> Form:
    """The form called ``precision``; "" is the default one. InvalidArgument for any other name."""
    form = FORMS.get(precision or DEFAULT_PRECISION)
    if form is None:
        raise InvalidArgument(f"unknown precision {precision!r}: choose one of {', '.join(FORMS)}", field="precision")
    return form


def form_named(name: str) -> Form:
    """The form with this precision or model id. InvalidArgument for any other name."""
    for precision, form in FORMS.items():
        if name in (precision, form.model.model_id):
            return form
    raise InvalidArgument(f"embedding_model must be one of {', '.join(FORMS)}", field="embedding_model")


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


def verify(directory: Path) -> EmbeddingModel:
    """The model installed in ``directory``, its files checked against the digests of this program.

    ModelUnavailable, with one sentence that says what is wrong and what to do.
    """
    form = _form_in(directory)
    _check(directory / MODEL_FILE, form.sha256)
    _check(directory / TOKENIZER_FILE, TOKENIZER_SHA256)
    return form.model


def _form_in(directory: Path) -> Form:
    path = directory / MANIFEST_FILE
    with _readable(path):
        data = path.read_bytes()
    form = next((form for form in FORMS.values() if manifest(form) == data), None)
    if form is None:
        raise ModelUnavailable(
            f"the manifest of the embedding model in {directory} was changed or is of another memd: "
            "run `memd model install`"
        )
    return form


def _check(path: Path, expected_sha256: str) -> None:
    with _readable(path), path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected_sha256:
        raise ModelUnavailable(f"the embedding model file {path} was changed or is damaged: run `memd model install`")


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Translates what the file system says."""
    try:
        yield
    except FileNotFoundError as exc:
        raise ModelUnavailable(
            f"the embedding model is not installed ({path} is missing): run `memd model install`"
        ) from exc
    except OSError as exc:
        raise ModelUnavailable(
            f"the embedding model file {path} cannot be read ({exc.strerror}): run `memd model install`"
        ) from exc
