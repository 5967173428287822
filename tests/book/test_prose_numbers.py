"""Numbers in the text of notebooks and pages: measured ones agree with their files, and no other is left unexplained.

`MEASURED` are the phrases that repeat a measurement; each is written here from the file that holds it. `EXPLAINED` are phrases
whose numbers were not measured here: the protocol's and the model's, levels of conditions, settings of a task, and figures of
others, whose text says whose they are. A number that is in neither fails.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from scipy.stats import norm

from vla_tutorial import actions
from vla_tutorial.conditions import CATALOGUE
from vla_tutorial.lab.teacher.variants import KEYS
from vla_tutorial.report import build_report
from vla_tutorial.sim import step_limit
from vla_tutorial.stats import (
    ALPHA,
    look,
    paired,
    pairs_needed,
    standard_error,
    wilson,
)
from vla_tutorial.stats.power import mcnemar_power
from vla_tutorial.training.augment import Augmentation

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import book_facts  # noqa: E402
import book_sweeps  # noqa: E402

value = book_facts.value
SUITE_STEPS = step_limit("libero_object")
LARGE = (
    "eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty"
    "|ninety|hundred|thousand"
)
NUMBER = re.compile(rf"[^\s|]*(?:\d|\b(?:{LARGE})\b)[^\s|]*", re.IGNORECASE)


def prose(path):
    """The Markdown cells of a notebook as one line, without what the live page's buttons hold."""
    cells = nbformat.read(path, as_version=4).cells
    text = " ".join(" ".join(c.source.split()) for c in cells if c.cell_type == "markdown")
    return re.sub(r'data-link="[^"]*"', "", text)


def factors():
    libero, bridge = (actions.embedded_statistics()[key] for key in KEYS)
    return (bridge.q99 - bridge.q01) / (libero.q99 - libero.q01)


def whole(share):
    return f"{100 * share:.0f}"


def by_task(folder, condition="published"):
    found = book_sweeps.counted(folder, condition).ended
    return {task: [e.success for e in found if e.task == task] for task in range(10)}


def success():
    return [
        f"{value('mini_speed_h100:parameters') / 1e6:.1f} million parameters",
        f"up to {value('chapter_claims:checks.full_speed.mm_a_step')} mm",
        f"reads {book_sweeps.counted('mini_official').episodes} episodes",
        f"in all {value('chapter_claims:checks.saved_states.states')} saved initial states",
    ]


def silent_failures():
    span = factors()
    assert all(1 / 30 < f < 1 / 20 for f in span[:3])
    assert span[6] == 1
    folder = "mini_silent_failures"
    counts = {name: book_sweeps.counted(folder, name).rate for name in ("no_flip", "wrong_prompt")}
    assert {(r.successes, r.episodes) for r in counts.values()} == {(0, 200)}
    assert 0.015 < wilson(0, 200)[1] < 0.02
    faults = [
        c.name
        for c in CATALOGUE.values()
        if c.boundary in ("pixels", "prompt", "motion", "simulator")
        and c.name in book_sweeps.swept()
    ]
    assert sum(rate(name) == 1 for name in faults) >= 3, "several faults cost nothing"
    assert 0.9 < rate("actions_too_large") < 1, "costs little"
    published, inverted = (motion_of(name) for name in ("published", "gripper_inverted"))
    differs = np.abs(published - inverted[: len(published)]) > 0.01
    return [
        f"the motion is the same up to step {differs.argmax() - 1}",
        "between 1/20 and 1/30",
        f"by factors from {min(span[3:6]):.2f} to {max(span[3:6]):.2f}",
        "no success in 200 episodes",
        "almost 2 %",
    ]


def motion_of(condition):
    """Commanded motion at each step of a recorded clip of task 0, as the player draws it."""
    text = (ROOT / "book/clips/0_0" / condition / "episode.js").read_text()
    clip, _ = json.JSONDecoder().raw_decode(text, text.index("]={") + 2)
    return np.array(clip["series"]["motion"])


def rate(condition):
    return book_sweeps.counted("conditions", condition).rate.rate


