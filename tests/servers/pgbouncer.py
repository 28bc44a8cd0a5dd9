"""PgBouncer in front of a test's Postgres."""

from __future__ import annotations

import contextlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.postgres_programs import account, own
from tests.servers.postgres_server import START_TIMEOUT_S, USER, Postgres, fetch
from tests.servers.redis import free_port, wait_until
from tests.servers.watchdog import Watchdog, kill_family

PGBOUNCER = Path("/usr/sbin/pgbouncer")


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
