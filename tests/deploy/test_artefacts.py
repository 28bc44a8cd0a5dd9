"""The files of deploy/ fit memd: every flag, setting and path they use is there, and they agree with each other."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from memd.cli.parser import build_parser
from memd.config import keys, load
from tests.deploy import artefacts
from tests.deploy.artefacts import DEPLOY, MANIFESTS, ROOT, Start

STARTS = tuple(artefacts.starts())
SETTINGS = {"MEMD_" + key.upper().replace(".", "_") for key in keys()}
OF_COMMANDS = {"MEMD_ADDRESS", "MEMD_MODEL_DIR", "MEMD_CONFIG"}
CHECKER = ROOT / ".venv" / "deploy" / "bin" / "python"

each_start = pytest.mark.parametrize("start", STARTS, ids=lambda start: start.name)
each_manifest = pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)


def _below(path: str, directories: tuple[str, ...]) -> bool:
    return any(PurePosixPath(path).is_relative_to(directory) for directory in directories)


@each_start
def test_the_command_line_is_memds(start: Start) -> None:
    assert build_parser().parse_args(start.arguments).command == "serve"


@each_start
def test_every_setting_is_known_and_its_value_accepted(start: Start, tmp_path: Path) -> None:
    named = {name: value for name, value in start.environment.items() if name.startswith("MEMD_")}
    assert set(named) <= SETTINGS | OF_COMMANDS
    for name in named:
        if name.endswith("_URL_FILE"):
            scheme = name.split("_")[1].lower().replace("postgres", "postgresql")
            named[name] = str(tmp_path / name)
            (tmp_path / name).write_text(f"{scheme}://server/0\n")
    load(environ={**named, "MEMD_CONFIG": os.devnull})


@each_start
def test_what_it_writes_is_on_a_volume_and_what_it_is_told_in_a_secret(start: Start) -> None:
    assert _below(start.setting("storage.data_dir", "--data-dir"), start.volumes)
    assert _below(start.setting("server.socket", "--socket"), start.volumes)
    told = ("server.token_file", "redis.url_file", "postgres.url_file")
    paths = [start.setting(key, "--token-file" if key.startswith("server") else "") for key in told]
    assert all(_below(path, start.secrets) for path in paths if path)


@each_start
def test_no_secret_is_in_the_file_itself(start: Start) -> None:
    assert not [value for value in start.environment.values() if re.search(r"://[^/]*:[^/]*@", value)]
    assert not start.setting("redis.url", "--redis") + start.setting("postgres.url", "--postgres")


# -- the image


def test_the_health_check_is_a_command() -> None:
    program, *arguments = artefacts.health_command()
    assert [program] == json.loads(artefacts.only("ENTRYPOINT"))
    assert build_parser().parse_args(arguments).command == "health"
    environment = artefacts.image_environment()
    assert environment["MEMD_ADDRESS"] == f"unix:{environment['MEMD_SERVER_SOCKET']}"


def test_the_compiler_is_new_enough() -> None:
    stages = (DEPLOY / "Dockerfile").read_text()
    rust = re.search(r"ARG RUST=([\d.]+)", stages)
    python = re.search(r"ARG PYTHON=([\d.]+)", stages)
    assert rust is not None
    assert python is not None
    workspace = tomllib.loads((ROOT / "rust_core" / "Cargo.toml").read_text())["workspace"]["package"]
    assert _version(rust[1]) >= _version(workspace["rust-version"])
    assert _version(python[1]) >= (3, 11)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_the_build_context_has_what_the_build_needs_and_no_more() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    kept = {path for path in tracked if _in_context(path)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    manifest = project["tool"]["maturin"]["manifest-path"]
    needed = {
        manifest,
        "constraints.txt",
        "rust_core/Cargo.lock",
        "rust_core/core/build.rs",
        "memd/app.py",
        "README.md",
    }
    assert needed <= kept
    assert {path.split("/")[0] for path in kept} == {
        *("LICENSE", "README.md", "constraints.txt", "pyproject.toml"),
        *("clients", "memd", "rust_core"),
    }


def _in_context(path: str) -> bool:
    """By the rules of .dockerignore: patterns match from the top, or anywhere after **/, and the last that matches counts."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    parents = [path, *map(str, PurePosixPath(path).parents)]
    kept = True
    for line in (line for line in lines if line and not line.startswith("#")):
        pattern = line.removeprefix("!")
        names = [one.rpartition("/")[2] for one in parents] if pattern.startswith("**/") else parents
        if any(fnmatch.fnmatch(name, pattern.removeprefix("**/")) for name in names):
            kept = line.startswith("!")
    return kept


# -- Kubernetes


@each_manifest
def test_memd_is_a_native_sidecar_that_is_probed_where_it_listens(manifest: Path) -> None:
    container = artefacts.memd_container(manifest)
    assert container["restartPolicy"] == "Always"
    listens = artefacts.sidecar(manifest).setting("server.health_listen", "--health-listen")
    port = int(listens.rpartition(":")[2])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["grpc"] == {"port": port}
    assert port in {one["containerPort"] for one in container["ports"]}


@each_manifest
def test_the_pod_passes_the_restricted_standard(manifest: Path) -> None:
    pod = artefacts.pod(manifest)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["initContainers"], *pod["containers"]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


