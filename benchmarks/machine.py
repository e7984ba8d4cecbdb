"""On what a benchmark was run: machine and versions, as every file of results has them. Needs torch alone."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("transformers", "numpy", "ray", "optuna")


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """Date, machine and versions, as JSON values. Names of hosts and people are not among them.

    Args:
        device: a GPU that is measured. None: there is none.
    """
    card = torch.cuda.get_device_properties(device) if device is not None and device.type == "cuda" else None
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "card": card.name if card else None,
        "card_gb": round(card.total_memory / 1e9, 1) if card else None,
        "capability": f"{card.major}.{card.minor}" if card else None,
        "multiprocessors": card.multi_processor_count if card else None,
        "driver": _driver() if card else None,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if card else None,
        "cudnn": torch.backends.cudnn.version() if card else None,
        **{name: _version(name) for name in PACKAGES},
        "commit": _output(["git", "rev-parse", "--short", "HEAD"]),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # the GPU check runs on machines that have torch and transformers alone
        return None


def _driver() -> str | None:
    return _output(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"])


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None
