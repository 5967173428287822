"""How well a log names the broken boundary: published ranges, episodes to judge, the confusion matrix.

    python benchmarks/diagnosis.py reference --out vla_tutorial/data/published_signatures.json
    python benchmarks/diagnosis.py record --inits 0-24 --each 5 --out out/diagnosis/tuning
    python benchmarks/diagnosis.py record --inits 25-49 --each 5 --out out/diagnosis/test
    python benchmarks/diagnosis.py confusion out/diagnosis/test --out results/diagnosis_mini.json

`reference` takes 5 minutes on one core, `record` 40 s for a failed episode, and `confusion` a minute
for 9,400 episodes. Thresholds were set on initial states 0–24 only; judge on 25–49.

`confusion` reads any sweep's folder. `record` writes one, and resumes it where it was stopped. A
verdict is made from `steps.jsonl` alone; the condition's name serves only to mark it. The result also
says what verdicts are worth without the known-good first answers, and with only the fields that
folders of format 1 have.

Verdicts are kept in the sweep's `verdicts.jsonl.xz`, so that its logs need not be (a megabyte for ten
episodes). `--add-to` puts the matrix into the report on the same sweep (`vla-tutorial report SWEEP
--json`), beside its intervals and tests.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from vla_tutorial import pixels, prompt
from vla_tutorial.actions import BIN_CENTERS, token_bins
from vla_tutorial.conditions import CATALOGUE, PUBLISHED
from vla_tutorial.diagnose import (
    NOTHING_WRONG,
    RULES_VERSION,
    Reference,
    boundaries,
    diagnose,
    load_reference,
)
from vla_tutorial.episodes import (
    OUTCOMES,
    SWEEP_FORMAT,
    Episode,
    EpisodeKey,
    read_episodes,
    read_sweep,
)
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.log import Log, picture_fields, read_log
from vla_tutorial.policies import Policy, PolicyInput, load_policy
from vla_tutorial.provenance import machine, versions
from vla_tutorial.ranges import parse_numbers
from vla_tutorial.record import record_episode
from vla_tutorial.sim import Simulator
from vla_tutorial.spec import EpisodeSpec, split_condition
from vla_tutorial.stats import wilson

SILENT = ("no_flip", "wrong_prompt", "wrong_unnorm_key")
"""The chapter's three silent failures."""

CHAPTER_BAND = (60, 100)
"""§2.4: in successful episodes the "gripper closes between step 60 and 100"; outside, or never, is a
sign of failure."""

BARS = {"silent_failures": 0.8, "boundary_conditions": 0.6, "false_alarms": 0.05}

INITS = {"reference": "0-24", "record": "0-24", "confusion": "25-49"}
"""Subcommand → its initial states by default."""


# --- reference ----------------------------------------------------------------------------------


def reference(args: argparse.Namespace) -> None:
    """Ranges of the first pictures and first answers under the published protocol.

    Other suites in the file are kept.
    """
    policy = load_policy(args.policy, device="cpu")
    tasks = parse_numbers(args.tasks)
    rows: list[dict] = []
    for task in track(tasks, args.suite):
        rows += _first_steps(policy, EpisodeSpec(args.suite, task), parse_numbers(args.inits))
    quarters = _by_task([row.pop("quarters") for row in rows], len(tasks))
    bins = _by_task([row.pop("bins") for row in rows], len(tasks))
    entry = {"inits": args.inits}
    for key in rows[0]:
        values = [row[key] for row in rows]
        entry[key] = [round(min(values), 2), round(max(values), 2)]
    entry["quarters"] = quarters.mean(axis=1).round(2).tolist()

    found = json.loads(args.out.read_text()) if args.out.exists() else {"suites": {}}
    known_answers = found["suites"].get(args.suite, {}).get("first_bins", {})
    ends = np.stack([bins.min(axis=1), bins.max(axis=1)], axis=1)
    entry["first_bins"] = {**known_answers, policy.name: ends.tolist()}
    suites = {**found["suites"], args.suite: entry}
    write_atomically(args.out, _layout({**_head(), "suites": suites}) + "\n")


