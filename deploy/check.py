"""Check every file of deploy/ against its schema, offline. `make deploy-check` runs it with the tools of requirements.txt.

That the files fit memd itself (its keys, flags and paths) is checked by tests/deploy.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = Path(sys.executable).parent
KUBERNETES = "1.37"
OLDEST_KUBERNETES = "1.29"  # the first where native sidecars are on by default
MAX_EXPOSURE = 20  # tenths of the ten points of `systemd-analyze security`; 1.5 were measured


def main(directory: Path = HERE) -> int:
    """Print a line a check, and what is wrong; 0 when nothing is."""
    checks: Sequence[tuple[str, Callable[[Path], str]]] = (
        ("Dockerfile", dockerfile),
        ("Kubernetes manifests", kubernetes),
        ("compose file", compose),
        ("systemd unit", systemd),
    )
    failed = False
    for name, check in checks:
        try:
            print(f"deploy-check: {name}: {check(directory)}")
        except subprocess.CalledProcessError as exc:
            failed = True
            print(f"deploy-check: {name}: FAILED\n{exc.stdout}", file=sys.stderr)
    return int(failed)


def dockerfile(directory: Path) -> str:
    _run(TOOLS / "hadolint", directory / "Dockerfile")
    return "ok (hadolint)"


def kubernetes(directory: Path) -> str:
    manifests = sorted((directory / "kubernetes").glob("*.yaml"))
    for version in (OLDEST_KUBERNETES, KUBERNETES):
        _run(TOOLS / "kubernetes-validate", "--strict", "--quiet", "--kubernetes-version", version, *manifests)
    return f"ok (schemas of {OLDEST_KUBERNETES} and {KUBERNETES}, strict)"


def compose(directory: Path) -> str:
    _run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", directory / "compose" / "compose.yaml")
    return "ok (compose specification)"


def systemd(directory: Path) -> str:
    """``systemd-analyze verify`` wants the programs of a unit to be there, so it sees one that runs /bin/true."""
    if shutil.which("systemd-analyze") is None:
        return "skipped, there is no systemd-analyze on this machine"
    unit = (directory / "systemd" / "memd.service").read_text()
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary, "memd.service")
        copy.write_text("".join(_with_programs(unit)))
        complaints = _run("systemd-analyze", "verify", copy)
        if complaints:  # what it does not know it ignores, with a warning
            raise subprocess.CalledProcessError(1, "systemd-analyze", complaints)
        _run("systemd-analyze", "security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", copy)
    return f"ok (systemd-analyze verify; exposure at most {MAX_EXPOSURE / 10:g} of 10)"


def _with_programs(unit: str) -> Iterator[str]:
    for line in unit.splitlines(keepends=True):
        key, _, command = line.partition("=")
        yield f"{key}=/bin/true {' '.join(command.split()[1:])}\n" if key.startswith("Exec") else line


def _run(*command: str | Path) -> str:
    """What it prints. CalledProcessError when it finds something."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
