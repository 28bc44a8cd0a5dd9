"""The launcher of Postgres keeps what tests rely on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.servers import postgres
from tests.servers.postgres import PGBOUNCER, Launcher, Postgres, fetch
from tests.servers.redis import certificates, wait_until


def write(server: Postgres, value: int) -> None:
    server.send("CREATE TABLE IF NOT EXISTS t (v int)")
    server.send("INSERT INTO t VALUES ($1)", value)


def values(server: Postgres) -> list[int]:
    return [row[0] for row in server.send("SELECT v FROM t ORDER BY v")]


def test_databases_are_apart(postgres_launcher: Launcher) -> None:
    server = postgres_launcher.shared
    one, other = server.create_database(), server.create_database()
    server.send("CREATE TABLE t (v int)", database=one)
    server.send("CREATE TABLE t (v int)", database=other)
    copy = server.create_database(template=one)
    server.send("SELECT v FROM t", database=copy)
    for name in (one, other, copy):
        server.drop_database(name)


def test_pgvector_is_where_it_is_said_to_be(postgres_launcher: Launcher, postgres_url: str) -> None:
    (known,) = fetch(postgres_url, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
    assert bool(known[0]) is postgres_launcher.installation.vector


def test_kill_hang_and_restart_lose_nothing(postgres_launcher: Launcher) -> None:
    server = postgres_launcher.server()
    write(server, 1)
    server.kill()
    assert not server.running
    server.start()
    server.hang()
    assert server.running
    server.resume()
    write(server, 2)
    server.hang()
    server.kill()
    server.start()
    assert values(server) == [1, 2]
    server.restart()
    assert values(server) == [1, 2]
    server.kill()


def test_a_synchronous_standby_has_what_was_acknowledged(postgres_launcher: Launcher) -> None:
    primary = postgres_launcher.server()
    standby = postgres_launcher.standby(primary, synchronous=True)
    write(primary, 1)
    primary.kill()
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        write(standby, 2)
    standby.promote()
    write(standby, 3)
    assert values(standby) == [1, 3]
    standby.kill()


def test_a_password_is_needed(postgres_launcher: Launcher) -> None:
    server = postgres_launcher.server(password="secret")
    assert server.send("SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        fetch(server.url(password="wrong"), "SELECT 1")
    server.kill()


def test_tls_is_needed(postgres_launchers: Callable[[str], Launcher], tmp_path: Path) -> None:
    launcher = postgres_launchers("postgres15")
    made = certificates(tmp_path)
    server = launcher.server(certificates=made)
    url = server.url().replace("127.0.0.1", "localhost")
    assert fetch(f"{url}?sslmode=verify-full&sslrootcert={made.ca}", "SELECT 1")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        fetch(f"{url}?sslmode=disable", "SELECT 1")
    server.kill()


@pytest.mark.skipif(not PGBOUNCER.exists(), reason=f"no {PGBOUNCER}")
def test_pgbouncer_answers(postgres_launcher: Launcher) -> None:
    pooler = postgres_launcher.pooler(postgres_launcher.shared)
    assert fetch(pooler.url(), "SHOW server_version")
    pooler.kill()


def test_programs_out_of_reach_are_copied(postgres18: Launcher, tmp_path: Path) -> None:
    package = postgres18.installation.programs.resolve().parent.parent
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, hidden / part.name)
    programs = hidden / package.name / "pginstall/bin"
    launcher = Launcher(postgres.Installation("postgres18", programs, vector=True, tls=False))
    try:
        assert launcher.shared.send("SELECT 1")
    finally:
        launcher.close()


SCRIPT = """
import os, signal
from tests.servers import postgres
launcher = postgres.Launcher(postgres.find({name!r}))
print(launcher.directory, launcher.shared.process.pid, flush=True)
launcher.shared.hang()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_servers_of_a_killed_test_process_go(postgres_launcher: Launcher) -> None:
    script = SCRIPT.format(name=postgres_launcher.installation.name)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    directory, process_id = done.stdout.split()
    wait_until(lambda: not Path(os.fsdecode(directory)).exists(), 20, "the watchdog to remove the files")
    assert not Path(f"/proc/{int(process_id)}/cwd").exists()
