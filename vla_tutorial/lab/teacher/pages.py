"""Pages that are printed or projected, filled from templates. They need no other host."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib.figure import Figure

from vla_tutorial import stats
from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.episodes import read_sweep
from vla_tutorial.lab.points import possible
from vla_tutorial.lab.sheet import OPEN, QUESTIONS, student_name
from vla_tutorial.lab.shown_clip import clip_figure, load_clip
from vla_tutorial.lab.teacher.grading import Graded
from vla_tutorial.lab.teacher.keys import ClassKey
from vla_tutorial.lab.teacher.solutions import DECODE, OPEN_ANSWERS, TURN
from vla_tutorial.lab.teacher.variants import Variant, all_factors, make_variant, outcomes
from vla_tutorial.plots import Row, forest_figure, inline_svg
from vla_tutorial.recorded import CLIPS, SWEEPS
from vla_tutorial.report import ConditionRun
from vla_tutorial.report.numbers import percents

SHOWN = "0_0"
"""Task and saved initial state of the clips on the slides."""

SILENT = ("published", "no_flip", "wrong_prompt", "wrong_unnorm_key", "gripper_inverted")
OTHERS = ("upper_case", "wrong_suite_key", "actions_too_large", "no_center_crop", "no_jpeg")
SHIFTED = ("camera_5", "camera_10", "camera_15", "light_75", "light_50", "second_can")
WORDED = ("paraphrase_1", "paraphrase_2", "paraphrase_5", "unrelated_instruction")
BY_HAND = ((1, 1), (9, 10), (45, 50))
"""Successes and episodes whose interval the worksheet asks for."""


def fill(template: str, **values: Any) -> str:
    """A template of this folder as HTML. Values are escaped."""
    folder = resources.files("vla_tutorial").joinpath("lab/teacher")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percents"] = percents
    source = folder.joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)


def slides_html() -> str:
    """Ten slides, with notes that are printed below them.

    Raises:
        TutorialError: clips or results are missing.
    """
    clips = {name: _clip_picture(name) for name in SILENT}
    prompts = {name: load_clip(CLIPS / SHOWN, name).prompt for name in SILENT}
    tokens = {name: load_clip(CLIPS / SHOWN, name).tokens for name in SILENT}
    rates = {name: _rate(name) for name in (*SILENT, *OTHERS, *SHIFTED, *WORDED)}
    return fill(
        "slides.html.jinja",
        clips=clips,
        prompts=prompts,
        tokens=tokens,
        rates=rates,
        factors=[f"{factor:.3f}" for factor in all_factors()[:3]],
        silent=_forest("silent", [*SILENT, *OTHERS]),
        shifted=_forest("shifted", [*SHIFTED, *WORDED]),
        tasks=_by_task(),
        sure=_how_sure(),
        all=_attempt(),
    )


def worksheet_html() -> str:
    """Two pages to write on."""
    return fill(
        "worksheet.html.jinja",
        by_hand=BY_HAND,
        attempt=_attempt(),
        task_1=_attempt(1),
        compared=_pairs("second_can", "camera_10"),
    )


def answer_key_html(key: ClassKey, names: Sequence[str]) -> str:
    """The answers of all students, of the worksheet, and of the open questions.

    Raises:
        TutorialError: a name is none.
    """
    variants = [make_variant(key, student_name(name)) for name in names]
    return fill(
        "answer_key.html.jinja",
        rows=[_key_row(variant) for variant in variants],
        turn=TURN,
        decode=DECODE,
        questions=QUESTIONS,
        open=OPEN,
        open_answers=OPEN_ANSWERS,
        by_hand=[stats.rate(*counts) for counts in BY_HAND],
        task_1=_attempt(1),
        compared=_pairs("second_can", "camera_10"),
    )


def open_answers_html(graded: Sequence[Graded]) -> str:
    """What the students wrote, question by question, to be marked by a person."""
    return fill(
        "open_answers.html.jinja",
        graded=graded,
        open=OPEN,
        open_answers=OPEN_ANSWERS,
        possible=possible(),
    )


def _key_row(variant: Variant) -> dict[str, Any]:
    only_first, only_second = variant.discordant
    return {
        "name": variant.name,
        "episode": f"task {variant.task}, initial state {variant.init}",
        "prompt": repr(variant.prompt),
        "reach": f"{variant.centimetres:.1f} cm in {variant.steps} steps",
        "factors": ", ".join(f"{factor:.4f}" for factor in variant.factors),
        "clips": variant.conditions,
        "interval": f"{variant.interval.low:.3f} to {variant.interval.high:.3f}",
        "counted": f"{variant.counted}: {variant.successes} of {variant.episodes}",
        "needed": f"{variant.needed:.0f}",
        "precision": variant.precision,
        "pairs": f"{only_first} and {only_second} ({', '.join(variant.compared)})",
        "p": f"{variant.p_value:.3g}",
    }


def _clip_picture(condition: str) -> str:
    """A clip beside the good run, as a `data:` address of WebP."""
    folder = CLIPS / SHOWN
    figure = clip_figure(load_clip(folder, condition), load_clip(folder, PUBLISHED), condition)
    return _webp(figure)


def _webp(figure: Figure) -> str:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="webp", dpi=170, pil_kwargs={"quality": 80})
    return "data:image/webp;base64," + base64.b64encode(drawn.getvalue()).decode()


def _rate(condition: str) -> stats.Rate:
    found = outcomes(condition)
    return stats.rate(sum(found.values()), len(found))


def _forest(name: str, conditions: Sequence[str]) -> str:
    rows = [Row(condition, _rate(condition)) for condition in conditions]
    return _drawn(name, rows)


def _drawn(name: str, rows: Sequence[Row]) -> str:
    read = "; ".join(f"{r.label}: {r.rate.successes} of {r.rate.episodes}" for r in rows if r.rate)
    return inline_svg(forest_figure(rows, beside=True), name, f"Success rates. {read}.")


def _attempt_outcomes(folder: Path = SWEEPS / "mini_attempt_2") -> dict[Any, bool]:
    return dict(ConditionRun(read_sweep(folder)).outcomes())


def _attempt(task: int | None = None) -> stats.Rate:
    """Of an earlier `mini`, which fails in one task: all tasks, or one."""
    ended = [won for start, won in _attempt_outcomes().items() if task in (None, start[0])]
    return stats.rate(sum(ended), len(ended))


def _by_task() -> str:
    return _drawn("tasks", [Row(f"task {task}", _attempt(task)) for task in range(10)])


def _how_sure() -> str:
    counts = ((1, 1), (9, 10), (45, 50), (450, 500))
    rows = [Row(f"{won} of {episodes}", stats.rate(won, episodes)) for won, episodes in counts]
    return _drawn("sure", rows)


def _pairs(first: str, second: str) -> dict[str, Any]:
    one = outcomes(first)
    other = outcomes(second)
    both = np.array([(one[start], other[start]) for start in sorted(one)])
    return {
        "first": first,
        "second": second,
        "both": int(both.all(axis=1).sum()),
        "neither": int((~both).all(axis=1).sum()),
        "only_first": int((both[:, 0] & ~both[:, 1]).sum()),
        "only_second": int((~both[:, 0] & both[:, 1]).sum()),
    }
