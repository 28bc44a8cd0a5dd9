"""How the functions of ``calls`` become methods of a client, with their signature and documentation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from memd_client.calls.call import Call
from memd_client.errors import InvalidArgument

R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


def build(function: Callable[..., Call[R]], *args: Any, **kwargs: Any) -> Call[R]:
    """Build the call; what protobuf cannot encode (a negative count, half a surrogate pair) is InvalidArgument."""
    try:
        return function(*args, **kwargs)
    except ValueError as exc:
        raise InvalidArgument(f"an argument cannot be encoded: {exc}") from exc


def documented(method: F, function: Callable[..., Any], returns: Callable[[str], str] = str) -> F:
    """Give the method the name, documentation and signature of the function, with ``self`` in place of the scope."""
    functools.update_wrapper(method, function)
    method.__name__ = function.__name__.removesuffix("_page") if returns is not str else function.__name__
    signature = inspect.signature(function)
    _scope, *parameters = signature.parameters.values()
    me = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    inner = str(signature.return_annotation).removeprefix("Call[").removesuffix("]").replace("t.", "")
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[me, *parameters], return_annotation=returns(inner)
    )
    return method
