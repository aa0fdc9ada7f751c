"""Versions and hardware that a comparison ran on."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import aimc_robust
from aimc_robust.training.fabric import Machine

PACKAGES = ("torch", "torchvision", "numpy", "numba", "scipy", "pandas", "scikit-learn", "pydantic", "matplotlib")


def describe_environment(machine: Machine, threads: int | None = None) -> dict[str, Any]:
    """Return versions, git commit (None outside a checkout), device, processes, and their threads; None: as here."""
    return {
        "aimc_robust": aimc_robust.__version__,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        **{name: version for name in PACKAGES if (version := _version(name)) is not None},
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": threads or torch.get_num_threads(),
        "device": machine.device_name,
        "processes": machine.processes,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    package = Path(aimc_robust.__file__).parent
    if not (package.parent / ".git").exists():
        return None
    command = ["git", "-C", str(package.parent), "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return completed.stdout.strip() or None
