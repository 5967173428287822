"""The answers of a variant as code, and tests that only the teacher's notebook holds.

Keys are ids of the notebook's cells, `grade_id` of nbgrader.
"""

from __future__ import annotations

from vla_tutorial.lab.sheet import LETTERS
from vla_tutorial.lab.teacher.variants import Variant

TURN = """def turn(picture):
    return picture[::-1, ::-1]"""

DECODE = """def decode(token, q01, q99):
    place = min(31999 - token, 254)
    centre = -1 + (2 * place + 1) / 255
    return 0.5 * (centre + 1) * (q99 - q01) + q01"""

COUNT = """commands = [step["action"][6] for step in steps]
closing = [k for k in range(len(steps)) if commands[k] > 0 and (k == 0 or commands[k - 1] <= 0)]
{}"""

OPEN_ANSWERS = {
    "2t": "Neither: the mean does not depend on where the pixels are.",
    "6t": "What will happen to picture, prompt, tokens or motion, and so to the gripper's curve.",
    "8": (
        "It does not move: size of the actions against a good run, then the key. It goes to the "
        "wrong place: the first picture, then the prompt. It worked yesterday: versions (MuJoCo) "
        "and what changed. Nine times out of ten: count episodes, give the interval, by task."
    ),
}
"""Open question → what a good answer says."""


def rounded(numbers: object, digits: int = 4) -> str:
    """Numbers as code, such as "(0.0412, 0.048)"."""
    return f"({', '.join(str(round(float(n), digits)) for n in numbers)})"  # type: ignore[attr-defined]


def answers(variant: Variant) -> dict[str, str]:
    """Cell → the code of its answer."""
    only_first, only_second = variant.discordant
    found = {
        "answer-1": COUNT.format(
            "first_close = closing[0] if closing else -1\ntimes = len(closing)"
        ),
        "answer-2": TURN,
        "answer-3": f"text = {variant.prompt!r}",
        "answer-4a": DECODE,
        "answer-4b": f"factors = {rounded(variant.factors)}",
        "answer-4c": f"centimetres = {variant.centimetres:.1f}",
        "answer-5": f"answers = {variant.conditions!r}",
        "answer-7a": f"ends = {rounded(variant.interval)}",
        "answer-7b": f"episodes = {variant.needed:.0f}",
        "answer-7cd": f"only_first = {only_first}\nonly_second = {only_second}\n"
        f"p = {variant.p_value:.6g}",
    }
    opened = {"2t": "warned", "6t": "prediction", "8": "take_home"}
    for question, name in opened.items():
        text = OPEN_ANSWERS[question]
        found[f"open-{question}"] = f'{name} = {text!r}\nwork.write("{question}", {name})'
    return found


def hidden_tests(variant: Variant) -> dict[str, str]:
    """Cell → tests of the answer that call nothing of this package and of no cell before."""
    low, high = variant.interval
    found = {
        "check-1a": COUNT.format("assert first_close == closing[0]"),
        "check-1b": COUNT.format("assert times == len(closing)"),
        "check-1c": "import json\n"
        'record = json.loads((RUN / "episode.json").read_text())\n'
        f'assert (record["task"], record["init"]) == ({variant.task}, {variant.init})\n'
        'assert record["conditions"] == [] and record["success"] is not None',
        "check-2": "import numpy as np\n"
        "tried = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)\n"
        "assert np.array_equal(turn(tried.copy()), tried[::-1, ::-1])",
        "check-3": f"assert text == {variant.prompt!r}",
        "check-4a": _decoding(variant),
        "check-4b": f"wanted = {rounded(variant.factors, 6)}\n"
        "assert all(abs(a / b - 1) < 0.05 for a, b in zip(factors, wanted, strict=True))",
        "check-4c": f"assert abs(centimetres / {variant.centimetres:.4f} - 1) < 0.15",
        "check-6": "import json\n"
        'a, b = (json.loads((one / "episode.json").read_text()) for one in experiment)\n'
        'assert len(set(a["conditions"]) ^ set(b["conditions"])) == 1\n'
        'assert (a["suite"], a["task"], a["init"]) == (b["suite"], b["task"], b["init"])\n'
        'assert a["success"] is not None and b["success"] is not None',
        "check-7a": f"assert abs(ends[0] - {low:.6f}) < 0.003\n"
        f"assert abs(ends[1] - {high:.6f}) < 0.003",
        "check-7b": f"assert abs(episodes - {variant.needed:.4f}) <= 1",
        "check-7c": f"assert (only_first, only_second) == {variant.discordant}",
        "check-7d": f"assert abs(p / {variant.p_value:.10g} - 1) < 0.1",
    }
    for letter in LETTERS:
        found[f"check-5{letter}"] = f'assert answers["{letter}"] == {variant.conditions[letter]!r}'
    return found


def _decoding(variant: Variant) -> str:
    rows = []
    for case, value in zip(variant.cases, variant.decoded, strict=True):
        rows.append(f"assert abs(decode({case.token}, {case.q01}, {case.q99}) - {value}) < 1e-7")
    return "\n".join(rows)
