"""Another user of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOBODY = 65534
IS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def as_nobody(action: str, path: Path) -> str:
    """What another user is told who tries it: `done`, or the name of the exception."""
    child = (
        f"import os, sys\nos.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"path = sys.argv[1]\ntry:\n    {action}\n    print('done')\nexcept OSError as error:\n"
        "    print(type(error).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", child, str(path)], capture_output=True, text=True, check=True)
    return run.stdout.strip()
