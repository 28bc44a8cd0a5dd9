"""Real Postgres servers under the control of a test: shared ones, ones of its own to break, standbys, PgBouncer.

A ``Launcher`` starts servers of one installation on free loopback ports, over TCP alone. Each begins as a copy of one
template. Whatever becomes of the test process, its servers are killed and their files removed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from tests.servers.pgbouncer import PGBOUNCER, PgBouncer
from tests.servers.postgres_programs import VERSIONS, Installation, account, find, own, reachable, work_directory
from tests.servers.postgres_server import FOLLOW_TIMEOUT_S, UNSAFE, USER, Postgres, fetch
from tests.servers.redis import Certificates, free_port
from tests.servers.watchdog import Watchdog

__all__ = [
    "FOLLOW_TIMEOUT_S",
    "PGBOUNCER",
    "UNSAFE",
    "VERSIONS",
    "Installation",
    "Launcher",
    "PgBouncer",
    "Postgres",
    "fetch",
    "find",
]
START_ATTEMPTS = 3


class Launcher:
    """Starts servers of one installation; ``close`` stops them all."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.watchdog = Watchdog()
        self.directory = work_directory()
        self.watchdog.remove(self.directory)
        self.directory.chmod(0o755)
        own(self.directory)
        self._programs = reachable(installation, self.directory)
        self._servers: list[Postgres] = []

    @cached_property
    def shared(self) -> Postgres:
        """One server for all tests that use databases of their own and break nothing."""
        return self.server(UNSAFE)

    @cached_property
    def _template(self) -> Path:
        target = self.directory / "template"
        # small WAL segments, since every copy has some
        self._run(
            "initdb",
            "-D",
            str(target),
            "-U",
            USER,
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--wal-segsize=1",
        )
        hba = target / "pg_hba.conf"
        hba.write_text(f"host all,replication {USER} 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 trust\n")
        return target

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments], cwd="/", capture_output=True, check=False, **account()
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed:\n{done.stderr.decode(errors='replace')}")

    def server(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        password: str = "",
        certificates: Certificates | None = None,
    ) -> Postgres:
        """A server of its own, started. With ``password`` every login over TCP needs one (USER's is this); with
        ``certificates`` it speaks TLS, and nothing else but to this launcher."""
        directory = self._next_directory()
        shutil.copytree(self._template, directory, symlinks=True)
        own(directory)
        wanted = {**(settings or {}), **(_tls(directory, certificates) if certificates else {})}
        server = self._start(directory, wanted)
        if password:
            server.send(f"ALTER ROLE {USER} PASSWORD '{password}'")
        if password or certificates:
            kind, method = ("hostssl" if certificates else "host"), ("scram-sha-256" if password else "trust")
            (directory / "pg_hba.conf").write_text(f"{kind} all,replication all 127.0.0.1/32 {method}\n")
            server.send("SELECT pg_reload_conf()")
            server.password = password
        return server

    def standby(self, primary: Postgres, *, synchronous: bool = False) -> Postgres:
        """A server that follows ``primary``, started; ``synchronous``: from now on no commit of the primary is
        acknowledged before the standby has it on disk."""
        directory = self._next_directory()
        self._run(
            "pg_basebackup", "-D", str(directory), "-d", primary.url(), "-R", "--checkpoint=fast", "--no-sync", "-Xs"
        )
        server = self._start(directory, primary.settings)
        server.password = primary.password
        if synchronous:
            primary.set(synchronous_standby_names="*", synchronous_commit="on")
        primary.wait_for_standby()
        return server

    def _next_directory(self) -> Path:
        return self.directory / f"server{len(self._servers) + 1}"

    def _start(self, directory: Path, settings: Mapping[str, str]) -> Postgres:
        server = Postgres(self.installation, self._programs, directory, self.watchdog, settings)
        self._servers.append(server)
        for attempt in range(START_ATTEMPTS):
            try:
                server.start()
                break
            except RuntimeError:
                # somebody may have taken the port since it was found free
                if attempt + 1 == START_ATTEMPTS or "Address already in use" not in server.log:
                    raise
                server.port = free_port()
        return server

    def pooler(self, server: Postgres) -> PgBouncer:
        """PgBouncer in transaction mode in front of ``server``, started."""
        pooler = PgBouncer(server, self.directory / f"pgbouncer{server.port}", self.watchdog)
        pooler.start()
        return pooler

    def close(self) -> None:
        for server in self._servers:
            server.kill()
        self.watchdog.close()


def _tls(directory: Path, certificates: Certificates) -> dict[str, str]:
    """Copies of the certificates that the server's account may read, and no other the key."""
    settings = {"ssl": "on"}
    for name, source in (("ssl_cert_file", certificates.certificate), ("ssl_key_file", certificates.key)):
        target = directory / f"{name}.pem"
        shutil.copy(source, target)
        target.chmod(0o600)
        own(target)
        settings[name] = str(target)
    return settings