@each_manifest
def test_the_agent_is_another_user_of_the_sockets_group(manifest: Path) -> None:
    pod, memd = artefacts.pod(manifest), artefacts.memd_container(manifest)
    (agent,) = pod["containers"]
    start = artefacts.sidecar(manifest)
    assert start.setting("server.socket_mode") == "0660"
    assert int(start.setting("server.socket_group")) == pod["securityContext"]["fsGroup"]
    assert agent["securityContext"]["runAsUser"] != memd["securityContext"]["runAsUser"]
    assert {"name": "MEMD_ADDRESS", "value": f"unix:{start.setting('server.socket')}"} in agent["env"]
    (mount,) = (one for one in agent["volumeMounts"] if one["name"] == "memd-socket")
    assert mount["readOnly"] is True
    assert _below(start.setting("server.socket"), (mount["mountPath"],))


@each_manifest
def test_memd_is_the_images_user(manifest: Path) -> None:
    context = artefacts.memd_container(manifest)["securityContext"]
    assert artefacts.only("USER") == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert artefacts.memd_container(manifest)["image"] == artefacts.services()["memd"]["image"]


@each_manifest
def test_every_volume_that_is_mounted_is_declared(manifest: Path) -> None:
    (workload,) = (one for one in artefacts.objects(manifest) if "template" in one["spec"])
    pod = artefacts.pod(manifest)
    claims = [one["metadata"]["name"] for one in workload["spec"].get("volumeClaimTemplates", [])]
    declared = {*claims, *(one["name"] for one in pod["volumes"])}
    mounted = {
        mount["name"]
        for container in (*pod["initContainers"], *pod["containers"])
        for mount in container["volumeMounts"]
    }
    assert mounted == declared
    secrets = [one["secret"] for one in pod["volumes"] if "secret" in one]
    assert all(secret["defaultMode"] & 0o027 == 0 for secret in secrets)  # what memd asks of a token file


# -- compose


def test_the_secrets_that_are_made_are_those_that_are_mounted(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "compose" / "secrets.sh", tmp_path)
    subprocess.run([tmp_path / "secrets.sh"], check=True)
    declared = artefacts.secrets()
    made = {f"secrets/{path.name}": path for path in (tmp_path / "secrets").iterdir()}
    assert {secret["file"] for secret in declared.values()} == set(made)
    assert {name for service in artefacts.services().values() for name in service.get("secrets", ())} == set(declared)
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    password = made["secrets/postgres-password"].read_text()
    assert f":{password}@postgres:" in made["secrets/postgres-url"].read_text()
    redis = made["secrets/redis-conf"].read_text().split()[1]
    assert f":{redis}@redis:" in made["secrets/redis-url"].read_text()
    assert password != redis
    assert subprocess.run([tmp_path / "secrets.sh"], check=False, capture_output=True).returncode != 0  # never replaced


def test_the_command_line_of_the_compose_file_reaches_memd() -> None:
    cli, memd = artefacts.services()["cli"], artefacts.services()["memd"]
    user, group = cli["user"].split(":")
    assert user != artefacts.only("USER").split(":")[0]
    assert group == memd["environment"]["MEMD_SERVER_SOCKET_GROUP"]
    assert "memd-socket:/run/memd:ro" in cli["volumes"]
    assert "memd-socket:/run/memd" in memd["volumes"]


def test_redis_keeps_what_memd_stores_there() -> None:
    command = artefacts.services()["redis"]["command"]
    given = dict(zip(command[2::2], command[3::2], strict=True))
    assert given == {"--appendonly": "yes", "--appendfsync": "everysec", "--maxmemory-policy": "noeviction"}


# -- systemd


def test_the_unit_runs_as_the_user_that_sysusers_makes() -> None:
    (line,) = (line for line in (DEPLOY / "systemd" / "memd.sysusers.conf").read_text().splitlines() if line[:1] == "u")
    name, home = shlex.split(line)[1], shlex.split(line)[4]
    assert artefacts.unit_values("User") == artefacts.unit_values("Group") == [name]
    assert artefacts.unit().setting("server.socket_group") == name
    assert home == artefacts.unit().setting("storage.data_dir", "--data-dir")


def test_what_memd_needs_is_not_taken_away() -> None:
    """/proc/cpuinfo picks the model's kernels."""
    assert artefacts.unit_values("ProcSubset") == []


# -- the schema check


def _misspell(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        ("Dockerfile", _misspell("USER 10001:10001", "USSR 10001:10001")),
        ("kubernetes/embedded.yaml", _misspell("startupProbe", "startUpProbe")),
        ("kubernetes/servers.yaml", _misspell("periodSeconds: 1", 'periodSeconds: "1"')),
        ("compose/compose.yaml", _misspell("read_only", "readonly")),
        ("systemd/memd.service", _misspell("ProtectSystem=", "ProtectSytem=")),
        ("systemd/memd.service", _misspell("CapabilityBoundingSet=\n", "")),
    ],
)
def test_the_check_finds_what_is_spoilt(file: str, spoil: Callable[[str], str], tmp_path: Path) -> None:
    if not CHECKER.exists():
        pytest.skip("the schemas are not installed: make deploy-check")
    if file.startswith("systemd") and shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze on this machine")
    copy = tmp_path / "deploy"
    shutil.copytree(DEPLOY, copy)
    (copy / file).write_text(spoil((copy / file).read_text()))
    assert (copy / file).read_text() != (DEPLOY / file).read_text()
    done = subprocess.run([CHECKER, copy / "check.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("FAILED") == 1
