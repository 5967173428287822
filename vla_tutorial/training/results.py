"""Result files of closed-loop episodes: success with its interval, task by task, and a short row an episode."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vla_tutorial.errors import TutorialError
from vla_tutorial.record import versions, write_atomically

Entry = dict[str, Any]
"""A finished episode: what it was (plan, suite, task, init, conditions, named), and how it went, or `error`: why it could not be run."""

CONDITIONS = ("no_flip", "wrong_prompt", "wrong_unnorm_key")
"""Plans that share one file."""

FILES = {name: f"mini_{part}.json" for name, part in (("official", "libero_object"), ("swap", "swap"), ("named", "named"))}
FILES |= {"practice": "mini_practice.json", **dict.fromkeys(CONDITIONS, "mini_conditions.json")}
"""Plan → the file that its result goes to."""

PROGRESS, SAVE = 10.0, 30.0
"""Seconds between lines of progress, and between result files."""


def rate(entries: Sequence[Entry]) -> dict[str, Any]:
    """Success of the episodes that came to an end, with Wilson's 95 % interval; `errors` are counted beside them, never as failures."""
    ended = [e for e in entries if "error" not in e]
    successes = sum(bool(e["success"]) for e in ended)
    found: dict[str, Any] = {"episodes": len(ended), "errors": len(entries) - len(ended), "successes": successes}
    if not ended:
        return {**found, "success_rate": None, "interval": None}
    from vla_tutorial.stats import wilson  # not above: simulators' processes import this module too, and start faster without scipy

    interval = [round(end, 4) for end in wilson(successes, len(ended))]
    return {**found, "success_rate": round(successes / len(ended), 4), "interval": interval}


def summary(entries: Sequence[Entry]) -> dict[str, Any]:
    """What one plan's episodes say: the whole, each task (and each object that was asked for), and a row an episode."""
    ended = [e for e in entries if "error" not in e]
    found = {
        **rate(entries),
        "steps_of_successes": _quantiles([e["steps"] for e in ended if e["success"]]),
        "first_close": _quantiles([e["first_close"] for e in ended]),
        "farthest_m": _quantiles([e["farthest_m"] for e in ended]),
        "per_task": _groups(entries, "task", "task_instruction"),
    }
    asked = [e for e in entries if e["named"]]
    if asked:
        found["own_target_instead"] = sum(e["own_target"] and not e["success"] for e in ended)
        found["per_named"] = _groups(asked, "named", "instruction")
    order = sorted(entries, key=lambda e: (e["task"], e["named"] or "", e["init"]))
    return {**found, "rows": [_row(e) for e in order]}


def _quantiles(values: Sequence[float | None]) -> dict[str, float] | None:
    known = [v for v in values if v is not None]
    return {"min": min(known), "median": round(statistics.median(known), 4), "max": max(known)} if known else None


def _groups(entries: Sequence[Entry], key: str, instruction: str) -> list[dict[str, Any]]:
    groups = []
    for value in sorted({e[key] for e in entries}):
        mine = [e for e in entries if e[key] == value]
        text = next((e[instruction] for e in mine if instruction in e), None)  # an episode that failed to start has none
        groups.append({key: value, "instruction": text, **rate(mine)})
    return groups


def _row(entry: Entry) -> dict[str, Any]:
    row = {k: entry[k] for k in ("task", "init", "named", "conditions") if entry[k] not in (None, [])}
    if "error" in entry:
        return {**row, "success": None, "error": entry["error"]}
    own = ["own_target"] if entry["named"] else []
    return row | {k: entry[k] for k in ["success", "steps", "first_close", "closes", *own]}


