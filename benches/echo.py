"""The floor: a bare grpc.aio server that answers Recall and Observe with one prepared reply and does nothing else.

``python -m benches.echo --socket PATH --replies DIR``: DIR holds serialized replies of the daemon, so that what travels
and what is parsed is equal in size and shape. With ``--model ID`` a Recall's query is embedded before the answer, on the
daemon's own embedder: what a server costs that does nothing around the model.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from grpc_health.v1 import _async as aio_health
from grpc_health.v1 import health_pb2, health_pb2_grpc
from memd_client._proto.v1 import memory_service_pb2 as pb

from benches.daemon import MeasuredDaemon
from memd.adapters.embed_onnx import OnnxEmbedder, cache

RECALL_FILE = "recall.bin"
OBSERVE_FILE = "observe.bin"


class EchoServer(MeasuredDaemon):
    """An echo process whose replies are ``recall`` and ``observe``; below ``directory``.

    ``model``: that of the daemon (``NAME/PRECISION``), to be run on the query of each Recall.
    """

    def __init__(
        self,
        directory: Path,
        *,
        recall: pb.RecallResponse | None = None,
        observe: pb.ObserveResponse | None = None,
        model: str = "",
    ) -> None:
        self._replies = directory / ("echo-with-model" if model else "echo")
        super().__init__(self._replies)
        self._model = model
        (self._replies / RECALL_FILE).write_bytes((recall or pb.RecallResponse()).SerializeToString())
        (self._replies / OBSERVE_FILE).write_bytes((observe or pb.ObserveResponse()).SerializeToString())

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the echo in the daemon's place."""
        command = [sys.executable, "-m", "benches.echo", "--socket", str(self.socket_path)]
        command += ["--replies", str(self._replies), "--model", self._model]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self.process


def _handler(
    request: type[Message], reply: Message, first: Callable[[Any], Awaitable[object]] | None = None
) -> grpc.RpcMethodHandler[Any, Any]:
    async def answer(asked: Message, _context: object) -> Message:
        if first is not None:
            await first(asked)
        return reply

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.FromString, response_serializer=type(reply).SerializeToString
    )


def _handlers(replies: Path, embedder: OnnxEmbedder | None) -> grpc.GenericRpcHandler[Any, Any]:
    recall = pb.RecallResponse.FromString((replies / RECALL_FILE).read_bytes())
    observe = pb.ObserveResponse.FromString((replies / OBSERVE_FILE).read_bytes())

    async def embed(asked: pb.RecallRequest) -> None:
        assert embedder is not None
        await embedder.query(asked.query, len, cache=False)

    methods = {
        "Recall": _handler(pb.RecallRequest, recall, embed if embedder else None),
        "Observe": _handler(pb.ObserveRequest, observe),
    }
    return grpc.method_handlers_generic_handler("memd.v1.MemoryService", methods)


async def serve(socket: str, replies: Path, embedder: OnnxEmbedder | None) -> None:
    """Until SIGTERM or SIGINT."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_handlers(replies, embedder),))
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
    parser.add_argument("--model", default="", help="NAME/PRECISION of an installed model to run on each query")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        embedder = None
        if args.model:
            embedder = OnnxEmbedder.load(cache.model_dir(args.model.rpartition("/")[2]))
            stack.callback(embedder.close)
        asyncio.run(serve(args.socket, args.replies, embedder))


if __name__ == "__main__":
    main()