def script_is_right():
    """What the text says in words, beside the figures that it is read from."""
    light = Augmentation().light
    camera = [
        rate(name) for name in ("published", "camera_5", "camera_10", "camera_15", "camera_30")
    ]
    assert camera == sorted(camera, reverse=True) and len(set(camera)) == 5, (
        "falls with every further turn"
    )
    assert book_sweeps.pairs("camera_5").p_value < 0.05, "already more than chance"
    assert rate("light_75") > 0.98 and book_sweeps.pairs("light_75").p_value > 0.05, (
        "next to nothing"
    )
    assert rate("light_50") == 0
    assert light < 0.25, "mini copes with more than training's change of the light"
    kept = ("noise_5", "noise_10", "noise_20", "distractors_swapped")
    assert {rate(name) for name in kept} == {1}, "they cost nothing here"
    assert 0.15 < 1 - rate("second_can") < 0.25, "about one episode in five"
    assert rate("mujoco_drift") == 0
    chance = ("friction_low", "friction_high", "nudge_1", "nudge_2", "nudge_3")
    assert {rate(name) for name in chance} == {1}, "from every start under each of them"
    twice = [
        e.task
        for name in ("published", *chance)
        for e in book_sweeps.counted("conditions", name).ended
        if e.closes > 1
    ]
    assert twice.count(1) > len(twice) / 2, "most are of task 1"
    second_can = by_task("conditions", "second_can")
    assert [any(ended) for ended in second_can.values()].count(False) == 1, "one task fails"
    assert [all(ended) for ended in second_can.values()].count(True) == 5, "five never fail"
    reworded = {k: rate(f"paraphrase_{k}") for k in range(1, 9)}
    assert list(reworded.values()).count(0) == 6, "six of eight cost everything"
    assert max(reworded, key=reworded.get) == 5, "`paraphrase_5` leaves most"
    four = {s: book_sweeps.counted(f"libero_object_{s}").rate.rate for s in ("swap", "task")}
    assert min(four.values()) > 0.9, "follows place and goal"
    assert max(book_sweeps.counted(f"libero_object_{s}").rate.rate for s in ("object", "lan")) < 0.1
    assert book_sweeps.counted("mini_official").rate.rate == 1, "differ by one point"
    assert camera[1] > 0.5 and camera[2] > 0.5
    assert pairs_needed(0.12, 0.02) == 114
    return [
        f"by up to {whole(light)} %",
        "`mini` succeeds in most episodes at 5° and 10°",
        "114 pairs",
    ]


def later(condition):
    """Share of the episodes that first close after step 5, as notebook 4's table counts them."""
    steps = [e.first_close for e in book_sweeps.counted("conditions", condition).ended]
    return sum(step is not None and step > 5 for step in steps) / len(steps)


def stopping():
    """What the fourth pass says of tests that stop early."""
    found = value("sequential")
    peeking = found["peeking"]
    ways = ("mcnemar_once_at_the_end", "mcnemar_after_every_pair", "anytime_after_every_pair")
    once, each, anytime = (f"{100 * peeking[way]['wrong'] / peeking['runs']:.1f} %" for way in ways)
    parts = found["summary"].values()
    comparisons, pairs, used = (
        sum(part[key] for part in parts) for key in ("comparisons", "pairs_recorded", "pairs_used")
    )
    fault = found["comparisons"]["conditions: no_flip"]
    same = found["comparisons"]["conditions: no_center_crop"]
    large = found["comparisons"]["conditions: actions_too_large"]
    first = look(0, 7, 0).interval
    assert found["margin"] == 0.05
    assert (first.low, large["won"]) == (-1, 0)
    return [
        f"{peeking['runs']:,} comparisons of two runs that do *not* differ, {peeking['pairs']} pairs each",
        f"wrong in {once} of them. A look after each pair was wrong in {each}",
        "begins with 1 and bets on such coins. However long the game lasts, the player has 20 at some time in at most one game of twenty",
        "once the bet has 20",
        f"was wrong in {anytime}",
        f"after {fault['stopped_after']['median']:.0f} pairs of {fault['pairs']}",
        f"by any number of points from {-100 * first.high:.0f} to {-100 * first.low:.0f}",
        f"that takes {same['stopped_after']['median']:.0f} pairs",
        f"took {found['orders']} orders",
        f"All {comparisons} together hold {pairs:,} pairs, and stopping in time would have used {used:,}",
        f"loses {100 * large['lost'] / large['pairs']:.1f} points",
        f"within {large['stopped_after']['median']:.0f} pairs",
        f"needs {large['fixed_size_needs']}, if",
    ]


