"""`vla-tutorial diagnose`: one episode in sentences, a sweep in counts."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import err, out, show, tell
from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.diagnose import Diagnosis, Examination, Reference, SweepDiagnosis

EPISODE_FIELDS = ("condition", "suite", "task", "init", "success")


def diagnose(
    path: Annotated[
        Path,
        typer.Argument(help="Folder of an episode (steps.jsonl) or of a sweep (episodes.jsonl)."),
    ],
    suite: Annotated[
        str, typer.Option(help="Suite whose pictures and statistics are the reference.")
    ] = "libero_object",
    policy: Annotated[
        str, typer.Option(help="Policy whose known-good first answers are the reference.")
    ] = "mini",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Name the suspected boundary from the log alone, then test each boundary with the record.

    From the log it answers pixels, prompt, motion, simulator, the policy itself, or nothing wrong.
    From the record it may also answer that it is not the wiring, or that it cannot tell.

    Example: `vla-tutorial diagnose out/no_flip`
    """
    from vla_tutorial.diagnose import diagnose_folder, diagnose_sweep, load_reference

    reference = load_reference(suite, policy)
    if (path / "episodes.jsonl").is_file():
        sweep = diagnose_sweep(path, reference)
        _tell_json(_sweep_json(sweep)) if as_json else _tell_sweep(sweep)
        return
    if not (path / "steps.jsonl").is_file():
        raise TutorialError(
            f"{path} holds neither steps.jsonl nor episodes.jsonl. Expected the folder of an "
            "episode (vla-tutorial rollout) or of a sweep (vla-tutorial sweep)."
        )
    found = diagnose_folder(path, reference)
    examination = _examined(path, suite, policy)
    if as_json:
        tested = asdict(examination) if examination else None
        _tell_json({**asdict(found), "boundaries": tested})
        return
    _tell_episode(found, reference)
    if examination:
        _tell_boundaries(examination)


def _examined(path: Path, suite: str, policy: str) -> Examination | None:
    """The boundaries one by one; None where the suite's or policy's normal numbers are missing."""
    from vla_tutorial.diagnose import examine_folder, load_normal

    try:
        normal = load_normal(suite, policy)
    except TutorialError:
        return None
    return examine_folder(path, normal)


def _tell_boundaries(found: Examination) -> None:
    tell(out, f"\nBoundary by boundary: [bold]{found.verdict}[/]")
    for sentence in found.evidence:
        tell(out, f"  {escape(sentence)}")
    if found.untested:
        places = ", ".join(found.untested)
        tell(out, f"[dim]Not recorded, so not tested: {escape(places)}[/]")
    tell(out, f"Next: {escape(found.next_step)}")


def _tell_json(value: Any) -> None:
    show(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _tell_episode(found: Diagnosis, reference: Reference) -> None:
    from vla_tutorial.diagnose import table

    rows = [("signature", "here", "published"), *table(found.signatures, reference)]
    for name, value, published in rows:
        tell(out, escape(f"{name:<38} {value:<26} {published}".rstrip()))
    colour = {"nothing wrong": "green", "policy": "yellow"}.get(found.verdict, "red")
    tell(out, f"\nSuspected: [bold {colour}]{found.verdict}[/]")
    for sentence in found.evidence:
        tell(out, f"  {escape(sentence)}")
    tell(out, f"Next: {escape(found.next_step)}")
    for note in found.notes:
        tell(out, f"[dim]Not checked: {escape(note)}[/]")


def _tell_sweep(sweep: SweepDiagnosis) -> None:
    from vla_tutorial.diagnose import VERDICTS

    counts = sweep.counts()
    failed = sweep.counts(failed_only=True)
    columns = ("episodes", "failed", *VERDICTS)
    wide = max(map(len, ("condition", *counts)))
    tell(out, "  ".join([f"{'condition':<{wide}}", *columns]))
    for condition, found in counts.items():
        failures = failed.get(condition, Counter())
        numbers = [found.total(), failures.total(), *(found[v] for v in VERDICTS)]
        cells = [f"{n or '·':>{len(column)}}" for n, column in zip(numbers, columns, strict=True)]
        tell(out, "  ".join([escape(f"{condition:<{wide}}"), *cells]))
    if sweep.errors:
        tell(out, f"{sweep.errors} episodes could not be run and are not counted.")
    for episode, why in sweep.unreadable:
        tell(err, f"[yellow]Not judged:[/] {escape(str(episode.folder))}: {escape(why)}")
    for note in sweep.notes:
        tell(err, f"[yellow]Note:[/] {escape(note)}")


def _sweep_json(sweep: SweepDiagnosis) -> dict[str, Any]:
    episodes = []
    for episode, diagnosis in sweep.judged:
        entry = {name: getattr(episode, name) for name in EPISODE_FIELDS}
        entry |= {"verdict": diagnosis.verdict, "evidence": diagnosis.evidence}
        episodes.append(entry)
    return {
        "counts": sweep.counts(),
        "failed": sweep.counts(failed_only=True),
        "errors": sweep.errors,
        "unreadable": [{"folder": e.folder, "why": why} for e, why in sweep.unreadable],
        "episodes": episodes,
        "notes": sweep.notes,
    }
