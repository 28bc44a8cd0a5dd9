"""``memd export`` and ``memd import``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from memd.cli.connect import connected
from memd.cli.errors import CommandError
from memd.cli.flags import BULK_TIMEOUT_S
from memd.cli.output import note, plain, print_fields, print_json
from memd.limits import EXPORT_CHUNK_BYTES, MEGABYTE

_STANDARD = "-"
_PRIVATE = 0o600
_SAID_EVERY = 64 * MEGABYTE


@dataclass(frozen=True, slots=True)
class Written:
    file: str
    bytes: int


def run(args: argparse.Namespace) -> int:
    return _import(args) if args.command == "import" else _export(args)


def _export(args: argparse.Namespace) -> int:
    with connected(args, timeout_s=BULK_TIMEOUT_S) as client:
        chunks = _said(client.export_namespace(), "exported")
        if args.file == _STANDARD:
            for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        else:
            written = Written(args.file, _write(Path(args.file), chunks))
            if args.json:
                print_json(written)
            else:
                print_fields(plain(written))
    return 0


def _write(target: Path, chunks: Iterable[bytes]) -> int:
    """The file appears whole and synced, or not at all; it is the owner's alone, as the daemon's own files. Its bytes."""
    partial = target.with_name(f"{target.name}.partial")
    if target.exists():
        raise CommandError(f"{target} exists already")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        partial.rename(target)
    except OSError as exc:
        raise CommandError(f"{target} cannot be written: {exc.strerror}") from exc
    finally:
        partial.unlink(missing_ok=True)
    return size


def _import(args: argparse.Namespace) -> int:
    if args.into:
        args.namespace = args.into
    file = _opened(args.file)
    with file, connected(args) as client:
        taken = client.import_namespace(_said(_read(file), "sent"), into=args.into or "")
    if args.json:
        print_json(taken)
    else:
        print_fields(plain(taken))
    return 0


def _opened(name: str) -> BinaryIO:
    if name == _STANDARD:
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as exc:
        raise CommandError(f"{name} cannot be read: {exc.strerror}") from exc


def _read(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(EXPORT_CHUNK_BYTES):
        yield chunk


def _said(chunks: Iterable[bytes], what: str) -> Iterator[bytes]:
    """Progress, to stderr, where there is much of it."""
    done = said = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if done - said >= _SAID_EVERY:
            note(f"{what} {done // MEGABYTE:,} MB")
            said = done