def close_pairs():
    """What the fourth pass says of the script and the earlier checkpoint."""
    found = paired(
        *(book_sweeps.counted(f).outcomes for f in ("expert_published", "mini_attempt_2"))
    )
    assert found.p_value > ALPHA
    return [
        f"ran from {found.pairs} of the initial states",
        f"lost {-100 * found.difference:.0f} points",
    ]


def measure():
    identical = value("chapter_claims:checks.saved_states.identical")
    tasks = ", ".join(map(str, identical[:-1]))
    low, high = book_sweeps.counted("published_16_workers").rate.interval
    shares = by_task("mini_attempt_2")
    assert 0.99 < low < high == 1
    assert [task for task, ended in shares.items() if not all(ended)] == [1]
    for name in (
        "wrong_prompt",
        "no_empty_token",
        "bgr",
        "wrong_unnorm_key",
        "gripper_inverted",
        "gripper_not_rescaled",
    ):
        assert later(name) == 0
    for name in ("no_flip", "flip_only", "upper_case"):
        assert 0.3 < later(name) < 0.8, "it catches a part"
    assert later("trailing_period") > 0.8, "it catches hardly any"
    error = standard_error(0.9, 100)
    third = 2 * norm.sf(0.04 / (np.sqrt(2) * error))
    assert 0.30 < third < 0.37
    workers = re.search(
        r"--workers (\d+) (\d+)", book_sweeps.read("published_16_workers").config["command"]
    )
    both = book_sweeps.counted("mini_attempt_2").rate
    half = 1.96 * standard_error(0.9, 500)

    def interval(successes, episodes, decimals=0):
        low, high = wilson(successes, episodes)
        return f"{100 * low:.{decimals}f} to {100 * high:.0f} %"

    (staged,) = build_report([book_sweeps.read("stages")]).sweeps
    held = {c.label: [len(way.held) for way in c.stages] for c in staged.conditions}
    assert (held["latency_8"], held["latency_4"]) == ([1], [0])
    return [
        "probably above 99 %",
        f"task 1 failed in {shares[1].count(False)} of {len(shares[1])} episodes",
        "No task has a success rate near 96 %",
        f"for tasks {tasks} and {identical[-1]}",
        f"in all {value('chapter_claims:checks.saved_states.states')} saved initial states",
        f"the standard error is {whole(error)} %",
        "differ by more than four points one time in three",
        f"the interval is ± {100 * half:.1f} %",
        f"The same {book_sweeps.counted('published_16_workers').episodes} initial states ran once with {workers[1]} simulators beside each other and once with {workers[2]}",
        f"`wilson(9, 10)` is {interval(9, 10)}, `wilson(7, 10)` is {interval(7, 10)}",
        *stopping(),
        *close_pairs(),
        "McNemar's p is 0.5",
        f"`wilson(32, 50)` is {interval(32, 50)} and `wilson(450, 450)` is {interval(450, 450, 1)}",
        f"The mean of {100 * both.rate:.1f} %",
    ]


def lab_classroom():
    speed = value("chapter_claims:checks.full_speed")
    away = speed["cm_to_the_target"]
    return [
        f"at most {speed['mm_a_step']} mm a control step",
        f"The object is {min(away):.0f} to {max(away):.0f} cm away",
    ]


MEASURED = {
    "01_success": success,
    "02_silent_failures": silent_failures,
    "03_when_the_script_is_right": script_is_right,
    "04_measure": measure,
    "lab_classroom": lab_classroom,
}

