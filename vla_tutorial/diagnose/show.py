"""Signatures as a table for people, with or without the verdict."""

from __future__ import annotations

from vla_tutorial.diagnose.reference import Reference
from vla_tutorial.diagnose.signatures import Picture, Signatures

VERDICTS = ("pixels", "prompt", "motion", "simulator", "policy", "nothing wrong")

Row = tuple[str, str, str]
"""Signature, its value here, what published episodes have ("" where there is nothing to compare)."""


def table(s: Signatures, reference: Reference) -> list[Row]:
    """The signatures in the order of the boundaries."""
    off = "not known" if s.first_off is None else f"{s.first_off:.1f} bins off"
    return [
        *_picture_rows(s.picture, reference),
        ("first answer", off, "under 4"),
        (
            "gripper tokens undecided",
            f"{s.gripper.undecided:.0%} (at first {s.gripper.early_undecided:.0%})",
            "0%",
        ),
        ("motion tokens in the middle · at ends", f"{s.centred:.0%} · {s.saturated:.0%}", ""),
        ("motion fits the tokens under", s.mapping.key or "no known statistics", reference.key),
        ("size of the motion", f"× {s.mapping.scale:.3g}", "× 1"),
        ("gripper mapping", s.mapping.gripper or "no known mapping", "binarised"),
        ("hand moves per unit commanded", f"{s.response:.1f} mm a step", ""),
        ("hand gets from its start", f"{100 * s.travel:.0f} cm", ""),
        ("steps without motion", f"{s.still:.0%}", ""),
        ("jaggedness", f"{s.jaggedness:.2f}", ""),
        (
            "fingers at the first step",
            f"{s.gripper.fingers:.0f} mm",
            f"{reference.fingers[1]:.0f} mm",
        ),
        (
            "first close",
            "never" if s.gripper.first_close is None else f"step {s.gripper.first_close}",
            "",
        ),
        ("closes · changes", f"{s.gripper.closes} · {s.gripper.chatter:.1f} in 100 steps", ""),
        *_progress_rows(s),
        ("end", f"{'success' if s.success else 'no success'} after {s.steps} steps", ""),
    ]


def _picture_rows(p: Picture, reference: Reference) -> list[Row]:
    def between(ends: tuple[float, float]) -> str:
        return f"{ends[0]:.1f} to {ends[1]:.1f}"

    def level(value: float | None) -> str:
        return "not logged" if value is None else f"{value:.1f}"

    return [
        ("first picture is turned", p.turned, "as published"),
        ("quarters of it, off by", f"{p.misfit:.1f} grey levels", "0"),
        ("brightness (0–255)", f"{p.brightness:.1f}", between(reference.brightness)),
        ("red − blue", level(p.red_minus_blue), between(reference.red_minus_blue)),
        ("red + blue − 2 green", level(p.chroma), between(reference.chroma)),
        ("sharpness", level(p.sharpness), between(reference.sharpness)),
        ("second picture", "the first one again" if p.repeats else "another", "another"),
    ]


def _progress_rows(s: Signatures) -> list[Row]:
    stages = {
        "came down": s.progress.reached,
        "grasped": s.progress.grasped,
        "lifted": s.progress.lifted,
        "let go": s.progress.released,
    }
    return [
        (name, "never" if step is None else f"step {step}", "") for name, step in stages.items()
    ]
