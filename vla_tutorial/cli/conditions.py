"""`vla-tutorial conditions`: what can be broken, at which boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import out, tell

if TYPE_CHECKING:
    from vla_tutorial.conditions import Condition


def conditions(
    boundary: Annotated[
        str | None,
        typer.Option(help="List only the conditions of one boundary, with their settings."),
    ] = None,
) -> None:
    """List the conditions by the boundary that they touch.

    With --boundary it says what each condition changes, and which code had this fault.

    Example: `vla-tutorial conditions --boundary motion`
    """
    from vla_tutorial.conditions import BOUNDARIES, families
    from vla_tutorial.errors import unknown

    if boundary is not None and boundary not in BOUNDARIES:
        raise unknown("boundary", boundary, BOUNDARIES)
    for name, about in BOUNDARIES.items():
        if boundary not in (None, name):
            continue
        tell(out, f"[bold]{name}[/] · {about}")
        for members in families(name).values():
            if boundary is None:
                _tell_family(members)
                continue
            for condition in members:
                _tell_condition(condition)


def _tell_family(members: list[Condition]) -> None:
    """One line for conditions that differ in level only."""
    first = members[0]
    names = [first.name, *(c.name.removeprefix(c.family) for c in members[1:])]
    listed = ", ".join(names)
    if len(names) > 4:
        listed = f"{names[0]} … {names[-1]}"
    about = first.teaches
    if any(c.teaches != about for c in members):
        about = f"{about.partition(':')[0]}, each in its own way."
    tell(out, f"  {listed:<24} {escape(about)}")


def _tell_condition(condition: Condition) -> None:
    """Everything about one condition."""
    from vla_tutorial.conditions import changed_settings
    from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING

    changed = changed_settings(condition, PUBLISHED_WIRING, PUBLISHED_SCENE).items()
    details = [f"{setting}: {before!r} → {after!r}" for setting, (before, after) in changed]
    if condition.claims:
        details.append(f"the chapter: {condition.claims}")
    if condition.seen_in:
        details.append(f"seen in: {', '.join(condition.seen_in)}")
    tell(out, f"  [bold]{condition.name}[/]  {escape(condition.teaches)}")
    for detail in details:
        tell(out, f"    [dim]{escape(detail)}[/]")