EVERYWHERE = [
    r"§2\.4",
    "7B",
    "π0",
    "180°",
    r"[#\[]+ ?\d ·",
    r"(?<![\d–.])\d\. ",
    r"\[[Nn]otebook \d",
]
"""Names, headings and numbers of lists, as regular expressions."""

SLIDERS = [
    f"| {k} of {n} | {100 * wilson(k, n).low:.1f} % to {100 * wilson(k, n).high:.1f} % | {100 * standard_error(0.9, n):.1f} points |"
    for k, n in ((9, 10), (45, 50), (180, 200), (900, 1000))
] + [
    "| 50 pairs | 200 pairs | pairs for 80 % |",
    *(
        f"| {gain} % | {loss} % | {100 * mcnemar_power(50, gain / 100, loss / 100):.1f} % "
        f"| {100 * mcnemar_power(200, gain / 100, loss / 100):.1f} % | {pairs_needed(gain / 100, loss / 100)} |"
        for gain, loss in ((12, 2), (6, 2), (3, 1))
    ),
]
"""The rows of the table that stands where no slider moves; here they are computed again."""

EXPLAINED = {
    "01_success": [
        "the picture to 224 × 224",
        "one of 256 bins. Token 31999 is the lowest bin",
        "−1 opens, +1 closes",
        "up to 140 times",
        "opens (−1) or closes (+1) the gripper",
        "the reward of 1.0 ends the loop",
        "closes the gripper at step 0",
        "A 1 asks for 5 cm in one step",
        "1 asks for 0.5 rad",
        f"for this suite is {SUITE_STEPS} control steps",
        "OpenVLA's authors report 88.4 ± 0.8 % for their fine-tuned checkpoint on this suite (500 episodes with each of three seeds). That figure is theirs",
        "The chapter expects the first close at step 60 to 90 and success at 180 to 220.",
        "in the scene to 1",
    ],
    "02_silent_failures": [
        "is reversed from step 0",
        "Sixty steps are enough",
        "any (256, 256, 3) picture",
        "`img_quarters` at step 0",
        "tokens at step 0",
        "In the clip of task 0 ",
        "`img_mean` is 0.0 at every step",
    ],
    "03_when_the_script_is_right": [
        "OpenVLA's authors report 53.7 ± 1.3 % on this suite for a checkpoint tuned on it. That figure is theirs",
        "from this suite to `libero_10`, task 2.",
        "so it stays 0 when",
        "most episodes that close more than once are of task 1",
        "The chapter quotes a loss of 10 to 30 points for OpenVLA.",
        "The figures are theirs:",
        "| moved camera | 0.8 % | | other initial pose of the robot | 3.5 % | | other light | 8.1 % | | noise in the picture | 15.2 % "
        "| | reworded instruction | 23.0 % | | other layout | 28.5 % | | other background | 34.8 % |",
        "From version 3.3.3 on, MuJoCo",
        "add −2 m/s to its velocity along y at step 36",
        "Allow 200 steps.",
        "paraphrases cost 10 to 30 points",
        "loses 12 pairs of 100 and wins 2, the loss is 10 points",
    ],
    "04_measure": [
        "nine times as probable if the rate is 90 % as if it is 10 %",
        "cannot tell 90 % from 70 %, which is the size of loss that users of OpenVLA's checkpoint report under a later MuJoCo (openvla issues 282 and 335)",
        "√(p(1 − p)/n)",
        "as if 50 of 50 proved a rate of 100 %",
        "within 0 and 1",
        "Five hundred rollouts",
        "attempt 2",
        "all failures are of task 1",
        '"50 of 50"',
        "How many episodes for ± 2 %?",
        "for a rate of 90 %",
        "a *standard error* of 2 % takes, and how many a 95 % *interval* of ± 2 %",
        "With the chapter's 100 episodes",
        "With the customary 500",
        "a difference of 0",
        "A difference of 0 has an interval too",
        "−1 opens and +1 closes",
        "at step 0 in every episode",
        "Where it is 0",
        "A paper reports 9 of 10 for its method and 7 of 10 for the other",
        "You may run 100 episodes: ten for each of ten tasks, or a hundred of one task.",
        "for task 1 and for the other nine together",
        "A hundred of one task tell you",
        "At a true rate of 90 %",
        "each answer come 4 or 8 control steps late",
        "(exact McNemar, 5 %)",
        "95 % interval | standard error",
        *SLIDERS,
    ],
    "lab_classroom": [
        "| begin | 5 | your name, the first cells | |", "| 1 | 10 | reading a log | 3 |", "| 2 | 7 | observation → pixels | 3 |",
        "| 3 | 10 | instruction → prompt | 2 |", "| 4 | 18 | tokens → motion | 7 |", "| break | 10 |", "| 5 | 20 | five episodes without labels | 10 |",
        "| 6 | 20 | an experiment of your own | 5 |", "| 7 | 15 | counting, and what you take home | 10 |", "| hand in | 5 |",
        "A token between 31744 and 31999 is one of 256 bins, and 31999 is the lowest.", "edges: 256 of them, evenly from −1 to 1",
        "from [−1, 1] to [q01, q99]",
        "Give the 95 % Wilson interval",
        "The chapter says that “at least 100” bring 90 % within 2 %.",
    ],
}  # fmt: skip
"""Numbers that were not measured here, with enough of the sentence to say what they are."""


