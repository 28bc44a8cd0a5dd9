"""Generate the one stub package, ``memd_client._proto.v1``, from ``proto/memd/v1``.

    python proto/generate.py            write the stubs
    python proto/generate.py --check    fail when the committed stubs differ from what would be written

Run by the pinned generator in ``.venv/protogen`` (see the Makefile). An older generator than the run-time is deliberate:
generated code demands at least the protobuf and grpcio that made it.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
TARGET = ROOT / "clients" / "python" / "memd_client" / "_proto"

HEADER = '"""Generated from proto/memd/v1 by proto/generate.py: do not edit."""\n'


def generate(target: Path) -> None:
    """Write the stub package below ``target``."""
    protos = sorted(str(p.relative_to(SOURCES)) for p in SOURCES.glob("memd/v1/*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        outs = [f"--{kind}={scratch}" for kind in ("python_out", "grpc_python_out", "mypy_out", "mypy_grpc_out")]
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCES}", *outs, *protos]
        # protoc looks for its plug-ins on the PATH
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(command, check=True, stderr=subprocess.PIPE, env={**os.environ, "PATH": path})
        package = target / "v1"
        package.mkdir(parents=True)
        (target / "__init__.py").write_text(HEADER)
        (package / "__init__.py").write_text(HEADER)
        for made in sorted((Path(scratch) / "memd" / "v1").iterdir()):
            (package / made.name).write_text(_rehome(made.read_text()))


def _rehome(source: str) -> str:
    """``memd.v1`` is the wire package; in Python ``memd`` is the daemon, so the stubs live in the client's package."""
    source = re.sub(r"^from memd\.v1 import", "from memd_client._proto.v1 import", source, flags=re.M)
    source = re.sub(r"^import memd\.v1\.", "import memd_client._proto.v1.", source, flags=re.M)
    return re.sub(r"(?<![\w.'\"/])memd\.v1\.(\w+_pb2)", r"memd_client._proto.v1.\1", source)


def _differences(made: Path) -> list[str]:
    compared = filecmp.dircmp(made, TARGET, ignore=["__pycache__"])
    inner = filecmp.dircmp(made / "v1", TARGET / "v1", ignore=["__pycache__"]) if (TARGET / "v1").is_dir() else None
    parts = [compared] if inner is None else [compared, inner]
    return sorted({n for c in parts for n in (*c.left_only, *c.right_only, *c.diff_files)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the committed stubs and write nothing")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "_proto"
        generate(made)
        if args.check:
            different = _differences(made)
            if different:
                print(f"stubs are out of date ({', '.join(different)}): run `make proto` and commit", file=sys.stderr)
            return 1 if different else 0
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(made, TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
