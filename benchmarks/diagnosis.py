"""How well a log names the broken boundary: published ranges, episodes to judge, and the confusion matrix.

    python benchmarks/diagnosis.py reference --out vla_tutorial/data/published_signatures.json           (5 minutes on one core)
    python benchmarks/diagnosis.py record --inits 0-24 --each 5 --out out/diagnosis/tuning               (40 s of a core a failed episode)
    python benchmarks/diagnosis.py record --inits 25-49 --each 5 --out out/diagnosis/test
    python benchmarks/diagnosis.py confusion out/diagnosis/test --out results/diagnosis_mini.json        (a minute for 9,400 episodes)

Thresholds were set on initial states 0–24 only; judge on 25–49. `confusion` reads any sweep folder, `record` writes one (what it finds there
it keeps, so it goes on where it was stopped). A verdict is made from `steps.jsonl` alone; the condition's name serves only to mark it. The
result also says what verdicts are worth without the known-good first answers, and with only the fields that folders of format 1 have. Verdicts are
kept in the sweep's `verdicts.jsonl`, so that a sweep's logs (a megabyte for ten episodes) need not be. `--add-to` puts the matrix into the report on the
same sweep (`vla-tutorial report SWEEP --json`), beside its intervals and tests.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

import numpy as np
from rich.progress import track
from vla_tutorial.training.results import layout

from vla_tutorial import pixels, prompt
from vla_tutorial.conditions import CATALOGUE, PUBLISHED, apply
from vla_tutorial.diagnose import NOTHING_WRONG, diagnose
from vla_tutorial.diagnose.compute import compute
from vla_tutorial.diagnose.reference import Reference, load_reference
from vla_tutorial.diagnose.sweep import Entry, boundaries, read_entries
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.log import Log, picture_fields, read_log
from vla_tutorial.policies import load_policy
from vla_tutorial.policies.base import PolicyInput
from vla_tutorial.provenance import machine, versions
from vla_tutorial.ranges import parse_numbers
from vla_tutorial.record import record_episode
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator
from vla_tutorial.wiring import Wiring

SILENT = ("no_flip", "wrong_prompt", "wrong_unnorm_key")
"""The chapter's three silent failures."""

CHAPTER_BAND = (60, 100)
"""§2.4: in successful episodes the "gripper closes between step 60 and 100"; outside, or never, is a sign of failure."""

BARS = {"silent_failures": 0.8, "boundary_conditions": 0.6, "false_alarms": 0.05}


def reference(args: argparse.Namespace) -> None:
    """Ranges of the first pictures and first answers under the published protocol; other suites in the file are kept."""
    policy, wiring = load_policy(args.policy, device="cpu"), Wiring(unnorm_key=args.suite)
    rows = [
        row
        for task in track(parse_numbers(args.tasks), args.suite)
        for row in _first_steps(policy, wiring, task, args)
    ]
    quarters, bins = (
        np.array([row[k] for row in rows]).reshape(len(parse_numbers(args.tasks)), -1, n)
        for k, n in (("q", 4), ("bins", 6))
    )
    ranges = {
        k: [round(f([row[k] for row in rows]), 2) for f in (min, max)]
        for k in rows[0]
        if k not in ("q", "bins")
    }
    entry = {"inits": args.inits, **ranges, "quarters": quarters.mean(axis=1).round(2).tolist()}
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    old = found.get("suites", {}).get(args.suite, {}).get("first_bins", {})
    entry["first_bins"] = {
        **old,
        policy.name: np.stack([bins.min(axis=1), bins.max(axis=1)], axis=1).tolist(),
    }
    head = {"command": _command(), "machine": machine([]), "versions": versions()}
    write_atomically(
        args.out, layout({**head, "suites": {**found.get("suites", {}), args.suite: entry}}) + "\n"
    )


def _first_steps(policy, wiring: Wiring, task: int, args: argparse.Namespace) -> list[dict]:
    rows = []
    with Simulator(args.suite, task) as simulator:
        for init in parse_numbers(args.inits):
            seen = simulator.reset(init, wiring.settle_steps)
            image = pixels.prepare(seen.image, wiring)
            tokens = policy.predict(
                [PolicyInput(image, prompt.build(wiring, simulator.task.instruction))]
            )[0]
            rows.append(_first_step(image, tokens, seen.gripper_qpos))
    return rows


