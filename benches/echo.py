"""The floor: a bare grpc.aio server that answers Recall and Observe with one prepared reply and does nothing else.

``python -m benches.echo --socket PATH --replies DIR``: DIR holds serialized replies of the daemon, so that what travels
and what is parsed is equal in size and shape.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import _async as aio_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memd_client._proto.v1 import memory_service_pb2 as pb

from benches.daemon import MeasuredDaemon

RECALL_FILE = "recall.bin"
OBSERVE_FILE = "observe.bin"


class EchoServer(MeasuredDaemon):
    """An echo process whose replies are ``recall`` and ``observe``; below ``directory``."""

    def __init__(
        self,
        directory: Path,
        *,
        recall: pb.RecallResponse | None = None,
        observe: pb.ObserveResponse | None = None,
    ) -> None:
        super().__init__(directory / "echo")
        self._replies = directory / "echo"
        (self._replies / RECALL_FILE).write_bytes((recall or pb.RecallResponse()).SerializeToString())
        (self._replies / OBSERVE_FILE).write_bytes((observe or pb.ObserveResponse()).SerializeToString())

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the echo in the daemon's place."""
        command = [sys.executable, "-m", "benches.echo", "--socket", str(self.socket_path)]
        command += ["--replies", str(self._replies)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.process


def _handler(request: type[Message], reply: Message) -> grpc.RpcMethodHandler[Any, Any]:
    async def answer(_request: Message, _context: object) -> Message:
        return reply

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.FromString, response_serializer=type(reply).SerializeToString
    )


def _handlers(replies: Path) -> grpc.GenericRpcHandler[Any, Any]:
    recall = pb.RecallResponse.FromString((replies / RECALL_FILE).read_bytes())
    observe = pb.ObserveResponse.FromString((replies / OBSERVE_FILE).read_bytes())
    methods = {
        "Recall": _handler(pb.RecallRequest, recall),
        "Observe": _handler(pb.ObserveRequest, observe),
    }
    return grpc.method_handlers_generic_handler("memd.v1.MemoryService", methods)


async def serve(socket: str, replies: Path) -> None:
    """Until SIGTERM or SIGINT."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(replies),))
    healthy = aio_health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(f"unix:{socket}")
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await server.start()
    await healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    await stopped.wait()
    await server.stop(None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--replies", type=Path, required=True)
    args = parser.parse_args()
    asyncio.run(serve(args.socket, args.replies))


if __name__ == "__main__":
    main()
