"""``_core.pyi`` says what the module has: every name, every parameter, every default."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

from memd import _core

STUB = ast.parse(Path(_core.__file__).with_name("_core.pyi").read_text())


def _parameters(function: ast.FunctionDef) -> list[tuple[str, object]]:
    """Names and defaults, without ``self``."""
    names = [a.arg for a in function.args.args if a.arg != "self"]
    defaults: list[object] = [inspect.Parameter.empty] * (len(names) - len(function.args.defaults))
    defaults += [ast.literal_eval(d) for d in function.args.defaults]
    only = [
        (a.arg, ast.literal_eval(d))
        for a, d in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
        if d
    ]
    return [*zip(names, defaults, strict=True), *only]


def _real(signature: inspect.Signature) -> list[tuple[str, object]]:
    return [(p.name, p.default) for p in signature.parameters.values() if p.name != "self"]


def test_functions_have_the_parameters_the_stub_says() -> None:
    functions = [node for node in STUB.body if isinstance(node, ast.FunctionDef)]
    named = {
        "simd_level",
        "pack_context",
        "default_cues",
        "default_nothing",
        "give_back_memory",
        "analyze_batch",
        "extract_sentences",
    }
    assert {f.name for f in functions} == named
    for function in functions:
        assert _real(inspect.signature(getattr(_core, function.name))) == _parameters(function)


def test_classes_have_the_members_the_stub_says() -> None:
    classes = [node for node in STUB.body if isinstance(node, ast.ClassDef)]
    assert len(classes) == 12
    for stub in classes:
        real = getattr(_core, stub.name)
        members = [node for node in stub.body if isinstance(node, ast.FunctionDef)]
        for member in members:
            assert hasattr(real, member.name), f"{stub.name}.{member.name}"
            if member.name == "__init__":
                assert _real(inspect.signature(real)) == _parameters(member), stub.name
            elif not member.decorator_list and not member.name.startswith("__"):
                assert _real(inspect.signature(getattr(real, member.name))) == _parameters(member), member.name
        attributes = {n.target.id for n in stub.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        public = {name for name in vars(real) if not name.startswith("_")}
        assert public == attributes | {m.name for m in members if not m.name.startswith("__")}