def _first_steps(policy: Policy, spec: EpisodeSpec, inits: Sequence[int]) -> list[dict]:
    wiring, _ = spec.settings()
    rows = []
    with Simulator(spec.suite, spec.task) as simulator:
        text = prompt.build(wiring, simulator.task.instruction)
        for init in inits:
            seen = simulator.reset(init, wiring.settle_steps)
            image = pixels.prepare(seen.image, wiring)
            tokens = policy.predict([PolicyInput(image, text)])[0]
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
        "quarters": fields["img_quarters"],
        "bins": np.clip(token_bins(tokens[:6]), 0, len(BIN_CENTERS) - 1),
    }


def _by_task(rows: Sequence[Sequence[float]], tasks: int) -> np.ndarray:
    """Rows (tasks x inits, n) → (tasks, inits, n)."""
    return np.array(rows).reshape(tasks, -1, len(rows[0]))


# --- record -------------------------------------------------------------------------------------


def record(args: argparse.Namespace) -> None:
    """Episodes of every condition, spread over tasks and initial states, one after the other.

    `vla-tutorial sweep` runs many at once, but every combination.
    """
    import torch

    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    config = {"format": SWEEP_FORMAT, "suite": args.suite, "command": _head()["command"]}
    write_atomically(args.out / "sweep.json", json.dumps(config, indent=1) + "\n")
    todo = sorted(_planned(args) - _recorded(args), key=lambda key: key.task)
    policy = load_policy(args.policy, device="cpu")
    for task, keys in itertools.groupby(track(todo, "episodes"), key=lambda key: key.task):
        with Simulator(args.suite, task) as simulator:
            for key in keys:
                line = _record(policy, simulator, key, args).to_line()
                with (args.out / "episodes.jsonl").open("a", encoding="utf-8") as file:
                    file.write(line)


def _planned(args: argparse.Namespace) -> set[EpisodeKey]:
    tasks = parse_numbers(args.tasks)
    inits = parse_numbers(args.inits)
    planned = set()
    for j, name in enumerate(args.conditions or [PUBLISHED, *CATALOGUE]):
        for k in range(args.each):
            task = tasks[(3 * k + j) % len(tasks)]
            init = inits[(7 * k + 5 * j) % len(inits)]
            planned.add(EpisodeKey(name, task, init))
    return planned


def _recorded(args: argparse.Namespace) -> set[EpisodeKey]:
    """The episodes that the folder holds already; a last line that was cut off goes."""
    path = args.out / "episodes.jsonl"
    if not path.exists():
        return set()
    file = read_episodes(path, args.suite)
    path.write_bytes(b"".join(file.lines))
    return {episode.key for episode in file.episodes}


def _record(
    policy: Policy, simulator: Simulator, key: EpisodeKey, args: argparse.Namespace
) -> Episode:
    spec = EpisodeSpec(
        args.suite,
        key.task,
        key.init,
        args.policy,
        conditions=split_condition(key.condition),
        max_steps=args.max_steps,
    )
    wiring, scene = spec.settings()
    result = record_episode(
        policy,
        simulator,
        wiring,
        scene,
        args.out / key.folder,
        spec.conditions,
        video=False,
        overwrite=True,
    )
    return Episode(
        suite=spec.suite,
        task=spec.task,
        init=spec.init,
        condition=key.condition,
        outcome=OUTCOMES[result.success],
        attempt=1,
        folder=key.folder,
        **asdict(result),
    )


# --- confusion ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """What a log said, and whose it was.

    Attributes:
        with_less: the verdict without the known-good first answers, and with format 1 alone.
        numbers: signatures, for the medians.
    """

    episode: Episode
    verdict: str
    with_less: dict[str, str]
    numbers: dict[str, float | None]

    @property
    def right(self) -> bool:
        """Whether the verdict is a boundary that the condition breaks."""
        return self.verdict in boundaries(self.episode.condition)

    @property
    def clean(self) -> bool:
        """Whether the episode succeeded under the published protocol."""
        return bool(self.episode.success) and self.episode.condition == PUBLISHED


OF_GRIPPER = ("first_close", "chatter", "undecided")
OF_MOTION = ("jaggedness", "response", "travel", "still", "centred", "saturated")
NUMBERS = (*OF_GRIPPER, *OF_MOTION)
VERDICTS_FILE = "verdicts.jsonl.xz"
"""Beside a sweep's episodes.jsonl: what its logs said, so that they need not be kept."""


