"""The runtime that runs the model tells nobody about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from memd.adapters.embed_onnx.cache import models_dir

EMBED = """
import time
from memd.adapters.embed_onnx.session import ort
print(ort.__version__)
time.sleep(1)  # it reports from a thread of its own
"""


def test_the_runtime_leaves_no_device_id_and_keeps_no_reports(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "MEMD_MODEL_DIR": str(models_dir()), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", EMBED], env=environment, check=True, capture_output=True)
    assert list(tmp_path.rglob("*")) == []