def unexplained(text, *phrases):
    """The numbers of a text that stand in none of the phrases. Each phrase must be there."""
    missing = [phrase for phrase in phrases if phrase not in text]
    assert not missing, f"not there: {missing}"
    for phrase in sorted(phrases, key=len, reverse=True):
        text = text.replace(phrase, " ")
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", text)
    return NUMBER.findall(re.sub("|".join(EVERYWHERE), " ", text))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_numbers_in_a_notebook_s_text(path):
    phrases = [*EXPLAINED[path.stem], *MEASURED[path.stem]()]
    assert unexplained(prose(path), *phrases) == []


def typed(source):
    """What a page's source says itself: without what is filled in, code, links and HTML's attributes."""
    parts = (
        r"\{%.*?%\}",
        r"\{\{.*?\}\}",
        r"\{#.*?#\}",
        r"```bash.*?```",
        r"\{cite[^}]*\}`[^`]*`",
        r"<[^>]+>",
        r"https?://\S+",
    )
    return " ".join(re.sub("|".join(parts), " ", source, flags=re.S).split())


TEMPLATE = "boundary.md.jinja"
"""What the pages of the boundaries include."""

PLACES = {
    "claims": [],
    "conditions": ["initial states 25–44", "Wilson's 95 %"],
    TEMPLATE: ["† means that p is below 0.0001", "| 95 % interval"],
    "diagnosis": [
        "were set on initial states 0–24",
        "ran from 25–44",
        "camera at 5 to 15°",
        "a camera at 30°",
        "It says that this number catches about 80 % of failures.",
        "the middle 95 %",
    ],
    "glossary": [
        "the controller's input in [−1, 1], where 1 asks for 5 cm or 0.5 rad, and the seventh closes (+1) or opens (−1)",
        "one of 256 bins between −1 and 1, as the policy gives it",
        "Token 31999 is the lowest bin",
        "One of 256 parts of the range from −1 to 1",
        "256 edges make 255 centres",
        "wrong in at most 5 % of cases",
        "in at least 95 % of cases",
        "Numbers of 16 bits",
        "bfloat16",
        "lanczos3",
        "becomes −1 (open) or +1 (close)",
        "between 0 and 1, where success is only 0 or 1",
        "√(p(1 − p)/n). It is 0 when all episodes end alike",
        "The middle 90 % of the picture's area",
        "50 ms of simulated time, so 20 make a second",
        "LIBERO saves 50 for each task",
        "the 1 % and the 99 % quantile of a training set (q01, q99)",
        "what −1 and 1 of the tokens mean",
        "the numbers in [−1, 1]",
        "stays inside 0 and 1",
    ],
    "index": ["OpenVLA has some 7 billion"],
    "instructors": [
        "0–10", "10–25", "25–55", "55–65", "65–80", "80–105", "105–120",
        "tasks 3 and 5 of the [lab]",
        "for 1, 10 and 50 episodes, then look at the recorded 500",
        "“50 of 50, so it always works.”",
        "The interval of 50 of 50 is",
        "about 100 kB in all", "In task 5 two tries", "episodes of task 5", "what tasks 2, 3 and 4a ask",
        "| question | 0 | 1 | 2 | 3 |", "| 2t ·", "| 6t ·", "| 8 ·", "discussion of 4b", "WSL 2 with Ubuntu 22.04", "Tasks 2, 3, 4, 5 and 7 need no simulator",
        "Otter 7.0.0", "its points except task 6", "episodes of task 6", "They take Python 3.13", "needs 3.11 or 3.12",
        "step 0 of the failed run with step 0 of a good run",
        "at step 0",
        "by two points, at 90 %?” An interval of ± 2 points",
        "The chapter assumes 60 s an episode",
    ],
    "numbers": [
        "at 95 %", "on an H100 and again on an H200", "bfloat16", "initial states 25–44", "95 % interval", "256×256 picture",
        "AVX2", "32 pictures at once", "32 simulators", "libero_10, tasks 0, 1, 7; initial states 0–3", "initial states 0–4", "sweeps/mini_attempt_2", "attempt 2",
    ],
    "own_policy": [
        "integers (N, 7)",
        "numbers (N, 7)",
        "in [−1, 1]",
        "gripper −1 open, +1 close",
        "(N, K, 7)",
        "(224 × 224, upright)",
        "(8 numbers)",
        "| `chunk` | 1 |",
        "turned by 180°",
        "π0, π0.5 and other policies",
        "a control step (50 ms at 20 Hz)",
        "takes 208 ms comes four steps late",
        "20 control steps pass in each second",
        "(k + 1)th",
        "from initial state 0 of",
        "95 % interval",
        "LeRobot data set (version 3)",
    ],
    "published_numbers": [
        "of 255", "belongs to task 5", "bowl of `libero_spatial`, task 5", "The first picture of task 0, initial state 0",
        "LIBERO issue 88", "issue 88. |", "issues [282]", "[335]", "pull request 140", "LIBERO issue [141]", "lerobot issue [4390]", "pull request 1496",
        "Users got 68 to 70 % on", "fell from 98 % to 12 % under 3.8.1", "come from 500 episodes each", "in one of twenty comparisons", "turned by 180°",
        "85, 70, 78 and 54 % on `libero_spatial`, `libero_object`, `libero_goal` and `libero_10`. Its own", "reaches 75 % on",
    ],
    "references": [
        "[openvla issue 282]", "[335]", "users get 68–70 % on LIBERO-object instead of 88 %", "[LIBERO issue 88]", "to which issue 335 points",
        "[openvla issue 66]", "a user measured 4.4 actions a second on an RTX 4090", "[openvla issue 346]",
    ],
    "serve": [
        "a GPU of 16 GB", "TCP port 8000", "OpenVLA on an H100", "with an H100", "with 32 simulators", "150,528 bytes",
        "answers in 2 ms", "95 of 100 answers", "| 256 pictures", "64 of one", "503, come again", "| 200 pictures", "| 429 |", "4 MiB, 1024 pixels a side", "413, 422",
        "1000 characters", "| 422 |", "| 15 s |", "| 408 |", "256, silent for 10 minutes", "503; closed", "status 401", "status 422", "says 503",
        "vla-eval 0.8.0", "224 × 224", "turned by 180°", "OpenVLA's server answers 200 and", "0 by default", "30 clients on one machine", "in base64", "serve_throughput.py --clients 30", "no answer in 60 s",
        "import base64", "base64.b64encode",
    ],
    "setup": [
        "left of the 40 MB that we would allow", "[notebook 4]", "Notebook 4",
        "Python 3.11 or 3.12",
        "WSL 2",
        "16 GiB of GPU memory, 15 GB of disk",
        "their hashes (SHA-256)",
        "is row 3 of an array",
    ],
    "claims.yml": [
        f"The published limit is {SUITE_STEPS} steps for LIBERO-object. It is {step_limit('libero_spatial')} for spatial, {step_limit('libero_goal')} for goal and",
        "The limit of 400 steps belongs to", f"after step {SUITE_STEPS}",
        "A user measured 4.4 actions a second on that card with the official code. At that speed 200 steps take 45 s",
        "The seed does not vary: it is 0", "one of 50 saved states",
        "The paper reports 88.4 ± 0.8 %. An independent harness reports 86.6 %. Two people report 68–70 % under a later MuJoCo",
        "of 255", "others get 68–70 % from the released checkpoint", "within 16 of the threshold", "of 0 … 255",
        "Bin 128 is the middle", "Bin 128 of x", "after 100 steps", "all 32,064 logits", "The 17 cases agree bit for bit",
        "where 1 means 5 cm. Translations shrink to 1/ , 1/ and 1/", "where 1 asks for 5 cm",
        "a translation above 0.1", "0.1 would raise an alarm", "outside [−1, 1]",
        "are 0, 1 and 7 (two groceries, one basket), 4 (two mugs) and 8 (two moka pots)",
        "The paper reports 53.7 ± 1.3 % over the suite's ten tasks. An independent harness reports 52.8 %",
        "of the 10 tasks",
        "LIBERO-Plus reports for OpenVLA success of 0.8 % under changed cameras, 8.1 % under changed light and 28.5 % with changed layouts",
        "| camera turned by 5° |", "| camera turned by 15° |",
        "LIBERO-Plus reports 23.0 % for OpenVLA under rewritten instructions. LIBERO-Para reports a loss of 22 to 52 points over seven VLA configurations",
        "RT-2 (up to 55 B against OpenVLA's 7 B)", "PaliGemma with 3 B parameters in all, whose language model is Gemma 2 B",
        "nine times as probable if the rate is 90 % as if it is 10 %", "weak evidence against 10 %",
        "100 episodes give ±", "500 give ±", "For ± 2 points", "“At least 100” is true, but 100 are far too few", "−1 opens and +1 closes",
    ],
}  # fmt: skip
"""The same for the book's pages and for the results of `claims.yml`, whose measured numbers are all filled in."""


