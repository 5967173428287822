"""Each claim of the chapter that waits for the 7B checkpoint, and what episodes say of it.

The ids and titles are those of the book's claims page; a test compares them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np
from scipy.stats import quantile_test

from vla_tutorial.accept import judge
from vla_tutorial.accept.evidence import Evidence
from vla_tutorial.accept.judge import Finding, open_until
from vla_tutorial.accept.rows import Row
from vla_tutorial.accept.stages import LONG, SHIFTED
from vla_tutorial.conditions import PUBLISHED
from vla_tutorial.report import numbers
from vla_tutorial.stats import Paired

Settle = Callable[[Evidence], Finding]

CHATTER = 1
"""An episode whose gripper closes more often than this chatters, by the chapter's rule."""

STALLED = 0.05
"""Metres in the last `rows.LAST_STEPS` control steps below which an arm stands still: 1 mm a step.
Over published successes `mini`'s hand moves 8.8 mm a step in the median (chapter_claims.json)."""

SHARPLY = 0.2
"""A fall of success by so much is a sharp one."""

TWO_OBJECTS = (0, 1, 7)
"""Tasks of libero_10 that bring two objects to one place."""

RESAMPLES = 20_000
"""Draws of failures over tasks: the error of a p value of 0.05 is then 0.002."""


@dataclass(frozen=True)
class Claim:
    """One claim: its id and title on the book's page, what it says in short, and who judges it."""

    id: str
    title: str
    says: str
    settle: Settle


def _success(e: Evidence) -> Finding:
    found = e.rate(PUBLISHED)
    if found is None:
        return open_until("episodes of the published protocol")
    text = f"The checkpoint succeeds in {judge.said(found)}. The paper reports 88.4 ± 0.8 %."
    return Finding(judge.within(found.interval, 0.88, 0.90), text, judge.counts(found))


def _wall_clock(e: Evidence) -> Finding:
    steps = [row.steps for row in e.of(PUBLISHED) if row.success and row.steps]
    if not steps or e.pace is None:
        return open_until("successes of the published protocol")
    each = e.pace.simulator + e.pace.action
    middle = median(steps)
    low, high = _median_interval(steps)
    text = (
        f"With one simulator a success takes {middle * each:.0f} s ({low * each:.0f} to "
        f"{high * each:.0f} s): {middle:.0f} steps of {1000 * each:.0f} ms on {e.gpu}."
    )
    found = {"seconds": round(middle * each, 2), "step_ms": round(1000 * each, 2)}
    if "4090" not in e.gpu:
        return Finding("open", f"{text} The claim is about an RTX 4090.", found)
    agrees = low * each <= 70 and high * each >= 50
    return Finding("agrees" if agrees else "does not agree", text, found)


def _timing(e: Evidence) -> Finding:
    won = [row for row in e.of(PUBLISHED) if row.success]
    if not won:
        return open_until("successes of the published protocol")
    close = judge.share([60 <= (row.first_close or 0) <= 90 for row in won])
    end = judge.share([180 <= (row.steps or 0) <= 220 for row in won])
    closes = [row.first_close for row in won if row.first_close is not None]
    middle = median(closes or [0])
    last = median(row.steps or 0 for row in won)
    text = (
        f"In successes the fingers close at step {middle:.0f} in the median. They close at steps "
        f"60 to 90 in {judge.said(close)}. The reward comes at step {last:.0f} in the median, and "
        f"at steps 180 to 220 in {judge.said(end)}."
    )
    verdict = judge.all_of([judge.mostly(close), judge.mostly(end)])
    return Finding(verdict, text, {"close_share": close.rate, "end_share": end.rate})


def _threshold(e: Evidence) -> Finding:
    chattering = [row for row in _object_rows(e) if (row.closes or 0) > CHATTER and row.changes]
    changes = sum(row.changes or 0 for row in chattering)
    if not changes:
        return open_until("an episode whose gripper closes more than once")
    near = sum(row.near or 0 for row in chattering)
    found = judge.share([True] * near + [False] * (changes - near))
    text = (
        f"In {numbers.plural(len(chattering), 'episode')} the gripper closed more than once. Where "
        f"its command changed there, the bin is near the threshold in {judge.said(found)}."
    )
    return Finding(judge.mostly(found), text, judge.counts(found))


