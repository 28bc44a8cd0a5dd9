"""Lets a GPU build of torch run on a machine without the GPU libraries, which would be four gigabytes of nothing.

The registry's x86-64 torch is linked against CUDA and does not load without it, though no CPU path calls it. Each missing
library is stood in for by one whose functions answer 100, CUDA's "no device" (those that return text: an empty one; the one
that asks whether a stream is being captured: success, since it is asked before every CPU run): torch then says that there is
no GPU and runs its CPU kernels, the same ones a CPU build has. Needs cc, nm and objdump (a C compiler's usual company).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

_NO_DEVICE = 100
_SUCCEEDS = {"cudaStreamIsCapturing"}
_RETURNS_TEXT = re.compile(r"(?:String|StringName|ErrorName)$")
_GPU_LIBRARY = re.compile(r"lib(?:cu|nv|nccl)")
# Libraries without symbol versions: their functions are known by their prefix.
_PREFIXES = {
    "libnccl.so": "nccl",
    "libcusparseLt.so": "cusparseLt",
    "libcufile.so": "cuFile",
    "libcuda.so": "cu",
}
# Libraries whose symbol version is not called after them.
_VERSIONS = {"libnvshmem_host.so.3": "NVSHMEM"}


def stand_in(directory: Path) -> None:
    """Write a stand-in into ``directory`` for every GPU library that the libraries in it need and that is not there."""
    libraries = sorted(directory.glob("*.so*"))
    wanted = _wanted_symbols(libraries)
    needed = {name for library in libraries for name in _needed(library)}
    for name in sorted(needed):
        if _GPU_LIBRARY.match(name) and not (directory / name).exists():
            _compile(directory / name, *_symbols_of(name, wanted))


def _needed(library: Path) -> list[str]:
    text = subprocess.run(["objdump", "-p", library], capture_output=True, text=True, check=True).stdout
    return re.findall(r"^\s*NEEDED\s+(\S+)", text, re.MULTILINE)


def _wanted_symbols(libraries: Iterable[Path]) -> Mapping[str, set[str]]:
    """Undefined symbols by symbol version; "" for those without one."""
    wanted: defaultdict[str, set[str]] = defaultdict(set)
    for library in libraries:
        command = ["nm", "-D", "--undefined-only", str(library)]
        for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            symbol, _, symbol_version = line.split()[-1].partition("@")
            wanted[symbol_version.lstrip("@")].add(symbol)
    return wanted


def _symbols_of(name: str, wanted: Mapping[str, set[str]]) -> tuple[list[str], str]:
    """The functions a library must have, and their symbol version."""
    symbol_version = _VERSIONS.get(name, name)
    if symbol_version in wanted:
        return sorted(wanted[symbol_version]), symbol_version
    prefix = _PREFIXES.get(name.partition(".so")[0] + ".so")
    if prefix is None:
        return [], ""
    return sorted(s for s in wanted.get("", ()) if re.match(rf"{prefix}[A-Z]", s)), ""


def _function(symbol: str) -> str:
    if _RETURNS_TEXT.search(symbol):
        return f'const char *{symbol}(void) {{ return ""; }}\n'
    return f"int {symbol}(void) {{ return {0 if symbol in _SUCCEEDS else _NO_DEVICE}; }}\n"


def _compile(library: Path, symbols: Iterable[str], symbol_version: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source, script = Path(scratch, "absent.c"), Path(scratch, "absent.map")
        source.write_text("".join(map(_function, symbols)))
        script.write_text(f"{symbol_version} {{ *; }};\n")
        flags = ["-w", "-shared", "-fPIC", f"-Wl,-soname,{library.name}", f"-Wl,--version-script={script}"]
        subprocess.run(["cc", *flags, "-o", library, source], check=True)