def confusion(args: argparse.Namespace) -> None:
    """Verdicts by condition, and what they are worth."""
    inits = parse_numbers(args.inits)
    rows: list[Row] = []
    good: list[int] = []
    for folder in args.sweeps:
        ran = [e for e in read_sweep(folder).episodes if e.outcome != "error"]
        rows += _judge(folder, [e for e in ran if e.init in inits], args)
        clean = [e for e in ran if e.success and e.condition == PUBLISHED]
        good += [e.first_close for e in clean if e.first_close is not None]
    if not rows:
        folders = ", ".join(map(str, args.sweeps))
        raise TutorialError(f"No finished episode on initial states {args.inits} in {folders}.")

    names = sorted(dict.fromkeys(row.episode.condition for row in rows), key=_order)
    table = {name: _condition([r for r in rows if r.episode.condition == name]) for name in names}
    with_less = {}
    for name in rows[0].with_less:
        with_less[name] = _shares([replace(row, verdict=row.with_less[name]) for row in rows])
    about = f"Verdicts from steps.jsonl alone, on initial states {args.inits}"
    shares = _shares(rows)
    result = {
        **_head(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "about": f"{about}; the policy is {args.policy}.",
        "episodes": len(rows),
        "bars": BARS,
        **shares,
        "first_close_alone": _first_close(rows, good),
        "with_less": with_less,
        "confusion": _matrix(table),
        "conditions": table,
    }
    write_atomically(args.out, _layout(result) + "\n")
    if args.add_to:
        _add(result, args.add_to)
    shown = {**shares, "first_close_alone": result["first_close_alone"]}
    print(json.dumps(shown, indent=1, ensure_ascii=False))


def _judge(sweep: Path, episodes: Sequence[Episode], args: argparse.Namespace) -> list[Row]:
    """Rows of a sweep: those in its `VERDICTS_FILE`; the others from their logs, and added to it."""
    path = sweep / VERDICTS_FILE
    lines = lzma.decompress(path.read_bytes()).splitlines() if path.exists() else []
    kept = {}
    for line in map(json.loads, lines):
        if line.pop("rules") == RULES_VERSION:
            kept[line.pop("folder")] = line
    known = load_reference(args.suite, args.policy)
    missing = [e.folder for e in episodes if e.folder not in kept]
    for folder in track(missing, "reading"):
        kept[folder] = _verdicts(read_log(sweep / str(folder)), known)
    if missing:
        heads = ({"folder": folder, "rules": RULES_VERSION} for folder in kept)
        texts = [json.dumps({**head, **kept[head["folder"]]}) + "\n" for head in heads]
        path.write_bytes(lzma.compress("".join(texts).encode()))
    return [Row(episode, **kept[episode.folder]) for episode in episodes]


def _verdicts(log: Log, known: Reference) -> dict[str, Any]:
    found = diagnose(log, known)
    old_log = replace(log, channels=None, sharpness=None)
    numbers = {key: getattr(found.signatures.gripper, key) for key in OF_GRIPPER}
    numbers |= {key: getattr(found.signatures, key) for key in OF_MOTION}
    return {
        "verdict": found.verdict,
        "with_less": {
            "without_first_answers": diagnose(log, replace(known, first_bins=None)).verdict,
            "format_1_fields": diagnose(old_log, known).verdict,
        },
        "numbers": {k: None if v is None else round(float(v), 4) for k, v in numbers.items()},
    }


def _condition(rows: Sequence[Row]) -> dict[str, Any]:
    failed = [row for row in rows if not row.episode.success]
    succeeded = [row for row in rows if row.episode.success]
    truth = sorted(boundaries(rows[0].episode.condition))
    return {
        "boundary": "+".join(truth) or None,
        "episodes": len(rows),
        "failed": len(failed),
        "right_of_failed": sum(row.right for row in failed) if truth else None,
        "verdicts_of_failed": dict(Counter(row.verdict for row in failed).most_common()),
        "verdicts_of_successes": dict(Counter(row.verdict for row in succeeded).most_common()),
        "medians": {key: _median([row.numbers[key] for row in rows]) for key in NUMBERS},
    }


def _order(condition: str) -> int:
    """The published protocol first, then the catalogue, then combinations of conditions."""
    known = [PUBLISHED, *CATALOGUE]
    return known.index(condition) if condition in known else len(known)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.median(known)), 3) if known else None


