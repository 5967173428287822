"""How well tests of the boundaries name a fault that they were not designed on.

    python benchmarks/boundaries.py normal out/normal --out vla_tutorial/data/normal_episodes.json
    python benchmarks/boundaries.py judge out/one out/two --held out/held \\
        --normal out/normal --whole out/whole --out results/boundaries_mini.json

The folders are sweeps, or what `diagnosis.py record` writes (it keeps pictures and prompt). `normal`
learns ranges from published episodes. `judge` chooses the margin on one half of the conditions and
judges the other half, then the halves change places: every condition is judged once as one that the
design has not seen. That is repeated over random halves. Episodes of `--held` are published ones
that `normal` has not seen; false alarms are counted on them.

An episode that was cut early counts as a failed one where more than half of its condition's whole
episodes fail: in results/diagnosis_mini.json, or in the folders of `--whole` for newer conditions.
What is said of conditions that mostly succeed stands apart, under "survived".
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from failure_detector import fit

from vla_tutorial.conditions import CATALOGUE, PUBLISHED
from vla_tutorial.diagnose import diagnose
from vla_tutorial.diagnose.examine import CODE, judge
from vla_tutorial.diagnose.measures import measure
from vla_tutorial.diagnose.normal import Normal, learn, load_normal
from vla_tutorial.diagnose.traces import Traces, read_traces
from vla_tutorial.episodes import read_sweep
from vla_tutorial.errors import TutorialError
from vla_tutorial.files import write_atomically
from vla_tutorial.provenance import machine, versions
from vla_tutorial.stats import wilson

MARGINS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
SPLITS = 100
TARGETS = {"right": 0.8, "wrong": 0.05, "false_alarms": 0.05, "not_the_wiring": 0.8}
KNOWN = Path("results/diagnosis_mini.json")
"""How often whole episodes of each older condition fail."""

ALPHA = 0.1
"""Of the failure detector: share of good episodes that its band may lose."""


@dataclass(frozen=True)
class Case:
    """One episode: what changed, and the numbers of its boundaries, with all or with the log alone.

    Attributes:
        truth: the boundary, or "not the wiring" for shifts and language.
    """

    condition: str
    truth: str
    failed: bool
    full: dict[str, float | None]
    log_alone: dict[str, float | None]
    traces: Traces


def cases(folders: Sequence[Path], normal: Normal, truths: dict[str, str]) -> list[Case]:
    found = []
    for folder in folders:
        for episode in read_sweep(folder).episodes:
            if episode.outcome == "error":
                continue
            traces = read_traces(folder / str(episode.folder))
            bare = Traces(traces.log)
            found.append(
                Case(
                    episode.condition,
                    truths.get(episode.condition) or truth_of(episode.condition),
                    not traces.log.success,
                    measure(traces, normal.standard),
                    measure(bare, normal.standard),
                    traces,
                )
            )
    return found


def truth_of(condition: str) -> str:
    if condition == PUBLISHED:
        return PUBLISHED
    boundary = CATALOGUE[condition].boundary
    return boundary if boundary in CODE else "not the wiring"


def failing_conditions(whole: Sequence[Path]) -> dict[str, float]:
    """Share of whole episodes that fail, by condition."""
    shares = {}
    for name, row in json.loads(KNOWN.read_text())["conditions"].items():
        shares[name] = row["failed"] / row["episodes"]
    ended: dict[str, list[bool]] = {}
    for folder in whole:
        for episode in read_sweep(folder).episodes:
            if episode.outcome != "error":
                ended.setdefault(episode.condition, []).append(not episode.success)
    return shares | {name: sum(failed) / len(failed) for name, failed in ended.items()}


Values = Callable[[Case], dict[str, float | None]]


def verdict(case: Case, normal: Normal, margin: float, values: Values) -> str:
    return judge(values(case), normal, margin, failed=case.failed).verdict


def score(rows: Sequence[Case], normal: Normal, margin: float, values: Values) -> int:
    """Right answers less twice the wrong ones; "cannot tell" is neither."""
    total = 0
    for case in rows:
        found = verdict(case, normal, margin, values)
        if found == case.truth:
            total += 1
        elif found != "cannot tell":
            total -= 2
    return total


def choose(rows: Sequence[Case], normal: Normal, values: Values) -> float:
    """The margin that is best on `rows`; the middle one of several."""
    scores = [score(rows, normal, margin, values) for margin in MARGINS]
    best = [m for m, s in zip(MARGINS, scores, strict=True) if s == max(scores)]
    return best[len(best) // 2]


def halves(rows: Sequence[Case], seed: int) -> tuple[list[str], list[str]]:
    """The conditions in two halves, each boundary's conditions dealt out in turn."""
    rng = random.Random(seed)
    by_truth: dict[str, list[str]] = {}
    for case in rows:
        names = by_truth.setdefault(case.truth, [])
        if case.condition not in names:
            names.append(case.condition)
    dealt: tuple[list[str], list[str]] = ([], [])
    turn = rng.randrange(2)
    for names in by_truth.values():
        rng.shuffle(names)
        for name in names:
            dealt[turn].append(name)
            turn = 1 - turn
    return dealt


