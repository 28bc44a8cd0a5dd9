"""Where the daemon is: one rule for the client, the command line and the daemon itself."""

from __future__ import annotations

import os
from collections.abc import Mapping

from memd_client.errors import InvalidArgument

ADDRESS_VARIABLE = "MEMD_ADDRESS"


def default_socket_path(environ: Mapping[str, str] | None = None) -> str:
    """``$XDG_RUNTIME_DIR/memd/memd.sock``, or ``/tmp/memd-<uid>/memd.sock`` where there is no run-time directory."""
    environ = os.environ if environ is None else environ
    runtime = environ.get("XDG_RUNTIME_DIR") or ""
    directory = os.path.join(runtime, "memd") if os.path.isabs(runtime) else f"/tmp/memd-{os.getuid()}"
    return os.path.join(directory, "memd.sock")


def default_address(environ: Mapping[str, str] | None = None) -> str:
    """``$MEMD_ADDRESS``, else the default socket."""
    environ = os.environ if environ is None else environ
    return environ.get(ADDRESS_VARIABLE) or f"unix:{default_socket_path(environ)}"


def target(address: str) -> str:
    """The gRPC target of an address: ``unix:PATH``, an absolute ``/PATH`` or ``HOST:PORT``.

    Raises InvalidArgument for anything else.
    """
    if address.startswith("/"):
        return f"unix:{address}"
    if address.startswith("unix:"):
        path = address.removeprefix("unix:").removeprefix("//")
        if path:
            return f"unix:{path}"
    else:
        host, colon, port = address.rpartition(":")
        if host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536 and "/" not in host:
            return address
    raise InvalidArgument("an address is unix:/PATH, /PATH or HOST:PORT", field="address")
