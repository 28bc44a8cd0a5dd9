"""Imports point one way: domain <- ports <- {tiers, service, adapters}; service <- rpc <- app <- __main__, cli.

Read from the syntax tree, so an import hidden in a function counts (and is refused by itself).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "memd"

LAYERS = {
    "domain": {"domain", "limits"},
    "ports": {"ports", "domain", "limits"},
    "tiers": {"tiers", "domain", "ports", "limits"},
    "service": {"service", "tiers", "domain", "ports", "limits"},
    "adapters": {"adapters", "domain", "ports", "limits", "_core"},
    "rpc": {"rpc", "service", "domain", "ports", "limits"},
    "limits": set[str](),
    "config": {"config", "config_values", "log", "domain", "limits"},
    "config_values": {"config_values", "domain", "limits"},
    "log": {"log", "domain", "limits"},
    "tasks": {"tasks", "domain", "limits"},
    "metrics": {"metrics", "domain", "ports", "limits"},
    "testing_hooks": {"domain", "limits"},
    "grpc_environment": set[str](),
}
"""What each part of memd may import from memd. What is not named here is assembly, which no part may import."""
ASSEMBLY = {"app", "background", "models", "stores", "cli", "listen", "serving", "summarizers", "__main__"}
CLIENT_USERS = {"rpc", "config"} | ASSEMBLY  # config: the default socket path has one definition
FUNCTION_LEVEL_ALLOWED: set[tuple[str, str]] = {("summarizers.py", "memd.adapters.summarize.http")}
"""(file, module): heavy optional extras alone."""


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    part: str
    module: str
    in_function: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def _part(module: str) -> str:
    """``memd.domain.errors`` -> ``domain``; ``memd`` -> ``memd``."""
    return module.split(".")[1] if "." in module else module


def _imports_of(tree: ast.AST, file: str, part: str) -> Iterator[Import]:
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        in_function = id(node) in inner
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, part, alias.name, in_function)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            for alias in node.names:
                yield Import(file, node.lineno, part, f"{base}.{alias.name}" if base else alias.name, in_function)
            if node.level:
                yield Import(file, node.lineno, part, "RELATIVE", in_function)


def _all_imports() -> list[Import]:
    found: list[Import] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        part = relative.parts[0].removesuffix(".py")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += _imports_of(tree, str(relative), part)
    return found


IMPORTS = _all_imports()


def _memd(module: str) -> bool:
    return module == "memd" or module.startswith("memd.")


def _wrong(imports: list[Import]) -> list[str]:
    wrong = []
    for one in imports:
        if one.part not in LAYERS or not _memd(one.module):
            continue
        if _part(one.module) not in LAYERS[one.part] and one.module != "memd.__version__":
            wrong.append(str(one))
    return wrong


def test_imports_follow_the_arrows() -> None:
    assert _wrong(IMPORTS) == []


def test_the_check_sees_a_wrong_arrow_even_inside_a_function() -> None:
    source = "def f():\n    from memd.adapters.sqlite import SqliteStores\n"
    imports = list(_imports_of(ast.parse(source), "service/x.py", "service"))
    assert _wrong(imports) == ["service/x.py:2 imports memd.adapters.sqlite.SqliteStores"]
    assert imports[0].in_function
    assert _wrong(list(_imports_of(ast.parse("from memd import adapters"), "tiers/x.py", "tiers"))) != []


def test_every_part_is_layered() -> None:
    parts = {one.part for one in IMPORTS} - {"__init__"}
    assert parts - LAYERS.keys() - ASSEMBLY == set(), "name the new part in LAYERS"


def test_only_the_assembly_knows_concrete_adapters() -> None:
    knowing = {one.part for one in IMPORTS if one.module.startswith(("memd.adapters", "memd._core"))}
    assert knowing <= ASSEMBLY | {"adapters"}


def test_the_domain_needs_the_standard_library_alone() -> None:
    foreign = [
        str(one)
        for one in IMPORTS
        if one.part in {"domain", "limits"}
        and not _memd(one.module)
        and one.module.split(".")[0] not in sys.stdlib_module_names
    ]
    assert foreign == []


def test_only_rpc_knows_grpc_besides_the_assembly() -> None:
    knowing = {one.part for one in IMPORTS if one.module.split(".")[0] in {"grpc", "google", "grpc_status"}}
    assert knowing <= {"rpc"} | ASSEMBLY


def test_only_the_install_of_the_model_and_a_summarizer_know_a_network() -> None:
    """No LLM and no network in the write or the recall path: what could reach one is not imported there."""
    reaching = {"urllib", "http", "requests", "httpx", "httpx2", "aiohttp", "huggingface_hub", "anthropic", "openai"}
    parsing = "urllib.parse"  # takes a text apart
    knowing = {
        one.file
        for one in IMPORTS
        if one.module.split(".")[0] in reaching | {"smtplib"} and not one.module.startswith(parsing)
    }
    assert knowing == {"adapters/embed_onnx/sources.py", "adapters/summarize/http.py"}
    users = {one.part for one in IMPORTS if one.module.startswith("memd.adapters.summarize.http")}
    assert users <= ASSEMBLY


def test_the_client_package_is_for_stubs_and_command_line() -> None:
    knowing = {one.part for one in IMPORTS if one.module.split(".")[0] == "memd_client"}
    assert knowing <= CLIENT_USERS


def test_no_import_hides_in_a_function() -> None:
    hidden = [str(one) for one in IMPORTS if one.in_function and (one.file, one.module) not in FUNCTION_LEVEL_ALLOWED]
    assert hidden == []


def test_no_import_is_relative() -> None:
    assert [str(one) for one in IMPORTS if one.module == "RELATIVE"] == []


def test_the_client_does_not_import_the_daemon() -> None:
    for path in (ROOT / "clients/python/memd_client").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [one for one in _imports_of(tree, path.name, "client") if _memd(one.module)], path.name