def unseen(
    rows: Sequence[Case], normal: Normal, seed: int, values: Values
) -> tuple[list[tuple[Case, str]], list[float]]:
    """Every case with its verdict, by a margin that was chosen on the other half's conditions."""
    judged = []
    margins = []
    a, b = halves(rows, seed)
    for design, test in ((a, b), (b, a)):
        margin = choose([c for c in rows if c.condition in design], normal, values)
        margins.append(margin)
        tested = [c for c in rows if c.condition in test]
        judged += [(c, verdict(c, normal, margin, values)) for c in tested]
    return judged, margins


def share(right: Sequence[bool]) -> dict[str, Any]:
    if not right:
        return {"share": None, "of": 0, "interval": None}
    low, high = wilson(sum(right), len(right))
    interval = [round(low, 4), round(high, 4)]
    return {"share": round(sum(right) / len(right), 4), "of": len(right), "interval": interval}


def shares(judged: Sequence[tuple[Case, str]]) -> dict[str, Any]:
    code = [(c, v) for c, v in judged if c.truth in CODE and c.failed]
    world = [(c, v) for c, v in judged if c.truth == "not the wiring" and c.failed]
    return {
        "right": share([v == c.truth for c, v in code]),
        "wrong": share([v not in (c.truth, "cannot tell") for c, v in code]),
        "not_the_wiring": share([v == c.truth for c, v in world]),
        "world_called_code": share([v in CODE for c, v in world]),
        "conditions": len({c.condition for c, _ in code}),
        "world_conditions": len({c.condition for c, _ in world}),
    }


