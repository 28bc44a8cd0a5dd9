"""A process as a container or a systemd unit would run it: another user, no capability, a read-only root, few volumes.

Mount and network namespaces do it, so it needs root and a kernel that lets root make them; ``unavailable`` says why not.
In the sandbox ``/opt/memd/bin/memd`` is this checkout's command and ``/opt/memd/models`` the installed models, as in the
image and as docs/deploy.md puts them for the unit.
"""

from __future__ import annotations

import functools
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from memd.adapters.embed_onnx.cache import models_dir

MEMD = "/opt/memd/bin/memd"
START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
_PATH = "/opt/memd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NEW = ("unshare", "--mount", "--net", "--propagation", "private")

FRESH = """
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/lib
"""
READ_ONLY = """
while read -r _ point _; do
  case "$point" in /proc*|/sys*|/dev*) continue;; esac
  mount -o remount,bind,ro "$point" 2>/dev/null || true
done < /proc/self/mounts
"""


@functools.cache
def unavailable() -> str:
    """Why there can be no sandbox on this machine; "" when there can."""
    if os.geteuid() != 0:
        return "needs root: users and mounts as in a container"
    probe = subprocess.run([*NEW, "mount", "-t", "tmpfs", "none", "/opt"], capture_output=True, text=True, check=False)
    return f"namespaces are refused here: {probe.stderr.strip()}" if probe.returncode else ""


@dataclass(frozen=True, slots=True)
class User:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Volume:
    """A directory of the test, mounted at ``path`` in the sandbox."""

    source: Path
    path: str
    read_only: bool = False


@dataclass
class Sandbox:
    """``command`` running in a sandbox of its own while the context lasts."""

    command: Sequence[str]
    user: User
    volumes: Sequence[Volume]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[str] = ()
    """Where ``run`` may mount more."""
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        points = [f"mkdir -p {path}" for path in (*(volume.path for volume in self.volumes), *self.points)]
        steps = [*_programs(), FRESH, *points, READ_ONLY, *_mounts(self.volumes)]
        script = "\n".join([*steps, f"exec {_as(self.user, self.command)}"])
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*NEW, "sh", "-euc", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, "PATH": _PATH},
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """RuntimeError with the log when the process ends before."""
        assert self.process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"not ready:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(POLL_S)

    def run(
        self, user: User, *command: str, environment: Mapping[str, str] | None = None, volumes: Sequence[Volume] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Another process in the same sandbox; ``volumes`` are mounted for it alone, in place of what is there."""
        assert self.process is not None
        script = "\n".join([*_mounts(volumes), f"exec {_as(user, command)}"])
        inside = ["nsenter", f"--target={self.process.pid}", "--mount", "--net", "unshare", "--mount"]
        return subprocess.run(
            [*inside, "--propagation", "private", "sh", "-euc", script],
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            env={**(environment or {}), "PATH": _PATH},
        )

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


def _as(user: User, command: Sequence[str]) -> str:
    groups = f"--groups={','.join(map(str, user.groups))}" if user.groups else "--clear-groups"
    identity = [f"--reuid={user.uid}", f"--regid={user.gid}", groups]
    return shlex.join(["setpriv", *identity, "--no-new-privs", "--bounding-set=-all", "--", *command])


def _programs() -> list[str]:
    """/opt/python, this interpreter's own directories, and /opt/memd; whoever runs the tests may keep them where others may
    not look."""
    paths = [Path(entry) for entry in sys.path if entry and Path(entry).is_dir()]
    own = [path for path in paths if not path.is_relative_to(sys.base_prefix)]
    lines = ["mount -t tmpfs -o mode=755 none /opt", "mkdir -p /opt/memd/bin /opt/memd/models /opt/python"]
    lines += [f"mount --bind {shlex.quote(sys.base_prefix)} /opt/python"]
    lines += [f"mount --bind {shlex.quote(str(models_dir()))} /opt/memd/models"]
    for number, path in enumerate(own):
        lines += [f"mkdir -p /opt/path/{number}", f"mount --bind {shlex.quote(str(path))} /opt/path/{number}"]
    search = ":".join(f"/opt/path/{number}" for number in range(len(own)))
    python = f"/opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    starter = f'#!/bin/sh\nLD_LIBRARY_PATH=/opt/python/lib PYTHONPATH={search} exec {python} -B -m memd "$@"\n'
    lines += [f"printf %s {shlex.quote(starter)} > {MEMD}", f"chmod 755 {MEMD}", "ip link set lo up"]
    return lines


def _mounts(volumes: Sequence[Volume]) -> list[str]:
    lines = []
    for volume in volumes:
        lines.append(f"mount --bind {shlex.quote(str(volume.source))} {volume.path}")
        lines.append(f"mount -o remount,bind,{'ro' if volume.read_only else 'rw'} {volume.path}")
    return lines
