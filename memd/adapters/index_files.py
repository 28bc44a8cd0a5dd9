"""Saved indexes: files that spare a start the work of building an index from its rows.

One file an index, ``KEY.SEQ.MARK.index``: KEY is a digest of namespace and kind, SEQ the change number it was saved at, MARK
that of the change log there. The core writes it to a temporary name, syncs it, renames it and syncs the directory. A file is
a cache and never trusted: one of another model, format or history is deleted, a damaged one is put aside as ``KEY.damaged``,
and the rows are read instead. A file holds words of the memories in it, so it goes as soon as one of them is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from memd import _core
from memd.ports import INDEX_KINDS

DIRECTORY = "index"
DIRECTORY_MODE = 0o700
_KEY_DIGITS = 32
_SAVED = ".index"
_NO_MARK = "-"
_DAMAGED = ".damaged"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SavedIndex:
    """An index as it was at change number ``seq``, where the change log had ``mark``."""

    core: _core.NamespaceIndex
    seq: int
    mark: str


class IndexFiles:
    """The saved indexes below ``data_dir``, of embeddings of ``model`` (its id and digest)."""

    def __init__(self, data_dir: Path, model: str, dimensions: int) -> None:
        self._directory = data_dir / DIRECTORY
        self._model = model
        self._dimensions = dimensions
        self._lock = threading.Lock()
        self._paths: dict[str, set[Path]] = {}
        """By key. Kept in memory: a delete asks for it, and must not read a directory."""
        self._directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        for path in self._directory.iterdir():
            if path.suffix == _SAVED and _parts(path) is not None:
                self._paths.setdefault(_key_of(path), set()).add(path)
            else:
                path.unlink()

    def load(self, namespace: str, kind: str) -> SavedIndex | None:
        """Blocking. The newest saved index that is whole; None when there is none."""
        for path in sorted(self._saved(_key(namespace, kind)), key=_seq, reverse=True):
            try:
                core, seq = _core.NamespaceIndex.load(path, self._model, self._dimensions, _subject(namespace, kind))
            except FileNotFoundError:
                continue
            except _core.SnapshotStale:
                path.unlink(missing_ok=True)
                continue
            except (_core.SnapshotCorrupt, OSError) as exc:
                log.warning("a saved index is damaged and was put aside: %s", type(exc).__name__)
                self._put_aside(path)
                continue
            parts = _parts(path)
            if parts is not None and parts[0] == seq:
                return SavedIndex(core, *parts)
        return None

    def write(self, namespace: str, kind: str, core: _core.NamespaceIndex, seq: int, mark: str) -> Path:
        """Blocking. Save beside what is there: ``publish`` or ``discard`` must follow. ``seq``: what ``core`` surely
        includes. Raises OSError, and nothing is left then."""
        path = self._directory / f"{_key(namespace, kind)}.{seq}.{mark or _NO_MARK}{_SAVED}"
        try:
            core.save(path, self._model, _subject(namespace, kind), seq)
        except OSError:
            self.discard(path)  # the directory may not have been synced
            raise
        return path

    def publish(self, written: Path) -> None:
        """What was written replaces what was saved before."""
        with self._lock:
            old = self._paths.get(_key_of(written), set()) - {written}
            self._paths[_key_of(written)] = {written}
        for path in old:
            self._unlink(path)

    def discard(self, written: Path) -> None:
        """What was written is not wanted any more."""
        self._unlink(written)

    def remove(self, namespace: str, kind: str) -> None:
        """Delete what is saved, damaged files too; at once where there is nothing."""
        with self._lock:
            paths = self._paths.pop(_key(namespace, kind), set())
        for path in paths:
            self._unlink(path)

    def remove_all(self) -> None:
        """Delete everything that is saved."""
        with self._lock:
            paths = [path for kept in self._paths.values() for path in kept]
            self._paths.clear()
        for path in paths:
            self._unlink(path)

    def reconcile(self, namespaces: Iterable[str], erased: Callable[[str, str, int], bool]) -> None:
        """Blocking; at start. Delete what a daemon that fell had no time to: files of no namespace there is, and those
        from before something was ``erased`` (namespace, kind, change number)."""
        known = {_key(namespace, kind): (namespace, kind) for namespace in namespaces for kind in INDEX_KINDS}
        for key in list(self._paths):
            for path in self._saved(key):
                if key not in known or erased(*known[key], _seq(path)):
                    with self._lock:
                        self._paths[key].discard(path)
                    self._unlink(path)

    def _saved(self, key: str) -> list[Path]:
        with self._lock:
            return [path for path in self._paths.get(key, ()) if path.suffix == _SAVED]

    def _put_aside(self, path: Path) -> None:
        aside = self._directory / f"{_key_of(path)}{_DAMAGED}"
        with contextlib.suppress(OSError):
            path.replace(aside)
            with self._lock:
                self._paths[_key_of(path)] = {aside}

    def _unlink(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            log.error("a saved index could not be deleted: %s", exc.strerror)


def _key(namespace: str, kind: str) -> str:
    return hashlib.sha256(f"{kind}\0{namespace}".encode()).hexdigest()[:_KEY_DIGITS]


def _key_of(path: Path) -> str:
    return path.name.partition(".")[0]


def _parts(path: Path) -> tuple[int, str] | None:
    """Change number and mark of a saved index; None for a name that is none."""
    parts = path.name.split(".")
    if len(parts) != len(("key", "seq", "mark", "suffix")) or not parts[1].isdigit():
        return None
    return int(parts[1]), "" if parts[2] == _NO_MARK else parts[2]


def _seq(path: Path) -> int:
    parts = _parts(path)
    return parts[0] if parts else 0


def _subject(namespace: str, kind: str) -> str:
    """Stands in the file's header: a file under another's name is refused."""
    return f"{kind}/{namespace}"
