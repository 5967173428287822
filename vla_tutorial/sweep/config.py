"""`sweep.json`: what a sweep writes there, and whether a folder belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vla_tutorial.episodes import FORMAT, read_config
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import check_writable
from vla_tutorial.provenance import machine, versions
from vla_tutorial.sweep.engine import Engine
from vla_tutorial.sweep.plan import SweepPlan

FREE = ("format", "command", "started", "machine", "serving")
"""Keys of `sweep.json` that may differ when a sweep resumes."""


def sweep_config(plan: SweepPlan, engine: Engine, weights: str, command: str) -> dict[str, Any]:
    """What `sweep.json` says. All but the `FREE` keys must be the same when a sweep resumes.

    Args:
        weights: hash of the policy's checkpoint (`provenance.weights_hash`).
        command: the command that runs the sweep, and resumes it.
    """
    policy = engine.policy_info
    device = policy.provenance.get("device", "cpu")
    gpus = [] if device == "cpu" else [device]
    return {
        **plan.entry(),
        "policy": {"name": policy.name, **policy.provenance, "weights": weights},
        "serving": dict(engine.serving),
        "command": command,
        "versions": versions(),
        "machine": machine(gpus),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def config_text(config: Mapping[str, Any]) -> str:
    """The content of `sweep.json`."""
    return json.dumps({"format": FORMAT, **config}, indent=1, ensure_ascii=False) + "\n"


def check_sweep_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """Raise a TutorialError if a sweep cannot start or resume in `folder`; writes nothing.

    Args:
        config: what `sweep.json` will say, or the part of it that is known by now.
    """
    check_writable(folder)
    if (folder / "sweep.json").is_file():
        # A plan that does not use these keys must not resume one that does.
        wanted = {"targets": None, "starts": None, **config}
        found = config_differences(read_config(folder), wanted)
        if found:
            raise TutorialError(
                f"{folder} holds a sweep of another configuration: {'; '.join(found)}. "
                "Give the same settings to resume it, or choose another --out."
            )
    elif folder.is_dir() and not all(map(_is_empty_start, folder.iterdir())):
        raise TutorialError(
            f"{folder} is not empty and holds no sweep (no sweep.json). "
            "Choose another folder with --out."
        )


def config_differences(
    before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = ""
) -> list[str]:
    """The settings of `after` that are others in `before`, in words.

    Order within lists does not count, nor do the `FREE` keys.
    """
    found = []
    for key, new in after.items():
        old = before.get(key)
        name = prefix + key
        if name in FREE or _same(old, new):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += config_differences(old, new, f"{name}.")
        else:
            was = json.dumps(old, ensure_ascii=False)
            found.append(f"{name} was {was} and is {json.dumps(new, ensure_ascii=False)} now")
    return found


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, list) and isinstance(new, list):
        return sorted(map(str, old)) == sorted(map(str, new))
    return bool(old == new)


def _is_empty_start(file: Path) -> bool:
    """Whether a file is what a sweep leaves behind that was killed before it wrote `sweep.json`."""
    if file.name == "episodes.jsonl":
        return not file.stat().st_size
    return file.name == "sweep.json.part"
