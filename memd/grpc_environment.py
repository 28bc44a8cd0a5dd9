"""How gRPC's core is told to wait for sockets; imported before ``grpc`` by a process that serves.

Its newer event engine hands what arrives to a pool of threads of its own before the thread that waits for it gets to see it.
A daemon with one event loop does without: the waiting thread reads the socket itself, which costs 0.1 ms less a call
(``docs/benchmarks.md``). A caller's own ``GRPC_EXPERIMENTS`` stays as it is.
"""

import os

os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
