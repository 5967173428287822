"""`vla-tutorial diagnose`: one episode in sentences, a sweep in counts."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from vla_tutorial.errors import TutorialError

if TYPE_CHECKING:
    from vla_tutorial.diagnose import Diagnosis, SweepDiagnosis
    from vla_tutorial.diagnose.reference import Reference

out = Console()
err = Console(stderr=True)


def diagnose(
    path: Annotated[
        Path,
        typer.Argument(help="Folder of an episode (steps.jsonl) or of a sweep (episodes.jsonl)."),
    ],
    suite: Annotated[
        str,
        typer.Option(
            help="Suite that the policy was trained for: whose pictures and statistics to expect."
        ),
    ] = "libero_object",
    policy: Annotated[
        str, typer.Option(help="Policy whose known-good first answers to compare with.")
    ] = "mini",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Name the suspected boundary from the log alone: pixels, prompt, motion, simulator, the policy itself, or nothing wrong.

    Example: `vla-tutorial diagnose out/no_flip`
    """
    from vla_tutorial.diagnose import diagnose_folder, diagnose_sweep, load_reference

    reference = load_reference(suite, policy)
    if (path / "episodes.jsonl").is_file():
        sweep = diagnose_sweep(path, reference)
        _print_json(_sweep_json(sweep)) if as_json else _print_sweep(sweep)
        return
    if not (path / "steps.jsonl").is_file():
        raise TutorialError(
            f"{path} holds neither steps.jsonl nor episodes.jsonl; expected the folder of an episode (vla-tutorial rollout) or of a sweep."
        )
    found = diagnose_folder(path, reference)
    _print_json(asdict(found)) if as_json else _print_episode(found, reference)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False))


def _print_episode(found: Diagnosis, reference: Reference) -> None:
    from vla_tutorial.diagnose.show import table

    for name, value, published in [
        ("signature", "here", "published"),
        *table(found.signatures, reference),
    ]:
        out.print(
            escape(f"{name:<38} {value:<26} {published}".rstrip()), highlight=False, soft_wrap=True
        )
    colour = {"nothing wrong": "green", "policy": "yellow"}.get(found.verdict, "red")
    out.print(f"\nSuspected: [bold {colour}]{found.verdict}[/]", highlight=False)
    for sentence in found.evidence:
        out.print(f"  {escape(sentence)}", highlight=False, soft_wrap=True)
    out.print(f"Next: {escape(found.next_step)}", highlight=False, soft_wrap=True)
    for note in found.notes:
        out.print(f"[dim]Not checked: {escape(note)}[/]", highlight=False, soft_wrap=True)


def _print_sweep(sweep: SweepDiagnosis) -> None:
    from vla_tutorial.diagnose.show import VERDICTS

    failed = sweep.counts(failed_only=True)
    columns = ("episodes", "failed", *VERDICTS)
    wide = max(map(len, ("condition", *sweep.counts())))
    out.print("  ".join([f"{'condition':<{wide}}", *columns]), soft_wrap=True)
    for condition, counts in sweep.counts().items():
        numbers = (
            counts.total(),
            failed[condition].total() if condition in failed else 0,
            *(counts[v] for v in VERDICTS),
        )
        cells = [f"{n or '·':>{len(column)}}" for n, column in zip(numbers, columns, strict=True)]
        out.print(
            "  ".join([f"{escape(condition):<{wide}}", *cells]), highlight=False, soft_wrap=True
        )
    if sweep.errors:
        out.print(f"{sweep.errors} episodes could not be run and are not counted.", highlight=False)
    for entry, why in sweep.unreadable:
        err.print(
            f"[yellow]Not judged:[/] {escape(entry.folder)}: {escape(why)}",
            highlight=False,
            soft_wrap=True,
        )


def _sweep_json(sweep: SweepDiagnosis) -> dict[str, Any]:
    episodes = [
        {
            "condition": e.condition,
            "suite": e.suite,
            "task": e.task,
            "init": e.init,
            "success": e.success,
            "verdict": d.verdict,
            "evidence": d.evidence,
        }
        for e, d in sweep.judged
    ]
    unreadable = [{"folder": e.folder, "why": why} for e, why in sweep.unreadable]
    return {
        "counts": sweep.counts(),
        "failed": sweep.counts(failed_only=True),
        "errors": sweep.errors,
        "unreadable": unreadable,
        "episodes": episodes,
    }
