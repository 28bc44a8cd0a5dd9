"""S4: stored bytes never become code. Checked on the syntax tree of everything a daemon or a client runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (ROOT / "memd", ROOT / "clients" / "python" / "memd_client")

FORBIDDEN_MODULES = frozenset(
    {
        "pickle",
        "cPickle",
        "dill",
        "cloudpickle",
        "marshal",
        "shelve",
        "joblib",
        "code",
        "codeop",
        "runpy",
        "ctypes",
        "yaml",
    }
)
FORBIDDEN_CALLS = frozenset({"eval", "exec", "compile", "__import__"})

# module.function -> why it may import by name or start a process: none of the names come from stored or sent bytes
IMPORTS_BY_NAME = {
    "memd/cli/__init__.py": "the table of commands, fixed in the code",
    "memd/testing_hooks.py": "the operator's environment, in test mode only",
}
STARTS_PROCESSES = {"memd/adapters/embed_onnx/sources.py": "memd model install asks pip for the weights"}


def sources() -> list[Path]:
    found = [path for package in PACKAGES for path in package.rglob("*.py") if "_proto" not in path.parts]
    assert len(found) > 100
    return sorted(found)


def violations(tree: ast.Module, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (f"{name}: imports {module}" for module in _modules(node) if _refused(module, name))
        if isinstance(node, ast.Call):
            called = _called(node.func)
            if called in FORBIDDEN_CALLS:
                yield f"{name}:{node.lineno}: calls {called}"
            if called.endswith("import_module") and name not in IMPORTS_BY_NAME:
                yield f"{name}:{node.lineno}: imports by name"
            if any(keyword.arg == "allow_pickle" and not _is_false(keyword.value) for keyword in node.keywords):
                yield f"{name}:{node.lineno}: numpy may unpickle"


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]


def _refused(module: str, name: str) -> bool:
    top = module.partition(".")[0]
    return top in FORBIDDEN_MODULES or (top == "subprocess" and name not in STARTS_PROCESSES)


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Name):
        return function.id
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return "re.compile" if function.value.id == "re" else f"{function.value.id}.{function.attr}"
    return ""


def _is_false(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is False


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_can_turn_bytes_into_code(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    assert not list(violations(ast.parse(path.read_text(encoding="utf-8")), name))


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from marshal import loads",
        "eval(row)",
        "exec(row)",
        "import importlib; importlib.import_module(row)",
        "import numpy; numpy.load(path, allow_pickle=True)",
        "import subprocess",
    ],
)
def test_the_check_finds_what_it_looks_for(line: str) -> None:
    assert list(violations(ast.parse(line), "memd/planted.py"))


SQL_CALLS = frozenset({"execute", "executemany", "executescript"})


def unbound_values(tree: ast.Module) -> Iterator[int]:
    """Lines where SQL text is made with ``%`` or ``.format``: values must be bound, and identifiers be constants."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in SQL_CALLS
            and node.args
        ):
            sql = node.args[0]
            formatted = isinstance(sql, ast.Call) and isinstance(sql.func, ast.Attribute) and sql.func.attr == "format"
            if formatted or (isinstance(sql, ast.BinOp) and isinstance(sql.op, ast.Mod | ast.Add)):
                yield node.lineno
            if isinstance(sql, ast.JoinedStr):
                yield from (
                    node.lineno for part in sql.values if isinstance(part, ast.FormattedValue) and _quoted(sql, part)
                )


def _quoted(sql: ast.JoinedStr, part: ast.FormattedValue) -> bool:
    """Whether a part of an f-string stands where a value does: inside quotes."""
    before = "".join(str(v.value) for v in sql.values[: sql.values.index(part)] if isinstance(v, ast.Constant))
    return before.count("'") % 2 == 1


@pytest.mark.parametrize(
    "path", sorted((ROOT / "memd" / "adapters" / "sqlite").glob("*.py")), ids=lambda path: path.name
)
def test_sql_is_never_made_of_values(path: Path) -> None:
    assert not list(unbound_values(ast.parse(path.read_text(encoding="utf-8"))))
