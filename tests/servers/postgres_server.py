"""One real Postgres server under the control of a test: started, killed, hung, promoted."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tests.servers.postgres_programs import Installation, account
from tests.servers.redis import free_port, wait_until
from tests.servers.watchdog import Watchdog, kill_family, signal_family

T = TypeVar("T")

START_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 20.0
FOLLOW_TIMEOUT_S = 20.0
USER = "memd"
"""The superuser that owns every database."""
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
