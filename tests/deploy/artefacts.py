"""The files of deploy/ as data: what each starts memd with."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
MANIFESTS = tuple(sorted((DEPLOY / "kubernetes").glob("*.yaml")))
COMPOSE = DEPLOY / "compose" / "compose.yaml"
UNIT = DEPLOY / "systemd" / "memd.service"

Table: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """One way memd is started. ``arguments`` are without the program's name, ``volumes`` are the places it may write to."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    volumes: tuple[str, ...]
    secrets: tuple[str, ...] = ()

    def setting(self, key: str, flag: str = "") -> str:
        """The configuration key's value, by flag or environment; "" where it has none."""
        if flag in self.arguments:
            return self.arguments[self.arguments.index(flag) + 1]
        return self.environment.get("MEMD_" + key.upper().replace(".", "_"), "")


def starts() -> Iterator[Start]:
    """Every one."""
    yield image()
    yield from (sidecar(path) for path in MANIFESTS)
    yield composed()
    yield unit()


# -- Dockerfile


def instructions(stage: int = -1) -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of one stage, comments dropped and continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = [[]]
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages[stage]


def image_environment() -> dict[str, str]:
    pairs = [pair for word, rest in instructions() if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def only(word: str) -> str:
    """What follows the one instruction ``word`` of the last stage."""
    (found,) = (rest for name, rest in instructions() if name == word)
    return found


def health_command() -> list[str]:
    """The image's HEALTHCHECK, as a list."""
    command: list[str] = json.loads(only("HEALTHCHECK").partition(" CMD ")[2])
    return command


def image() -> Start:
    command: list[str] = json.loads(only("CMD"))
    return Start("image", tuple(command), image_environment(), tuple(json.loads(only("VOLUME"))))


# -- Kubernetes


def pod(path: Path) -> Table:
    """The pod's spec of the one workload in a manifest."""
    (found,) = (one["spec"]["template"]["spec"] for one in objects(path) if "template" in one["spec"])
    spec: Table = found
    return spec


def objects(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def memd_container(path: Path) -> Table:
    (found,) = (one for one in pod(path)["initContainers"] if one["name"] == "memd")
    container: Table = found
    return container


def sidecar(path: Path) -> Start:
    container = memd_container(path)
    mounts = container["volumeMounts"]
    environment = {pair["name"]: pair["value"] for pair in container["env"]}
    return Start(
        f"kubernetes/{path.name}",
        tuple(container["args"]),
        {**image_environment(), **environment},
        tuple(one["mountPath"] for one in mounts if not one.get("readOnly")),
        tuple(one["mountPath"] for one in mounts if one.get("readOnly")),
    )


# -- compose


def services() -> Table:
    return _composition("services")


def secrets() -> Table:
    return _composition("secrets")


def _composition(part: str) -> Table:
    found: Table = yaml.safe_load(COMPOSE.read_text())[part]
    return found


def composed() -> Start:
    service = services()["memd"]
    return Start(
        "compose",
        image().arguments,
        {**image_environment(), **service["environment"]},
        tuple(volume.split(":")[1] for volume in service["volumes"]),
        tuple(f"/run/secrets/{name}" for name in service["secrets"]),
    )


# -- systemd


def unit_values(key: str) -> list[str]:
    lines = [line.partition("=") for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    return [value for name, _, value in lines if name == key]


def unit() -> Start:
    program, *arguments = shlex.split(unit_values("ExecStart")[0])
    environment = dict(pair.split("=", 1) for line in unit_values("Environment") for pair in shlex.split(line))
    volumes = [f"/var/lib/{unit_values('StateDirectory')[0]}", f"/run/{unit_values('RuntimeDirectory')[0]}"]
    return Start(f"systemd ({program})", tuple(arguments), environment, tuple(volumes))
