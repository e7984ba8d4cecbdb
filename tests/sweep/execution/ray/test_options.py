"""What must be known before ray is imported."""

from __future__ import annotations

import os
import subprocess
import sys

from sweep.execution.ray.options import LOOPBACK_ONLY


def test_options_are_read_without_ray() -> None:
    code = "import sys; sys.modules['ray'] = None\nimport sweep.execution.ray.options"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_ray_on_this_machine_stays_on_the_loopback_address() -> None:
    code = "import ray.util; print(ray.util.get_node_ip_address())"
    environment = os.environ | LOOPBACK_ONLY
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "127.0.0.1"