def _smooth(e: Evidence) -> Finding:
    good = [r.jaggedness for r in e.of(PUBLISHED) if r.success and r.jaggedness is not None]
    shifted = [PUBLISHED, *SHIFTED.conditions]
    lost = [r for name in shifted for r in e.of(name) if not r.success]
    bad = [r.jaggedness for r in lost if r.jaggedness is not None]
    if not good or not bad:
        return open_until("successes as published, and failures as published or under shifts")
    limit = float(np.quantile(good, 0.95))
    found = judge.share([value > limit for value in bad])
    medians = [numbers.percent(median(values)) for values in (good, bad)]
    text = (
        f"From step to step the commanded translation changes by {medians[0]} of its length in "
        f"successes and {medians[1]} in failures (medians). Failures more jagged than 95 % of the "
        f"successes: {judge.said(found)}."
    )
    return Finding(judge.mostly(found), text, judge.counts(found))


def _no_flip(e: Evidence) -> Finding:
    found = e.rate("no_flip")
    before = e.rate(PUBLISHED)
    if found is None or before is None:
        return open_until("episodes without the flip")
    text = (
        f"Without the flip the checkpoint succeeds in {judge.said(found)}; with it in "
        f"{judge.said(before)}."
    )
    return Finding(judge.within(found.interval, 0.0, 0.0999), text, judge.counts(found))


def _prompt(e: Evidence) -> Finding:
    rows = [row for row in e.of("wrong_prompt") if row.reached is not None]
    if not rows:
        return open_until("episodes with another prompt")
    never = judge.share([not row.reached for row in rows])
    won = judge.share([bool(row.success) for row in rows])
    middle = median(row.centred or 0 for row in rows)
    ends = median(row.saturated or 0 for row in rows)
    text = (
        f"With another prompt the hand never comes down to an object in {judge.said(never)}. "
        f"The checkpoint succeeds in {judge.said(won)}. Of its motion tokens "
        f"{numbers.percent(middle)} lie at the middle bin and {numbers.percent(ends)} at the ends "
        "(medians)."
    )
    return Finding(judge.mostly(never), text, judge.counts(never))


def _long_rate(e: Evidence) -> Finding:
    found = e.rate(PUBLISHED, LONG)
    if found is None:
        return open_until(f"episodes of {LONG} with a checkpoint that knows it")
    rate = judge.said(found)
    text = f"On {LONG} the checkpoint succeeds in {rate}. The paper reports 53.7 ± 1.3 %."
    return Finding(judge.within(found.interval, 0.50, 0.55), text, judge.counts(found))


def _second_object(e: Evidence) -> Finding:
    rows = [row for row in e.of(PUBLISHED, LONG) if row.task in TWO_OBJECTS]
    one_in = [row for row in rows if row.held]
    if not one_in:
        return open_until("long episodes in which the first of two objects arrived")
    lost = judge.share([not row.success for row in one_in])
    stuck = [row for row in one_in if not row.success]
    still = sum((row.end_path or 0) < STALLED for row in stuck)
    text = (
        f"The first of two objects arrived in {len(one_in)} of {len(rows)} episodes. After that "
        f"the second never came in {judge.said(lost)}. In {still} of these {len(stuck)} the arm "
        "stood still at the end."
    )
    return Finding(judge.mostly(lost), text, judge.counts(lost))


def _shifts(e: Evidence) -> Finding:
    found = {name: e.against_published(name) for name in SHIFTED.conditions}
    measured = {name: pair for name, pair in found.items() if pair is not None}
    if len(measured) < len(found):
        return open_until("episodes with the camera turned, half the light and a second object")
    verdict = judge.all_of([_falls(pair) for pair in measured.values()])
    text = " ".join(_fall_said(name, pair) for name, pair in measured.items())
    return Finding(verdict, text, {name: pair.difference for name, pair in measured.items()})


def _falls(pair: Paired) -> judge.Verdict:
    if pair.interval.high < -SHARPLY:
        return "agrees"
    return "does not agree" if pair.interval.low > -SHARPLY else "open"


def _fall_said(name: str, pair: Paired) -> str:
    return (
        f"{name}: {numbers.counted(pair.rate_b)}, {numbers.points(pair.difference)} against the "
        f"published run from the same initial states, 95 % interval {numbers.span(pair.interval)}."
    )


def _pretraining(e: Evidence) -> Finding:
    found = _shifts(e)
    if not found.numbers:
        return found
    more = "This is about the second half of the claim. The base model, for the first, was not run."
    return Finding("open", f"{found.text} {more}", found.numbers)