def sources():
    found = {path.stem: path.read_text() for path in book_facts.pages()}
    # These pages are one template, filled in for each boundary.
    found = {name: text for name, text in found.items() if TEMPLATE not in text}
    found[TEMPLATE] = (book_facts.TEMPLATES / TEMPLATE).read_text()
    claims = yaml.safe_load(book_facts.CLAIMS.read_text())
    return found | {"claims.yml": " ".join(claim["result"] for claim in claims)}


@pytest.mark.parametrize("name", PLACES)
def test_numbers_that_a_page_s_source_holds(name):
    assert unexplained(typed(sources()[name]), *PLACES[name]) == []


def test_every_page_is_looked_at():
    assert sources().keys() == PLACES.keys()


def test_a_number_that_nobody_explained_is_found():
    text = "It took 145 steps, sixteen minutes, and 12 % of `7` [here](page_2.md) in §2.4. Twice."
    assert unexplained(text, "12 % of") == ["145", "sixteen"]
    with pytest.raises(AssertionError, match="not there"):
        unexplained(text, "12.5 %")
    assert typed("{{ value('x:3') }} of 7<br>{% if 2 %}{cite}`a2024`") == "of 7"


def test_the_factors_in_the_catalogue_are_those_of_the_statistics():
    span = factors()
    teaches = CATALOGUE["wrong_unnorm_key"].teaches
    assert "shrink to 1/20 or less" in teaches and max(span[:3]) <= 1 / 20
    assert f"by factors of {min(span[3:6]):.2f} to {max(span[3:6]):.2f}" in teaches
    assert "normal" not in teaches