def _matrix(table: dict[str, dict]) -> dict[str, dict[str, int]]:
    """What was wrong → verdict → failed episodes.

    Conditions with no broken boundary stand under the name of their kind.
    """
    found: dict[str, Counter] = {}
    for name, row in table.items():
        kind = row["boundary"]
        if kind is None:
            kind = CATALOGUE[name].boundary if name in CATALOGUE else name
        found.setdefault(kind, Counter()).update(row["verdicts_of_failed"])
    return {kind: dict(counts.most_common()) for kind, counts in found.items()}


def _shares(rows: Sequence[Row]) -> dict[str, dict]:
    failed = [r for r in rows if not r.episode.success and boundaries(r.episode.condition)]
    silent = [row for row in failed if row.episode.condition in SILENT]
    return {
        "silent_failures": _share([row.right for row in silent]),
        "boundary_conditions": _share([row.right for row in failed]),
        "false_alarms": _share([row.verdict != NOTHING_WRONG for row in rows if row.clean]),
    }


def _share(right: Sequence[bool]) -> dict[str, Any]:
    if not right:
        return {"share": None, "of": 0, "interval": None}
    low, high = wilson(sum(right), len(right))
    return {
        "share": round(sum(right) / len(right), 4),
        "of": len(right),
        "interval": [round(low, 4), round(high, 4)],
    }


def _first_close(rows: Sequence[Row], good: Sequence[int]) -> dict[str, Any]:
    """How many failures the step of the first close alone catches: outside the band, or never.

    It names no boundary.

    Args:
        good: first closes of every clean success in the sweeps. Their middle 95 % are the policy's
            own band.
    """
    bands = {"chapter": CHAPTER_BAND}
    if good:
        low, high = np.percentile(good, [2.5, 97.5]).round().astype(int).tolist()
        bands["own"] = (low, high)
    changed = [r for r in rows if not r.episode.success and r.episode.condition != PUBLISHED]
    clean = [row for row in rows if row.clean]
    found: dict[str, Any] = {"claim": "§2.4: catches roughly 80 % of the failure modes"}
    for name, band in bands.items():
        found[f"{name}_band"] = {
            "steps": list(band),
            "failures_caught": _share([_is_outside(row, band) for row in changed]),
            "false_alarms": _share([_is_outside(row, band) for row in clean]),
        }
    return found


def _is_outside(row: Row, band: tuple[int, int]) -> bool:
    step = row.numbers["first_close"]
    return step is None or not band[0] <= step <= band[1]


def _add(result: dict[str, Any], path: Path) -> None:
    """Put the matrix into a report on the same sweep."""
    report = json.loads(path.read_text(encoding="utf-8"))
    verdicts = ("verdicts_of_failed", "verdicts_of_successes")
    conditions = {}
    for name, row in result["conditions"].items():
        conditions[name] = {key: row[key] for key in verdicts}
    kept = ("command", "silent_failures", "boundary_conditions", "false_alarms", "confusion")
    report["diagnosis"] = {**{key: result[key] for key in kept}, "conditions": conditions}
    write_atomically(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


# --- files and command line ---------------------------------------------------------------------


def _head() -> dict[str, Any]:
    command = f"python {shlex.join(sys.argv)}"
    return {"command": command, "machine": machine([]), "versions": versions()}


def _layout(value: Any, indent: str = "") -> str:
    """JSON with a line for each key and each list, so that files stay small and diffs readable."""
    if not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    inner = indent + " "
    lines = [f"{inner}{json.dumps(key)}: {_layout(v, inner)}" for key, v in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for function in (reference, record, confusion):
        name = function.__name__
        command = commands.add_parser(name, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("--suite", default="libero_object")
        command.add_argument("--policy", default="mini", help="mini or expert")
        command.add_argument("--out", type=Path, required=True)
        command.add_argument("--inits", default=INITS[name])
        if function is confusion:
            command.add_argument("sweeps", type=Path, nargs="+", help="folders with episodes.jsonl")
            command.add_argument("--add-to", type=Path, help="report that gets the matrix, as JSON")
        else:
            command.add_argument("--tasks", default="0-9")
        if function is record:
            command.add_argument(
                "--conditions", nargs="*", help="names, joined with +; default all"
            )
            command.add_argument("--each", type=int, default=5, help="episodes a condition")
            command.add_argument("--max-steps", type=int, help="step limit; default the suite's")
    args = parser.parse_args()
    try:
        args.run(args)
    except TutorialError as e:
        parser.exit(2, f"{e}\n")


if __name__ == "__main__":
    main()
