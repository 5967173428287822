"""`vla-tutorial conditions`: what can be broken, at which boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from vla_tutorial.cli.terminal import out

if TYPE_CHECKING:
    from vla_tutorial.conditions import Condition


def conditions(
    boundary: Annotated[
        str | None, typer.Option(help="Only those of one boundary, with what each one changes.")
    ] = None,
) -> None:
    """List the conditions by the boundary that they touch; with --boundary, what each one changes and who got it wrong.

    Example: `vla-tutorial conditions --boundary motion`
    """
    from vla_tutorial.conditions import BOUNDARIES, families
    from vla_tutorial.errors import unknown

    if boundary is not None and boundary not in BOUNDARIES:
        raise unknown("boundary", boundary, BOUNDARIES)
    for name, about in BOUNDARIES.items():
        if boundary in (None, name):
            out.print(f"[bold]{name}[/] · {about}", highlight=False, soft_wrap=True)
            for members in families(name).values():
                _tell_conditions(members, details=boundary is not None)


def _tell_conditions(members: list[Condition], details: bool) -> None:
    """One line for conditions that differ in level only, or everything about them."""
    from vla_tutorial.conditions import changed_settings
    from vla_tutorial.spec import PUBLISHED_SCENE, PUBLISHED_WIRING

    alike = len({c.teaches for c in members}) == 1
    others = [c.name.removeprefix(c.family) for c in members[1:]]
    names = (
        f"{members[0].name} … {others[-1]}"
        if len(members) > 4
        else ", ".join([members[0].name, *others])
    )
    what = (
        members[0].teaches
        if alike
        else f"{members[0].teaches.partition(':')[0]}, each in its own way."
    )
    if not details:
        out.print(f"  {names:<24} {escape(what)}", highlight=False, soft_wrap=True)
        return
    for c in members:
        out.print(f"  [bold]{c.name}[/]  {escape(c.teaches)}", highlight=False, soft_wrap=True)
        for setting, (before, after) in changed_settings(
            c, PUBLISHED_WIRING, PUBLISHED_SCENE
        ).items():
            out.print(
                f"    [dim]{setting}: {escape(repr(before))} → {escape(repr(after))}[/]",
                highlight=False,
                soft_wrap=True,
            )
        if c.claims:
            out.print(
                f"    [dim]the chapter: {escape(c.claims)}[/]", highlight=False, soft_wrap=True
            )
        if c.seen_in:
            out.print(
                f"    [dim]seen in: {escape(', '.join(c.seen_in))}[/]",
                highlight=False,
                soft_wrap=True,
            )
