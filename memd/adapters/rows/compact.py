"""JSON as it is stored: UTF-8, no blanks. One encoder for all: ``json.dumps`` with options would make one each time."""

from __future__ import annotations

import json

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
