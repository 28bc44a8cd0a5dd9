"""``memd model``: the embedding model on disk."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from memd.adapters.embed_onnx import cache
from memd.adapters.embed_onnx.install import install
from memd.cli.output import note, print_json, print_table
from memd.domain.errors import ModelUnavailable


@dataclass(frozen=True, slots=True)
class FormStatus:
    """One form of the model: "whole", "missing" or what is wrong with it."""

    model: str
    default: bool
    state: str
    size_bytes: int
    directory: str


def run(args: argparse.Namespace) -> int:
    """Install, list or verify."""
    if args.action == "install":
        return _install(args)
    forms = [_status(form) for form in cache.FORMS.values()]
    if args.json:
        print_json(forms)
    else:
        rows = [(f"{f.model}{' (default)' if f.default else ''}", f.state, f.directory) for f in forms]
        print_table(("model", "state", "directory"), rows)
    if args.action == "verify":
        return 0 if any(f.default and f.state == "whole" for f in forms) and not any(map(_damaged, forms)) else 1
    return 0


def _install(args: argparse.Namespace) -> int:
    installed = install(args.source, args.precision, note)
    if args.json:
        print_json(
            {
                "model": installed.model.model_id,
                "digest": installed.model.digest,
                "directory": str(installed.directory),
                "size_bytes": installed.size_bytes,
                "seconds": installed.seconds,
                "downloaded": installed.downloaded,
            }
        )
    else:
        how = f"installed in {installed.seconds:.1f} s" if installed.downloaded else "is installed and whole"
        print(f"{installed.model.model_id} {how} ({installed.size_bytes / 1e6:.0f} MB): {installed.directory}")
    return 0


def _damaged(form: FormStatus) -> bool:
    return form.state not in ("whole", "missing")


def _status(form: cache.Form) -> FormStatus:
    directory = cache.model_dir(form.precision)
    state = "missing"
    if directory.exists():
        try:
            cache.verify(directory)
            state = "whole"
        except ModelUnavailable as exc:
            state = exc.message
    default = form.precision == cache.DEFAULT_PRECISION
    return FormStatus(form.model.model_id, default, state, form.size_bytes, str(directory))
