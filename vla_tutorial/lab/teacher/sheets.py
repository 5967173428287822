"""Variant → sheet: the questions, and the digests of right answers and of usual mistakes."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vla_tutorial.conditions import CATALOGUE, PUBLISHED
from vla_tutorial.lab import forms
from vla_tutorial.lab.sheet import SHEET_FORMAT, Clip, Digest, Reply, Sheet, digest, student_name
from vla_tutorial.lab.shown_clip import ShownClip, load_clip
from vla_tutorial.lab.teacher.keys import PRACTICE, ClassKey
from vla_tutorial.lab.teacher.mistakes import decoding_mistakes, turning_mistakes, wald
from vla_tutorial.lab.teacher.variants import Variant, all_factors, make_variant, quantiles
from vla_tutorial.lab.unlabelled import CHOICES
from vla_tutorial.recorded import CLIPS

SALT = "salt"
SEAL = "seal"
"""Labels of what a sheet has of the key beside its variant."""


@dataclass
class _Replies:
    """Replies by question and digest. The first that is written for a digest stays."""

    salt: str
    by_question: dict[str, dict[Digest, Reply]] = field(default_factory=dict)

    def add(
        self, question: str, form: str, texts: Iterable[str], why: str, *, right: bool = False
    ) -> None:
        known = self.by_question.setdefault(question, {})
        for text in texts:
            known.setdefault(digest(self.salt, question, form, text), Reply(right, why))

    def sorted(self) -> dict[str, dict[Digest, Reply]]:
        """In the order of the digests, which tells nothing of the answers."""
        return {question: dict(sorted(known.items())) for question, known in self.items()}

    def items(self) -> Iterable[tuple[str, dict[Digest, Reply]]]:
        return self.by_question.items()


def make_sheet(key: ClassKey, name: str, clips: Path = CLIPS) -> Sheet:
    """The sheet of a student, in a second.

    Raises:
        TutorialError: the name is none, or the recorded clips are missing.
    """
    name = student_name(name)
    variant = make_variant(key, name)
    replies = _Replies(key.hexadecimal(name, SALT))
    shown = _recorded(clips / variant.start)
    for add in (_turn, _prompt, _decode, _factors, _reach, _count):
        add(replies, variant)
    _clips(replies, variant, shown)
    rate, error = variant.precision
    return Sheet(
        format=SHEET_FORMAT,
        name=name,
        marked=key.marked,
        salt=replies.salt,
        seal=key.hexadecimal(name, SEAL),
        task=variant.task,
        init=variant.init,
        picture=variant.picture.tolist(),
        instruction=variant.instruction,
        cases=list(variant.cases),
        quantiles=quantiles(),
        steps=variant.steps,
        choices=list(CHOICES),
        clips={
            letter: _clip(clips / variant.start / condition, shown[condition])
            for letter, condition in variant.conditions.items()
        },
        good=_clip(clips / variant.start / PUBLISHED, shown[PUBLISHED]),
        counted=variant.counted,
        successes=variant.successes,
        episodes=variant.episodes,
        rate=rate,
        error=error,
        compared=variant.compared,
        pairs=list(variant.pairs),
        replies=replies.sorted(),
    )


def practice_sheet(name: str, clips: Path = CLIPS) -> Sheet:
    """A sheet for practice, which anybody can make."""
    return make_sheet(PRACTICE, name, clips)


def _recorded(folder: Path) -> dict[str, ShownClip]:
    """Condition → its clip, for all single conditions of which there is one, and the good run."""
    names = [PUBLISHED, *CATALOGUE]
    there = [name for name in names if (folder / name / "episode.js").is_file()]
    return {name: load_clip(folder, name) for name in {*there, *CHOICES}}


def _clip(folder: Path, clip: ShownClip) -> Clip:
    picture = base64.b64encode((folder / "poster.webp").read_bytes()).decode()
    series = {name: list(values) for name, values in clip.drawn().items()}
    tokens = (*clip.tokens,)
    return Clip(picture, clip.prompt, tokens, series)  # type: ignore[arg-type]


def _turn(replies: _Replies, variant: Variant) -> None:
    right = forms.picture_form(variant.turned)["pixels"]
    why = "rows and columns are both reversed, as in the training data."
    replies.add("2", "pixels", [right], why, right=True)
    for mistake, hint in turning_mistakes(variant.picture):
        replies.add("2", "pixels", [forms.picture_form(mistake)["pixels"]], hint)


PROMPT_HINTS = {
    "letters": "only capital letters differ. What does the published prompt do with them?",
    "spaces": "only spaces or line breaks differ. print(repr(…)) shows them.",
    "before": "the text is right up to the instruction. What follows the instruction differs.",
    "after": "the text is right from the instruction on. What stands before it differs.",
}


def _prompt(replies: _Replies, variant: Variant) -> None:
    wanted = forms.prompt_forms(variant.prompt, variant.instruction)
    why = "the tokenizer adds the first token and the empty token."
    replies.add("3", "exact", [wanted["exact"]], why, right=True)
    for form, hint in PROMPT_HINTS.items():
        replies.add("3", form, [wanted[form]], hint)


def _decode(replies: _Replies, variant: Variant) -> None:
    for case in variant.cases:
        number = variant.cases.index(case)
        right = forms.decoded_texts(variant.decoded[number])
        replies.add(f"4a {number}", "value", right, "as expected.", right=True)
        for mistake, hint in decoding_mistakes(case):
            replies.add(f"4a {number}", "value", forms.decoded_texts(mistake), hint)


def _factors(replies: _Replies, variant: Variant) -> None:
    libero, bridge = quantiles().values()
    rotations = ", ".join(f"{factor:.2f}" for factor in all_factors()[3:6])
    alone = np.array(bridge[1]) / libero[1]
    right = (
        "the arm hardly moves. Rotations are multiplied by only "
        f"{rotations}, and the gripper is not changed."
    )
    inverse = "the factor is right, but does the motion become larger or smaller?"
    only_q99 = "that compares only q99, but a token is stretched over the whole range q01 … q99."
    kinds = (
        ("ratio", variant.factors, right),
        ("inverse", 1 / variant.factors, inverse),
        ("alone", alone, only_q99),
    )
    for form, values, why in kinds:
        for axis, value in zip("xyz", values, strict=True):
            near = forms.near(forms.ratio_bucket(float(value)), 2)
            replies.add(f"4b {axis}", form, near, why, right=form == "ratio")


def _reach(replies: _Replies, variant: Variant) -> None:
    wanted = variant.centimetres
    why = "the object is at least 29 cm away, so the hand cannot get there."
    replies.add("4c", "ratio", forms.near(forms.ratio_bucket(wanted), 6), why, right=True)
    full = wanted / float(variant.factors[0])
    why = "that is the distance under the right key. What does the wrong key do to x?"
    replies.add("4c", "ratio", forms.near(forms.ratio_bucket(full), 6), why)
    near = forms.near(forms.ratio_bucket(10 * wanted), 6)
    replies.add("4c", "ratio", near, "give centimetres, not millimetres.")


def _clips(replies: _Replies, variant: Variant, shown: Mapping[str, ShownClip]) -> None:
    for letter, condition in variant.conditions.items():
        question = f"5{letter}"
        why = "now say what shows it: the picture, the prompt, the tokens or a curve."
        replies.add(question, "name", [condition], why, right=True)
        for other, clip in shown.items():
            unlike = shown[condition].unlike(clip)
            if not unlike:
                why = "{answer} shows the same here, so it counts as right."
                replies.add(question, "name", [other], why, right=True)
                continue
            why = (
                f"under {{answer}}, {unlike[0]} would be different. Compare {letter} with the "
                "known-good run, in this order: picture, prompt, tokens, size of motion, gripper."
            )
            replies.add(question, "name", [other], why)


def _count(replies: _Replies, variant: Variant) -> None:
    _interval(replies, variant)
    exact = [str(round(variant.needed) + shift) for shift in (-1, 0, 1)]
    rate, error = variant.precision
    why = (
        f"for one standard error of {100 * error:g} %, at a rate of {100 * rate:g} %. "
        "A 95 % interval of that half-width needs almost four times as many."
    )
    replies.add("7b", "count", exact, why, right=True)
    twice = round(1.959964**2 * variant.needed)
    why = "that is for the 95 % interval, but the question is about one standard error."
    replies.add("7b", "count", map(str, range(twice - 5, twice + 6)), why)
    only_first, only_second = variant.discordant
    why = "the pairs that agree say nothing about the difference."
    replies.add("7c", "pairs", [forms.joined((only_first, only_second))], why, right=True)
    why = "the numbers are right, but in the wrong order."
    replies.add("7c", "pairs", [forms.joined((only_second, only_first))], why)
    near = forms.near(forms.ratio_bucket(variant.p_value), 5)
    why = "a small p means that chance alone rarely makes the pairs so uneven."
    replies.add("7d", "ratio", near, why, right=True)
    near = forms.near(forms.ratio_bucket(variant.p_value / 2), 5)
    replies.add(
        "7d",
        "ratio",
        near,
        "that is the one-sided p. Either condition could have won, so use the two-sided one.",
    )


def _interval(replies: _Replies, variant: Variant) -> None:
    found = variant.interval
    plain = wald(variant.successes, variant.episodes)
    kinds = (
        ("share", found, "Wilson's interval never leaves 0 … 1."),
        ("plain", plain, "that is ±1.96 standard errors, which fails near 0 and 1. Use Wilson's."),
        ("percent", tuple(100 * end for end in found), "give shares of one, not per cent."),
        ("reversed", tuple(reversed(found)), "the lower end comes first, then the upper end."),
    )
    for form, ends, why in kinds:
        for end, value in zip(("lower", "upper"), ends, strict=True):
            near = forms.near(forms.share_bucket(value), 2)
            replies.add(f"7a {end}", form, near, why, right=form == "share")