def layout(value: Any, indent: str = "") -> str:
    """JSON with one line for each key and each row, so that files stay small and their differences readable."""
    inner = indent + " "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(k)}: {layout(v, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(inner + json.dumps(v, ensure_ascii=False) for v in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def machine(gpus: Sequence[str]) -> dict[str, Any]:
    """What the figures were measured on. `gpus`: names, in the order of their numbers."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return {"gpus": list(gpus), "cpus": os.cpu_count(), "cpu": model or platform.machine()}


def read_entries(path: Path) -> list[Entry]:
    """The episodes in an `episodes.jsonl` that came to an end; a last line without its end, which a kill leaves, is dropped.

    Raises:
        TutorialError: another line is broken; its number is named.
    """
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    found = []
    for number, text in enumerate(lines, 1):
        try:
            entry = json.loads(text)
            found += [entry] if "error" not in entry and entry["plan"] else []
        except (ValueError, KeyError, TypeError) as e:
            raise TutorialError(f"{path}, line {number} is not an episode ({e!r}). Remove the line and resume.") from e
    return found


class Report:
    """Keeps every finished episode: at once in `episodes.jsonl`, every `SAVE` seconds and at the end in the result files.

    Attributes:
        entries: the episodes so far.
        facts: what the files say beside the figures: command, machine, and `protocol`, to which the renderer is added.
    """

    def __init__(self, out: Path, planned: Mapping[str, int], resume: bool = False) -> None:
        """Create the folder.

        Args:
            planned: number of episodes by plan.
            resume: go on with the episodes that the folder holds; those that ended in an error are left out, and can be run again.

        Raises:
            TutorialError: the folder holds episodes already and is not to be resumed, or a line of them is broken.
        """
        self.out, self.planned, self.entries = out, dict(planned), list[Entry]()
        self.facts: dict[str, Any] = {"protocol": {}}
        self._lines = out / "episodes.jsonl"
        if self._lines.exists() and not resume:
            raise TutorialError(
                f"{out} already holds episodes.jsonl. Choose another folder with --out, go on with --resume, or delete that file."
            )
        out.mkdir(parents=True, exist_ok=True)
        self.entries += read_entries(self._lines) if self._lines.exists() else []
        self._had = len(self.entries)
        write_atomically(self._lines, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in self.entries))
        self._started = self._printed = self._saved = time.monotonic()
        self._answered = 0

    def belongs_to(self, run: Mapping[str, Any]) -> None:
        """Remember in `run.json` what decides the outcomes, for a figure must not be of two policies.

        Raises:
            TutorialError: the folder's episodes are of another run, or do not say which.
        """
        path, text = self.out / "run.json", json.dumps(run)
        if self._had and (found := path.read_text() if path.exists() else "nothing") != text:
            raise TutorialError(
                f"{self.out} holds episodes of another run: {path.name} says {found}, expected {text}. Choose another --out."
            )
        write_atomically(path, text)

    def add(self, entry: Entry) -> None:
        """Keep an episode."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.entries.append(entry)

    def tick(self, answered: int) -> None:
        """Print progress and write the files when it is time. `answered`: control steps so far."""
        now = time.monotonic()
        if now - self._printed >= PROGRESS:
            print(self.progress((answered - self._answered) / (now - self._printed)), flush=True)
            self._printed, self._answered = now, answered
        if now - self._saved >= SAVE:
            self.write()
            self._saved = now

    def progress(self, speed: float | None = None) -> str:
        """One line: episodes of all, successes by plan, errors, and control steps a second where they are known."""
        plans = [rate(self._of(plan)) | {"plan": plan} for plan in self.planned]
        parts = ", ".join(f"{p['plan']} {p['successes']}/{p['episodes']}" for p in plans)
        errors = sum(p["errors"] for p in plans)
        seconds = time.monotonic() - self._started
        total = sum(self.planned.values())
        rhythm = "" if speed is None else f", {speed:.0f} steps/s"
        return f"{seconds:4.0f} s: {len(self.entries)} of {total} episodes, {parts}, {errors} errors{rhythm}"

    def write(self) -> None:
        """Write the result file of each plan that has episodes, each in one move."""
        begun = {e["plan"] for e in self.entries}
        for file in dict.fromkeys(FILES[plan] for plan in self.planned if plan in begun):
            plans = [plan for plan in self.planned if FILES[plan] == file]
            found = self._conditions(plans) if set(plans) & set(CONDITIONS) else summary(self._of(plans[0]))
            rows = {k: found.pop(k) for k in ("conditions", "baseline", "rows") if k in found}  # long, so they come last
            write_atomically(self.out / file, layout({**self._head(plans), **found, **rows}) + "\n")

    def _of(self, plan: str) -> list[Entry]:
        return [e for e in self.entries if e["plan"] == plan]

    def _head(self, plans: Sequence[str]) -> dict[str, Any]:
        mine = [e for e in self.entries if e["plan"] in plans]
        own = {"settle_steps": "1 to 10, as each layout says"} if list(plans) == ["practice"] else {}
        return {
            **self.facts,
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._started, 1),
            **({"episodes_of_earlier_runs": self._had} if self._had else {}),
            "protocol": {**self.facts["protocol"], **own, "renderer": sorted({e["renderer"] for e in mine if "renderer" in e})},
            "complete": len(mine) == sum(self.planned[plan] for plan in plans),
        }

    def _conditions(self, plans: Sequence[str]) -> dict[str, Any]:
        """A section a condition, and the published protocol on the same initial states."""
        mine = [e for e in self.entries if e["plan"] in plans]
        same = {(e["task"], e["init"]) for e in mine}
        baseline = [e for e in self._of("official") if (e["task"], e["init"]) in same]
        found = {**rate(mine), "conditions": {plan: summary(self._of(plan)) for plan in plans}}
        return found | ({"baseline": summary(baseline)} if baseline else {})
