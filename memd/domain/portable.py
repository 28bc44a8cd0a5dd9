"""The export format: JSON lines, one object with one telling key a line, in this order.

    {"header": {"format", "namespace", "model", "seq", "epoch", "time_us"}}
    {"settings": {...}}                                    where the namespace has its own
    {"memory": {...}, "embeddings": [...], "revisions": n} every memory, each followed by
    {"revision": {...}}                                    its n earlier states, oldest first
    {"procedure": {...}, "versions": n, "outcomes": n}     every procedure (``portable_procedures``)
    {"end": {"memories", "revisions", "procedures", "versions", "outcomes"}}

Format 1 has no procedures, and its end line no counts of them. Embeddings are base64 of float32 little-endian. What is read
back is checked as strictly as a request: a file may come from anywhere. Errors name the line and never what is in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args

from memd.domain.errors import InvalidArgument, SchemaTooNew
from memd.domain.model import EmbeddingModel, IndexPlace, Memory, NamespaceSettings, Scope
from memd.domain.portable_procedures import (
    OutcomeLine,
    PortableProcedure,
    ProcedureLine,
    VersionLine,
    parse_outcome,
    parse_procedure,
    parse_version,
    procedure_lines,
)
from memd.domain.portable_values import MEMORY_CHECKS, checked, number, text, vector
from memd.limits import MAX_EXPORT_LINE_BYTES, MAX_REVISIONS, MAX_WINDOWS

FORMAT = 2
_IN_END_OF_1 = frozenset({"memories", "revisions"})


@dataclass(frozen=True, slots=True)
class Header:
    """``model``: ``model_name`` of what made the embeddings, "" where there are none. ``seq`` and ``epoch``: where the change
    log stood. ``time_us``: what was forgotten from then on is not known to the export."""

    namespace: str
    model: str
    seq: int
    epoch: int
    time_us: int


def model_name(model: EmbeddingModel | None) -> str:
    """Embeddings of one name may be mixed. Weights alone do not tell: they are used at several precisions."""
    return f"{model.model_id} {model.precision} {model.dimensions} {model.digest}" if model else ""


@dataclass(frozen=True, slots=True)
class PortableMemory:
    """A memory with its embeddings, one a window, and its earlier states, oldest first."""

    memory: Memory
    embeddings: tuple[bytes, ...]
    revisions: tuple[Memory, ...] = ()


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of memories, procedures and settings in an import."""

    imported: int = 0
    skipped: int = 0
    forgotten: int = 0
    conflicts: int = 0

    def __add__(self, other: TakenIn) -> TakenIn:
        return TakenIn(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(TakenIn)))


@dataclass(frozen=True, slots=True)
class End:
    """How many lines there are of each kind."""

    memories: int = 0
    revisions: int = 0
    procedures: int = 0
    versions: int = 0
    outcomes: int = 0

    def __add__(self, other: End) -> End:
        return End(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(End)))


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """``revisions``: how many lines of them follow."""

    memory: Memory
    embeddings: tuple[bytes, ...]
    revisions: int


@dataclass(frozen=True, slots=True)
class RevisionLine:
    memory: Memory


Line = Header | NamespaceSettings | MemoryLine | RevisionLine | ProcedureLine | VersionLine | OutcomeLine | End
Exported = Header | NamespaceSettings | PortableMemory | PortableProcedure | End
"""What an export is made of, in the order of its lines."""


# -- out


def lines_of(one: Exported) -> Iterator[bytes]:
    match one:
        case Header():
            yield _line({"header": {"format": FORMAT, **asdict(one)}})
        case NamespaceSettings():
            yield _line({"settings": asdict(one)})
        case PortableMemory():
            yield from _memory_lines(one)
        case PortableProcedure():
            yield from map(_line, procedure_lines(one))
        case End():
            yield _line({"end": asdict(one)})


def counted(one: Exported) -> End:
    """What the end line has to say of it."""
    match one:
        case PortableMemory():
            return End(memories=1, revisions=len(one.revisions))
        case PortableProcedure():
            return End(procedures=1, versions=len(one.versions), outcomes=len(one.outcomes))
    return End()