def _first_step(image, tokens, gripper_qpos) -> dict:
    fields = picture_fields(image)
    red, green, blue = fields["img_channels"]
    return {
        "brightness": fields["img_mean"],
        "red_minus_blue": red - blue,
        "chroma": red + blue - 2 * green,
        "sharpness": fields["img_sharpness"],
        "fingers": 1000 * float(gripper_qpos[0] - gripper_qpos[1]),
        "q": fields["img_quarters"],
        "bins": np.clip(31999 - tokens[:6], 0, 254),
    }


def record(args: argparse.Namespace) -> None:
    """Episodes of every condition, spread over tasks and initial states, one after the other (`vla-tutorial sweep` runs many at once)."""
    import torch

    torch.set_num_threads(1)
    tasks, inits = parse_numbers(args.tasks), parse_numbers(args.inits)
    names = args.conditions or [PUBLISHED, *CATALOGUE]
    plan = [
        (tasks[(3 * k + j) % len(tasks)], inits[(7 * k + 5 * j) % len(inits)], name)
        for j, name in enumerate(names)
        for k in range(args.each)
    ]
    done = (
        {(e.task, e.init, e.condition) for e in read_entries(args.out)}
        if (args.out / "episodes.jsonl").exists()
        else set()
    )
    args.out.mkdir(parents=True, exist_ok=True)
    policy, todo = load_policy(args.policy, device="cpu"), sorted(set(plan) - done)
    for task, group in itertools.groupby(track(todo, "episodes"), key=lambda planned: planned[0]):
        with Simulator(args.suite, task) as simulator:
            for _, init, name in group:
                _record(policy, simulator, Scene(args.suite, task, init), name, args)


