"""Signatures as a table for people, without a verdict."""

from __future__ import annotations

from vla_tutorial.diagnose.reference import Range, Reference
from vla_tutorial.diagnose.signatures import Picture, Signatures

Row = tuple[str, str, str]
"""Signature, its value here, what published episodes have ("" where nothing is comparable)."""

ENDS = {True: "success", False: "no success"}


def table(s: Signatures, reference: Reference) -> list[Row]:
    """The signatures in the order of the boundaries."""
    g = s.gripper
    off = "not known" if s.first_off is None else f"{s.first_off:.1f} bins off"
    undecided = f"{g.undecided:.0%} (at first {g.early_undecided:.0%})"
    return [
        *_picture_rows(s.picture, reference),
        ("first answer", off, "under 4"),
        ("gripper tokens undecided", undecided, "0%"),
        ("motion tokens in the middle · at ends", f"{s.centred:.0%} · {s.saturated:.0%}", ""),
        ("motion fits the tokens under", s.mapping.key or "no known statistics", reference.key),
        ("size of the motion", f"× {s.mapping.scale:.3g}", "× 1"),
        ("gripper mapping", s.mapping.gripper or "no known mapping", "binarised"),
        ("hand moves per unit commanded", f"{s.response:.1f} mm a step", ""),
        ("hand gets from its start", f"{100 * s.travel:.0f} cm", ""),
        ("steps without motion", f"{s.still:.0%}", ""),
        ("jaggedness", f"{s.jaggedness:.2f}", ""),
        ("fingers at the first step", f"{g.fingers:.0f} mm", f"{reference.fingers[1]:.0f} mm"),
        ("first close", _step(g.first_close), ""),
        ("closes · changes", f"{g.closes} · {g.chatter:.1f} in 100 steps", ""),
        ("came down", _step(s.progress.reached), ""),
        ("grasped", _step(s.progress.grasped), ""),
        ("lifted", _step(s.progress.lifted), ""),
        ("let go", _step(s.progress.released), ""),
        ("end", f"{ENDS[s.success]} after {s.steps} steps", ""),
    ]


def _picture_rows(p: Picture, reference: Reference) -> list[Row]:
    repeated = "the first one again" if p.repeats else "another"
    return [
        ("first picture is turned", p.turned, "as published"),
        ("quarters of it, off by", f"{p.misfit:.1f} grey levels", "0"),
        ("brightness (0–255)", f"{p.brightness:.1f}", _between(reference.brightness)),
        ("red − blue", _level(p.red_minus_blue), _between(reference.red_minus_blue)),
        ("red + blue − 2 green", _level(p.chroma), _between(reference.chroma)),
        ("sharpness", _level(p.sharpness), _between(reference.sharpness)),
        ("second picture", repeated, "another"),
    ]


def _between(ends: Range) -> str:
    return f"{ends[0]:.1f} to {ends[1]:.1f}"


def _level(value: float | None) -> str:
    return "not logged" if value is None else f"{value:.1f}"


def _step(step: int | None) -> str:
    return "never" if step is None else f"step {step}"