def _memory_lines(one: PortableMemory) -> Iterator[bytes]:
    embeddings = [base64.b64encode(window).decode() for window in one.embeddings]
    yield _line({"memory": _plain(one.memory), "embeddings": embeddings, "revisions": len(one.revisions)})
    for revision in one.revisions:
        yield _line({"revision": _plain(revision)})


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plain(memory: Memory) -> dict[str, Any]:
    plain = {field.name: getattr(memory, field.name) for field in fields(Memory) if field.name != "scope"}
    scope = memory.scope
    plain.update(user_id=scope.user_id, agent_id=scope.agent_id, session_id=scope.session_id)
    plain["source"] = memory.source.value
    return plain


# -- in


class Lines:
    """Cuts chunks into lines. ``number`` is of the line that was handed out last."""

    def __init__(self) -> None:
        self.number = 0
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that are whole now; InvalidArgument for one over MAX_EXPORT_LINE_BYTES."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            self.number += 1
            self._check(line)
            yield line
        if len(self._rest) > MAX_EXPORT_LINE_BYTES:
            self.number += 1
            self._check(self._rest)

    @property
    def cut(self) -> bool:
        """Whether the last line has no end."""
        return bool(self._rest)

    def _check(self, line: bytes) -> None:
        if len(line) > MAX_EXPORT_LINE_BYTES:
            raise InvalidArgument(f"longer than {MAX_EXPORT_LINE_BYTES:,} bytes")


def parse(line: bytes, namespace: str) -> Line:
    """One line; its memories are put into ``namespace``. InvalidArgument, or SchemaTooNew for a header of a later format."""
    try:
        value = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise InvalidArgument("not JSON") from exc
    if not isinstance(value, dict):
        raise InvalidArgument("not a JSON object")
    kind = next((kind for kind in _PARSERS if kind in value), None)
    if kind is None or not isinstance(value[kind], dict):
        raise InvalidArgument("not a line of an export")
    return _PARSERS[kind](value, namespace)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _header(value: Mapping[str, Any], _namespace: str) -> Header:
    found = dict(value["header"])
    version = number(found.pop("format", 0), "header.format")
    if version > FORMAT:
        raise SchemaTooNew(f"the file was made by a newer memd (format {version}; this one reads {FORMAT})")
    if version < 1:
        raise InvalidArgument("header.format must be 1 or more")
    return Header(
        **checked(
            found, "header", {"namespace": text, "model": text, "seq": number, "epoch": number, "time_us": number}
        )
    )


def _settings(value: Mapping[str, Any], _namespace: str) -> NamespaceSettings:
    found = value["settings"]
    known = {field.name for field in fields(NamespaceSettings)}
    if not found.keys() <= known or not isinstance(found.get("version"), int):
        raise InvalidArgument("settings that are not known here")
    if found.get("index") not in (None, *get_args(IndexPlace)):
        raise InvalidArgument("settings.index that is not known here")
    if not all(one is None or isinstance(one, int | float) for name, one in found.items() if name != "index"):
        raise InvalidArgument("settings must be numbers or true or false")
    return NamespaceSettings(**found)


def _memory(value: Mapping[str, Any], namespace: str) -> MemoryLine:
    windows = value.get("embeddings")
    if not isinstance(windows, list) or len(windows) > MAX_WINDOWS:
        raise InvalidArgument(f"embeddings must be a list of at most {MAX_WINDOWS}")
    revisions = number(value.get("revisions"), "revisions")
    if revisions > MAX_REVISIONS:
        raise InvalidArgument(f"revisions must be at most {MAX_REVISIONS}")
    return MemoryLine(
        _state(value["memory"], namespace), tuple(vector(one, "embeddings") for one in windows), revisions
    )


def _revision(value: Mapping[str, Any], namespace: str) -> RevisionLine:
    return RevisionLine(_state(value["revision"], namespace))


def _end(value: Mapping[str, Any], _namespace: str) -> End:
    names = [field.name for field in fields(End) if len(value["end"]) > len(_IN_END_OF_1) or field.name in _IN_END_OF_1]
    return End(**checked(value["end"], "end", dict.fromkeys(names, number)))


_PARSERS: Mapping[str, Callable[[Mapping[str, Any], str], Line]] = {
    "header": _header,
    "settings": _settings,
    "memory": _memory,
    "revision": _revision,
    "procedure": parse_procedure,
    "version": parse_version,
    "outcome": parse_outcome,
    "end": _end,
}


def _state(found: Mapping[str, Any], namespace: str) -> Memory:
    values = checked(found, "memory", MEMORY_CHECKS)
    scope = Scope(namespace, values.pop("user_id"), values.pop("agent_id"), values.pop("session_id"))
    return Memory(scope=scope, **values)
