"""The page's `steps.jsonl` (`log.js`) against Python's: the same bytes for the same steps."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from page_modules import in_node, needs_node

from vla_tutorial.log import read_log, step_line
from vla_tutorial.loop import Step

COUNT = 400

pytestmark = needs_node


def awkward(rng, count):
    """Numbers whose rounding or text is special: ties, both zeros, tiny and large ones, integers."""
    kinds = [
        rng.normal(size=count),
        rng.integers(-(2**12), 2**12, count) / 2.0 ** rng.integers(1, 9, count),
        rng.normal(size=count) * 10.0 ** rng.integers(-12, 6, count),
        rng.choice([0.0, -0.0, 1.0, -1.0, 0.5, 5e-7, -5e-7, 1e-5, 1.5e-6, 2.5e-6, 1e15], count),
    ]
    return np.choose(rng.integers(0, len(kinds), count), kinds)


@pytest.fixture(scope="module")
def steps():
    rng = np.random.default_rng(1)
    found = []
    for k in range(COUNT):
        # Small areas of few levels make means that are ties of two digits.
        high = rng.choice([2, 5, 256])
        picture = rng.integers(0, high, (224, 224, 3)) // rng.choice([1, 1, 3])
        picture[: rng.integers(0, 224)] = rng.integers(0, 256)
        observation = SimpleNamespace(eef_pos=awkward(rng, 3), gripper_qpos=awkward(rng, 2))
        found.append(
            Step(
                step=k,
                observation=observation,
                pixels=picture.astype(np.uint8),
                tokens=rng.integers(0, 32064, 7),
                action=awkward(rng, 7),
                reward=float(rng.choice([0, 1])),
                done=False,
                waiting=k % 3 == 0,
            )
        )
    return found


def test_lines_are_the_same_bytes(steps, tmp_path):
    given = [
        {
            "step": step.step,
            "tokens": step.tokens.tolist(),
            # JSON of JavaScript's has no negative zero, so numbers go as text.
            "action": [repr(float(x)) for x in step.action],
            "eefPos": [repr(float(x)) for x in step.observation.eef_pos],
            "gripperQpos": [repr(float(x)) for x in step.observation.gripper_qpos],
            "reward": step.reward,
            "waiting": step.waiting,
        }
        for step in steps
    ]
    script = """
    const { stepLine } = await page("log.js");
    const all = bytes("pictures");
    const length = 224 * 224 * 3;
    const found = given.map((step, i) => {
      for (const name of ["action", "eefPos", "gripperQpos"]) step[name] = step[name].map(Number);
      return stepLine({ ...step, pixels: all.subarray(i * length, (i + 1) * length) });
    });
    """
    found = in_node(tmp_path, script, given, pictures=np.array([step.pixels for step in steps]))
    expected = [json.dumps(step_line(step)) for step in steps]
    assert found == expected
    # Ties are there: both digits and evenness count.
    text = "".join(expected)
    assert "-0.0" in text and "e-0" in text and "1000000000000000.0" in text


def test_floats_have_pythons_text(tmp_path):
    rng = np.random.default_rng(2)
    numbers = [*awkward(rng, 3000), *(10.0 ** np.arange(-20, 21)), *rng.normal(size=500) * 1e17]
    numbers += [5e-324, 1.7976931348623157e308, 123456789012345680.0, 9007199254740993.0]
    texts = [repr(float(x)) for x in numbers]
    script = """
    const { float } = await page("log.js");
    const found = given.map((text) => float(Number(text)));
    """
    assert in_node(tmp_path, script, texts) == texts


def test_python_reads_what_the_page_writes(tmp_path):
    script = """
    const { stepLine, episodeJson } = await page("log.js");
    const step = {
      pixels: new Uint8Array(224 * 224 * 3).fill(7), action: [0.1, 0, 0, 0, 0, 0, 1], reward: 0,
      tokens: Int32Array.from([31872, 31872, 31872, 31872, 31872, 31872, 31999]),
      eefPos: [0.1, 0.2, 0.3], gripperQpos: [0.02, -0.02],
    };
    const lines = [0, 1].map((k) => stepLine({ ...step, step: k }) + "\\n");
    writeFileSync(`${folder}/steps.jsonl`, lines.join(""));
    const result = { success: null, steps: 2, seconds: 0.5, first_close: 0, closes: 1 };
    const found = JSON.parse(episodeJson({ suite: "libero_object", task: 0 }, result));
    """
    found = in_node(tmp_path, script)
    assert found == {
        "format": 2, "success": None, "steps": 2, "seconds": 0.5, "first_close": 0, "closes": 1,
        "suite": "libero_object", "task": 0,
    }  # fmt: skip
    log = read_log(tmp_path)
    assert len(log) == 2 and log.first_close == 0 and not log.success
