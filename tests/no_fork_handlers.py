"""Tests start real servers beside live channels; imported before ``grpc``.

gRPC's fork handlers would start threads in the child between its fork and its exec, and these have crashed it. A child that
becomes another program at once needs none of them.
"""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