def _record(
    policy, simulator: Simulator, scene: Scene, name: str, args: argparse.Namespace
) -> None:
    conditions = [] if name == PUBLISHED else name.split("+")
    wiring, changed = apply(
        conditions, Wiring(unnorm_key=args.suite, max_steps=args.max_steps), scene
    )
    folder = Path("episodes") / name / f"{scene.task}_{scene.init}"
    result = record_episode(
        policy,
        simulator,
        wiring,
        changed,
        args.out / folder,
        conditions,
        video=False,
        overwrite=True,
    )
    closes = compute(
        read_log(args.out / folder), load_reference(args.suite, args.policy)
    ).gripper.closes
    line = {
        "suite": scene.suite,
        "task": scene.task,
        "init": scene.init,
        "condition": name,
        "success": result.success,
    }
    line |= {
        "outcome": "success" if result.success else "failure",
        "steps": result.steps,
        "first_close": result.first_close,
    }
    line |= {
        "closes": closes,
        "seconds": result.seconds,
        "attempt": 1,
        "folder": str(folder),
        "error": None,
    }
    with (args.out / "episodes.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def confusion(args: argparse.Namespace) -> None:
    """Verdicts by condition, and what they are worth."""
    entries = [(folder, e) for folder in args.sweeps for e in read_entries(folder)]
    chosen = [
        (f, e) for f, e in entries if e.outcome != "error" and e.init in parse_numbers(args.inits)
    ]
    if not chosen:
        raise TutorialError(
            f"No finished episode on initial states {args.inits} in {', '.join(map(str, args.sweeps))}."
        )
    rows = [
        row
        for folder in args.sweeps
        for row in _judged(folder, [e for f, e in chosen if f == folder], args)
    ]
    head = {
        "command": _command(),
        "machine": machine([]),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    about = f"Verdicts from steps.jsonl alone, on initial states {args.inits}; the policy is {args.policy}."
    names = list(dict.fromkeys(row.entry.condition for row in rows))
    table = {
        name: _condition([r for r in rows if r.entry.condition == name])
        for name in sorted(names, key=_order)
    }
    good = [
        e.first_close
        for _, e in entries
        if e.success and e.condition == PUBLISHED and e.first_close is not None
    ]
    result = {
        **head,
        "about": about,
        "episodes": len(rows),
        "bars": BARS,
        **_shares(rows),
        "first_close_alone": _first_close(rows, good),
    }
    less = {
        name: [replace(row, verdict=row.with_less[name]) for row in rows]
        for name in rows[0].with_less
    }
    result |= {
        "with_less": {name: _shares(found) for name, found in less.items()},
        "confusion": _matrix(table),
        "conditions": table,
    }
    write_atomically(args.out, layout(result) + "\n")
    if args.add_to:
        _add(result, args.add_to)
    print(
        json.dumps(
            {
                k: result[k]
                for k in (
                    "silent_failures",
                    "boundary_conditions",
                    "false_alarms",
                    "first_close_alone",
                )
            },
            indent=1,
        )
    )


@dataclass(frozen=True)
class Row:
    """What a log said, and whose it was.

    Attributes:
        with_less: the verdict without the known-good first answers, and with the fields of format 1 alone.
        numbers: signatures, for the medians.
    """

    entry: Entry
    verdict: str
    with_less: dict[str, str]
    numbers: dict[str, float | None]


NUMBERS = (
    "first_close",
    "chatter",
    "undecided",
    "jaggedness",
    "response",
    "travel",
    "still",
    "centred",
    "saturated",
)
VERDICTS = "verdicts.jsonl"
"""Beside a sweep's episodes.jsonl: what its logs said, so that they need not be kept."""


def _judged(sweep: Path, entries: Sequence[Entry], args: argparse.Namespace) -> list[Row]:
    """Rows of a sweep: those in its `verdicts.jsonl`, and the others from their logs, which are added to it."""
    path, known, rules = sweep / VERDICTS, load_reference(args.suite, args.policy), _rules()
    lines = [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []
    kept = {line["folder"]: line for line in lines if line["rules"] == rules}
    for e in track([e for e in entries if e.folder not in kept], "reading"):
        kept[e.folder] = {
            "folder": e.folder,
            "rules": rules,
            **_verdicts(read_log(sweep / e.folder), known),
        }
    write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept.values()))
    return [
        Row(e, *(kept[e.folder][key] for key in ("verdict", "with_less", "numbers")))
        for e in entries
    ]


def _rules() -> str:
    """A hash of what makes a verdict: the package's rules and reference. Verdicts by others are made anew, which takes the logs."""
    package = resources.files("vla_tutorial")
    files = [
        f"diagnose/{name}.py"
        for name in ("__init__", "compute", "log", "reference", "rules", "signatures")
    ]
    files.append("data/published_signatures.json")
    return hashlib.sha256(b"".join(package.joinpath(f).read_bytes() for f in files)).hexdigest()[
        :16
    ]


def _verdicts(log: Log, known: Reference) -> dict:
    found = diagnose(log, known)
    less = {
        "without_first_answers": diagnose(log, replace(known, first_bins=None)),
        "format_1_fields": diagnose(replace(log, channels=None, sharpness=None), known),
    }
    parts = (found.signatures, found.signatures.gripper)
    numbers = {k: getattr(part, k) for k in NUMBERS for part in parts if hasattr(part, k)}
    numbers = {k: None if v is None else round(float(v), 4) for k, v in numbers.items()}
    return {
        "verdict": found.verdict,
        "with_less": {k: d.verdict for k, d in less.items()},
        "numbers": numbers,
    }


def _matrix(table: dict[str, dict]) -> dict[str, dict[str, int]]:
    """What was wrong → verdict → failed episodes; conditions with no broken boundary stand under the name of their kind."""
    found: dict[str, Counter] = {}
    for name, row in table.items():
        kind = row["boundary"] or (CATALOGUE[name].boundary if name in CATALOGUE else name)
        found.setdefault(kind, Counter()).update(row["verdicts_of_failed"])
    return {kind: dict(counts.most_common()) for kind, counts in found.items()}


def _add(result: dict, path: Path) -> None:
    """Put the matrix into a report on the same sweep."""
    report = json.loads(path.read_text(encoding="utf-8"))
    verdicts = ("verdicts_of_failed", "verdicts_of_successes")
    by_condition = {
        name: {key: row[key] for key in verdicts} for name, row in result["conditions"].items()
    }
    kept = ("command", "silent_failures", "boundary_conditions", "false_alarms", "confusion")
    report["diagnosis"] = {**{key: result[key] for key in kept}, "conditions": by_condition}
    write_atomically(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def _order(name: str) -> int:
    return (
        list(CATALOGUE).index(name)
        if name in CATALOGUE
        else -1
        if name == PUBLISHED
        else len(CATALOGUE)
    )


def _condition(rows: Sequence[Row]) -> dict:
    failed = [r for r in rows if not r.entry.success]
    truth = sorted(boundaries(rows[0].entry.condition))
    return {
        "boundary": "+".join(truth) or None,
        "episodes": len(rows),
        "failed": len(failed),
        "right_of_failed": sum(r.verdict in truth for r in failed) if truth else None,
        "verdicts_of_failed": dict(Counter(r.verdict for r in failed).most_common()),
        "verdicts_of_successes": dict(
            Counter(r.verdict for r in rows if r.entry.success).most_common()
        ),
        "medians": {k: _median([r.numbers[k] for r in rows]) for k in NUMBERS},
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return round(float(np.median(known)), 3) if known else None


def _shares(rows: Sequence[Row]) -> dict:
    failed = [r for r in rows if not r.entry.success and boundaries(r.entry.condition)]
    clean = [r for r in rows if r.entry.success and r.entry.condition == PUBLISHED]
    return {
        "silent_failures": _share(
            [
                r.verdict in boundaries(r.entry.condition)
                for r in failed
                if r.entry.condition in SILENT
            ]
        ),
        "boundary_conditions": _share([r.verdict in boundaries(r.entry.condition) for r in failed]),
        "false_alarms": _share([r.verdict != NOTHING_WRONG for r in clean]),
    }


def _share(right: Sequence[bool]) -> dict:
    from scipy.stats import binomtest

    if not right:
        return {"share": None, "of": 0, "interval": None}
    interval = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    return {
        "share": round(sum(right) / len(right), 4),
        "of": len(right),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
    }


def _first_close(rows: Sequence[Row], good: Sequence[int]) -> dict:
    """How many failures the step of the first close alone catches: outside the band, or never. It names no boundary.

    `good`: first closes of every clean success in the sweeps, whose middle 95 % are the policy's own band.
    """
    own = tuple(np.percentile(good, [2.5, 97.5]).round().astype(int).tolist()) if good else None
    bands = {"chapter": CHAPTER_BAND, **({"own": own} if own else {})}
    found = {"claim": "§2.4: catches roughly 80 % of the failure modes"}
    for name, (low, high) in bands.items():
        outside = [
            (r.entry, (step := r.numbers["first_close"]) is None or not low <= step <= high)
            for r in rows
        ]
        found[f"{name}_band"] = {
            "steps": [low, high],
            "failures_caught": _share(
                [out for e, out in outside if not e.success and e.condition != PUBLISHED]
            ),
            "false_alarms": _share(
                [out for e, out in outside if e.success and e.condition == PUBLISHED]
            ),
        }
    return found


def _command() -> str:
    return f"python {shlex.join(sys.argv)}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for function in (reference, record, confusion):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("--suite", default="libero_object")
        command.add_argument("--policy", default="mini", help="mini or expert")
        command.add_argument("--out", type=Path, required=True)
        command.add_argument(
            "--inits",
            default={"reference": "0-24", "record": "0-24", "confusion": "25-49"}[
                function.__name__
            ],
        )
        if function is confusion:
            command.add_argument("sweeps", type=Path, nargs="+", help="folders with episodes.jsonl")
            command.add_argument(
                "--add-to",
                type=Path,
                help="a report on the same sweep, as JSON, that gets the matrix too",
            )
        else:
            command.add_argument("--tasks", default="0-9")
        if function is record:
            command.add_argument(
                "--conditions", nargs="*", help="names; several joined with +; all by default"
            )
            command.add_argument("--each", type=int, default=5, help="episodes a condition")
            command.add_argument("--max-steps", type=int, help="step limit; the suite's by default")
    args = parser.parse_args()
    try:
        args.run(args)
    except TutorialError as e:
        parser.exit(2, f"{e}\n")


if __name__ == "__main__":
    main()
