"""The daemon really runs as the files of deploy/ start it: their users, volumes, read-only root, probes and stop."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy import artefacts
from tests.deploy.artefacts import MANIFESTS
from tests.deploy.sandbox import MEMD, Sandbox, User, Volume, unavailable

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=unavailable())

TOKEN = "a-token-of-this-test"
EMBEDDED = next(path for path in MANIFESTS if path.name == "embedded.yaml")
SERVICE_USER = User(10003, 10003)  # whom systemd-sysusers would make
DENY_WRITE_EXECUTE = (  # prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN) is MemoryDenyWriteExecute=
    "import ctypes, os, sys; libc = ctypes.CDLL(None); libc.prctl(65, 1, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Short, for the socket, and others may pass through it."""
    path = Path(tempfile.mkdtemp(prefix="memd-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def _volume(directory: Path, path: str, *, owner: int, group: int, mode: int, read_only: bool = False) -> Volume:
    source = directory / path.strip("/").replace("/", "-")
    source.mkdir()
    os.chown(source, owner, group)
    source.chmod(mode)
    return Volume(source, path, read_only)


def _empty_dir(directory: Path, path: str, group: int) -> Volume:
    """As the kubelet makes an emptyDir and, by fsGroup, the top of any volume."""
    return _volume(directory, path, owner=0, group=group, mode=0o2777)


def _secret(directory: Path, path: str, group: int, **files: str) -> Volume:
    volume = _volume(directory, path, owner=0, group=group, mode=0o3777, read_only=True)
    for name, content in files.items():
        file = volume.source / name.replace("__", ".")
        file.write_text(content)
        os.chown(file, 0, group)
        file.chmod(0o440)
    return volume


class Pod:
    """The sidecar of a manifest, running, and the agent beside it."""

    def __init__(self, manifest: Path, directory: Path) -> None:
        self.start = artefacts.sidecar(manifest)
        spec = artefacts.pod(manifest)
        group = spec["securityContext"]["fsGroup"]
        self._agent = spec["containers"][0]
        tokens = (
            f'[[tokens]]\nname = "agent"\nnamespace = "team"\nsha256 = "{hashlib.sha256(TOKEN.encode()).hexdigest()}"\n'
        )
        self.volumes = {path: _empty_dir(directory, path, group) for path in self.start.volumes}
        secret = _secret(directory, self.start.secrets[0], group, tokens__toml=tokens)
        self._token = _secret(directory, self._mount("agent-token"), group, token=TOKEN)
        self.sandbox = Sandbox(
            (MEMD, *self.start.arguments),
            _user(artefacts.memd_container(manifest), group),
            [*self.volumes.values(), secret],
            directory / "log",
            self.start.environment,
            [self._token.path],
        )
        self.agent = _user(self._agent, group)
        self.agent_environment = {pair["name"]: pair["value"] for pair in self._agent["env"]}

    def _mount(self, name: str) -> str:
        (path,) = (one["mountPath"] for one in self._agent["volumeMounts"] if one["name"] == name)
        return str(path)

    @property
    def socket(self) -> Path:
        """Its path outside of the sandbox."""
        inside = Path(self.start.setting("server.socket"))
        (volume,) = (one for one in self.volumes.values() if inside.is_relative_to(one.path))
        return volume.source / inside.relative_to(volume.path)

    def as_agent(self, *command: str) -> tuple[int, str]:
        """Exit code and output of a command of the agent's container."""
        socket = self.volumes[self._mount("memd-socket")]
        mounts = [Volume(socket.source, socket.path, read_only=True), self._token]
        done = self.sandbox.run(self.agent, *command, environment=self.agent_environment, volumes=mounts)
        return done.returncode, done.stdout + done.stderr


def _user(container: artefacts.Table, group: int) -> User:
    context = container["securityContext"]
    return User(context["runAsUser"], context["runAsGroup"], (group,))


def _probe(sandbox: Sandbox, user: User, address: str) -> int:
    """A gRPC health check, as the kubelet makes one."""
    return sandbox.run(user, MEMD, "health", "--address", address, "--timeout", "10").returncode


def test_a_sidecar_answers_its_probes_and_its_agent_and_stops_in_time(directory: Path) -> None:
    pod = Pod(EMBEDDED, directory)
    port = artefacts.memd_container(EMBEDDED)["startupProbe"]["grpc"]["port"]
    with pod.sandbox as memd:
        memd.wait_until(pod.socket.exists)
        assert _probe(memd, memd.user, f"127.0.0.1:{port}") == 0
        token = ("--token-file", f"{pod._token.path}/token")
        code, said = pod.as_agent(MEMD, "remember", *token, "--user", "ada", "Ada prefers trains to planes")
        assert code == 0, said
        code, said = pod.as_agent(MEMD, "recall", *token, "--user", "ada", "how does she travel?")
        assert "trains" in said
        assert memd.terminate() == 0
    assert not pod.socket.exists()


def test_an_agent_can_use_the_socket_and_not_take_its_place(directory: Path) -> None:
    pod = Pod(EMBEDDED, directory)
    with pod.sandbox as memd:
        memd.wait_until(pod.socket.exists)
        code, said = pod.as_agent(MEMD, "recall", "--user", "ada", "anything")
        assert code == 1
        assert "token" in said
        socket = pod.start.setting("server.socket")
        for attempt in (("rm", socket), ("mv", str(Path(socket).parent), "/run/memd/other"), ("touch", "/run/memd/x")):
            assert pod.as_agent(*attempt)[0] != 0
        data = pod.start.setting("storage.data_dir")
        assert pod.as_agent("ls", data)[0] != 0  # not even where both have the volume mounted
        stranger = User(pod.agent.uid, pod.agent.gid)
        assert memd.run(stranger, MEMD, "health", environment=pod.agent_environment).returncode == 1
        assert pod.as_agent(MEMD, "health")[0] == 0


def test_a_killed_sidecar_starts_again_on_its_volumes(directory: Path) -> None:
    pod = Pod(EMBEDDED, directory)
    token = ("--token-file", f"{pod._token.path}/token")
    with pod.sandbox as memd:
        memd.wait_until(pod.socket.exists)
        assert pod.as_agent(MEMD, "remember", *token, "Ada prefers trains to planes")[0] == 0
    with pod.sandbox as memd:  # the socket of the first is still there
        memd.wait_until(lambda: pod.as_agent(MEMD, "health")[0] == 0)
        code, said = pod.as_agent(MEMD, "list", *token)
        assert code == 0, said
        assert "trains" in said


def test_the_image_starts_and_its_health_check_passes(directory: Path) -> None:
    start = artefacts.image()
    uid, gid = map(int, artefacts.only("USER").split(":"))
    volumes = [_volume(directory, path, owner=uid, group=gid, mode=0o711) for path in start.volumes]
    inside = Path(start.setting("server.socket"))
    socket = next(v.source / inside.relative_to(v.path) for v in volumes if inside.is_relative_to(v.path))
    with Sandbox((MEMD, *start.arguments), User(uid, gid), volumes, directory / "log", start.environment) as memd:
        memd.wait_until(socket.exists)
        assert memd.run(User(uid, gid), *artefacts.health_command(), environment=start.environment).returncode == 0
        assert memd.terminate() == 0


def test_the_unit_runs_without_writable_code(directory: Path) -> None:
    start = artefacts.unit()
    modes = {"/var/lib/memd": 0o700, "/run/memd": int(artefacts.unit_values("RuntimeDirectoryMode")[0], 8)}
    user = SERVICE_USER
    volumes = [_volume(directory, path, owner=user.uid, group=user.gid, mode=modes[path]) for path in start.volumes]
    environment = {**start.environment, "MEMD_SERVER_SOCKET_GROUP": str(user.gid)}  # there is no group memd here
    command = ("/opt/python/bin/python3", "-c", DENY_WRITE_EXECUTE, MEMD, *start.arguments)
    with Sandbox(command, user, volumes, directory / "log", environment) as memd:
        memd.wait_until((directory / "run-memd" / "memd.sock").exists)
        address = start.setting("server.socket", "--socket")
        other = User(10004, 10004, (user.gid,))
        remembered = memd.run(other, MEMD, "remember", "--address", address, "Ada prefers trains to planes")
        assert remembered.returncode == 0, remembered.stderr
        assert memd.run(User(10004, 10004), MEMD, "health", "--address", address).returncode == 1
        assert memd.terminate() == 0