def matrix(judged: Sequence[tuple[Case, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for case, answer in judged:
        found.setdefault(case.truth, Counter())[answer] += 1
    return {truth: dict(counts.most_common()) for truth, counts in found.items()}


def by_condition(judged: Sequence[tuple[Case, str]]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for case, answer in judged:
        found.setdefault(case.condition, Counter())[answer] += 1
    return {name: dict(counts.most_common()) for name, counts in sorted(found.items())}


def by_fault(judged: Sequence[tuple[Case, str]]) -> dict[str, Any]:
    """The same with each fault of code counted once: right or wrong in most of its episodes."""
    right = []
    wrong = []
    code = [(c, v) for c, v in judged if c.truth in CODE and c.failed]
    for name in dict.fromkeys(c.condition for c, _ in code):
        found = [(c, v) for c, v in code if c.condition == name]
        half = len(found) / 2
        right.append(sum(v == c.truth for c, v in found) > half)
        wrong.append(sum(v not in (c.truth, "cannot tell") for c, v in found) > half)
    return {"right": share(right), "wrong": share(wrong)}


def crossed(
    rows: Sequence[Case],
    survivors: Sequence[Case],
    held: Sequence[Case],
    normal: Normal,
    values: Values,
) -> dict:
    """Confusion over unseen conditions, of one split and over many."""
    judged, margins = unseen(rows, normal, 0, values)
    # An episode counts once: as a false alarm, if it is one under either half's margin.
    alarms = [any(verdict(c, normal, m, values) in CODE for m in margins) for c in held]
    many = [shares(unseen(rows, normal, seed, values)[0]) for seed in range(SPLITS)]
    spread = {
        name: {
            "mean": round(sum(one[name]["share"] for one in many) / len(many), 4),
            "worst": (min if name in ("right", "not_the_wiring") else max)(
                one[name]["share"] for one in many
            ),
        }
        for name in ("right", "wrong", "not_the_wiring")
    }
    margin = max(margins)
    return {
        **shares(judged),
        "by_fault": by_fault(judged),
        "false_alarms": share(alarms),
        "margins": margins,
        "over_splits": {"splits": SPLITS, **spread},
        "confusion": matrix(judged),
        "conditions_judged": by_condition(judged),
        "survived": by_condition([(c, verdict(c, normal, margin, values)) for c in survivors]),
    }


def detector(rows: Sequence[Case], held: Sequence[Case], good: Sequence[Traces]) -> dict[str, Any]:
    """The published failure detector on the same episodes."""
    half = len(held) // 2
    calibration = [case.traces.log for case in held[:half]]
    found = fit([traces.log for traces in good], calibration, ALPHA)
    kinds = dict.fromkeys(c.truth for c in rows)
    steps = len(found.band)
    return {
        "what": "FAIL-Detect (arXiv:2503.08558), PCA and k-means score on what a log holds",
        "answers": "whether an episode will fail, not which boundary broke",
        "alpha": ALPHA,
        "steps": steps,
        "failures_caught": share([found.alarm(c.traces.log) is not None for c in rows]),
        "by_kind": {
            kind: share([found.alarm(c.traces.log) is not None for c in rows if c.truth == kind])
            for kind in kinds
        },
        "false_alarms": share([found.alarm(c.traces.log) is not None for c in held[half:]]),
    }


def full(case: Case) -> dict[str, float | None]:
    return case.full


def log_alone(case: Case) -> dict[str, float | None]:
    return case.log_alone


def judge_command(args: argparse.Namespace) -> None:
    """Confusion over conditions that the design has not seen."""
    normal = load_normal(args.suite, args.policy)
    truths = json.loads(args.truths.read_text()) if args.truths else {}
    fails = failing_conditions(args.whole)
    every = [c for c in cases(args.sweeps, normal, truths) if c.truth != PUBLISHED]
    rows = [c for c in every if fails[c.condition] > 0.5]
    survivors = [c for c in every if fails[c.condition] <= 0.5]
    lengths = [len(c.traces.log) for c in every]
    held = cases(args.held, normal, truths)
    good = [case.traces for case in cases(args.normal, normal, truths)]
    result = {
        **_head(),
        "about": f"Episodes of {args.policy} cut at `steps`; only the margin is fitted.",
        "steps": [min(lengths), max(lengths)],
        "fails": {name: round(fails[name], 3) for name in sorted({c.condition for c in every})},
        "targets": TARGETS,
        "normal_episodes": normal.episodes,
        "held_published": len(held),
        "with_pictures_and_prompt": crossed(rows, survivors, held, normal, full),
        "log_alone": crossed(rows, survivors, held, normal, log_alone),
        "known_faults_rules": rules_of_known_faults(rows),
        "failure_detector": detector(rows, held, good),
    }
    if args.later:
        later = cases(args.later, normal, truths)
        judged = [(c, verdict(c, normal, args.margin, full)) for c in later]
        result["written_after_the_freeze"] = {
            "margin": args.margin,
            **shares(judged),
            "verdicts": by_condition(judged),
            "truths": {case.condition: case.truth for case in later},
            "known_faults_rules": rules_of_known_faults(later),
        }
    write_atomically(args.out, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(result, indent=1, ensure_ascii=False))


def rules_of_known_faults(rows: Sequence[Case]) -> dict[str, Any]:
    """What `diagnose`, whose rules know faults by name, says of the same episodes."""
    judged = []
    for case in rows:
        found = diagnose(case.traces.log).verdict
        # These two blame no code.
        blameless = found in ("policy", "nothing wrong")
        judged.append((case, "not the wiring" if blameless else found))
    return {**shares(judged), "confusion": matrix(judged), "verdicts": by_condition(judged)}


def normal_command(args: argparse.Namespace) -> None:
    """Learn what is normal; other suites and policies of the file are kept."""
    episodes = []
    for folder in args.sweeps:
        for episode in read_sweep(folder).episodes:
            if episode.condition == PUBLISHED and episode.outcome != "error":
                episodes.append(read_traces(folder / str(episode.folder)))
    entry = learn(episodes, args.suite, args.policy)
    file = json.loads(args.out.read_text()) if args.out.exists() else {"suites": {}}
    file["suites"].setdefault(args.suite, {})[args.policy] = msgspec.to_builtins(entry)
    write_atomically(args.out, json.dumps({**_head(), **file}, indent=1) + "\n")


def _head() -> dict[str, Any]:
    command = f"python {shlex.join(sys.argv)}"
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return {"command": command, "machine": machine([]), "versions": versions(), "date": date}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for name, function in (("normal", normal_command), ("judge", judge_command)):
        command = commands.add_parser(name, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("sweeps", type=Path, nargs="+")
        command.add_argument("--suite", default="libero_object")
        command.add_argument("--policy", default="mini")
        command.add_argument("--out", type=Path, required=True)
        if function is judge_command:
            command.add_argument("--held", type=Path, nargs="+", required=True)
            command.add_argument("--normal", type=Path, nargs="+", required=True)
            command.add_argument("--later", type=Path, nargs="*", help="faults of --truths")
            command.add_argument("--truths", type=Path, help="JSON: condition → boundary")
            command.add_argument("--margin", type=float, default=4.0, help="for --later")
            command.add_argument("--whole", type=Path, nargs="+", required=True)
    args = parser.parse_args()
    try:
        args.run(args)
    except TutorialError as e:
        parser.exit(2, f"{e}\n")


if __name__ == "__main__":
    main()