def _paraphrase(e: Evidence) -> Finding:
    names = ("paraphrase_1", "paraphrase_2")
    found = {name: e.against_published(name) for name in names}
    measured = {name: pair for name, pair in found.items() if pair is not None}
    if len(measured) < len(names):
        return open_until("episodes with two paraphrases")
    verdict = judge.all_of([judge.within(p.interval, -0.30, -0.10) for p in measured.values()])
    text = " ".join(_fall_said(name, pair) for name, pair in measured.items())
    return Finding(verdict, text, {name: pair.difference for name, pair in measured.items()})


def _table(e: Evidence) -> Finding:
    found = _paraphrase(e)
    if not found.numbers:
        return found
    more = "Compare it with the paper's table, which could not be read here."
    return Finding("open", f"{found.text} {more}", found.numbers)


def _bad_luck(e: Evidence) -> Finding:
    rows = e.of(PUBLISHED)
    failures = sum(not row.success for row in rows)
    tasks = sorted({row.task for row in rows})
    if failures < 5 or len(tasks) < 2:
        return open_until("five failures of the published protocol")
    episodes = np.array([sum(row.task == task for row in rows) for task in tasks])
    failed = np.array([sum(row.task == task and not row.success for row in rows) for task in tasks])
    p = _chance_of_spread(failed, episodes)
    worst = max(zip(failed, tasks, strict=True))
    text = (
        f"{failures} of {len(rows)} episodes failed, most in task {worst[1]} ({worst[0]}). If "
        f"failures fell on tasks by chance, a spread so uneven would have {numbers.p_value(p)}."
    )
    verdict: judge.Verdict = "does not agree" if p < 0.05 else "agrees"
    return Finding(verdict, text, {"p": p, "failures": failures, "episodes": len(rows)})


def _chance_of_spread(failed: np.ndarray, episodes: np.ndarray) -> float:
    """p of a permutation test: failures drawn over all episodes, chi-square of their numbers."""
    expected = failed.sum() * episodes / episodes.sum()
    random = np.random.default_rng(0)
    drawn = random.multivariate_hypergeometric(episodes, int(failed.sum()), RESAMPLES)

    def uneven(counts: np.ndarray) -> np.ndarray:
        return np.asarray(((counts - expected) ** 2 / expected).sum(-1))

    return float((1 + np.sum(uneven(drawn) >= uneven(failed) - 1e-9)) / (RESAMPLES + 1))


def _median_interval(values: list[int]) -> tuple[float, float]:
    """95 % interval of a median, by order statistics; the extremes of fewer than six values."""
    if len(values) < 6:
        return float(min(values)), float(max(values))
    found = quantile_test(values, q=float(median(values))).confidence_interval(0.95)
    return float(found.low), float(found.high)


def _object_rows(e: Evidence) -> list[Row]:
    names = dict.fromkeys(row.condition for row in e.rows)
    return [row for name in names for row in e.of(name)]


CLAIMS: Mapping[str, Claim] = {
    claim.id: claim
    for claim in (
        Claim("wall-clock", "A minute for an episode", "50–70 s on an RTX 4090", _wall_clock),
        Claim("success-rate", "Success of the released checkpoint", "88–90 %", _success),
        Claim("timing", "When the fingers close", "close at 60–90, end at 180–220", _timing),
        Claim("threshold", "Why a gripper chatters", "its bin sits at the threshold", _threshold),
        Claim("smooth", "Smooth motion", "smooth; jagged where it is out of place", _smooth),
        Claim("no-flip", "Without the flip", "single digits", _no_flip),
        Claim("prompt", "Another prompt", "the arm never reaches the object", _prompt),
        Claim("long-rate", "Success on long tasks", "50–55 %", _long_rate),
        Claim("second-object", "The second object", "it never returns for it", _second_object),
        Claim("shifts", "Camera, light, objects", "success falls sharply", _shifts),
        Claim("pretraining-mix", "Variation in pretraining", "tuned to one look", _pretraining),
        Claim("paraphrase", "Another wording", "costs 10–30 points", _paraphrase),
        Claim("table-4", "Numbers about language", "Table 4 says how much", _table),
        Claim("bad-luck", "Failures by chance", "failures spread as by chance", _bad_luck),
    )
}
"""Every claim whose verdict on the book's page is "needs the 7B checkpoint", in its order."""


def settle(evidence: Evidence) -> dict[str, Finding]:
    """What came out for each claim, by its id."""
    return {name: claim.settle(evidence) for name, claim in CLAIMS.items()}
