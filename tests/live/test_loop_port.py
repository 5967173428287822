"""The page's loop (`loop.js`) against Python's on a made-up simulator and policy: the same log, byte for byte."""

import json
from dataclasses import replace
from importlib import resources
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from page_modules import in_node, needs_node

from vla_tutorial import prompt
from vla_tutorial.conditions import apply
from vla_tutorial.live import tokenizer_export, wiring_export
from vla_tutorial.log import step_line
from vla_tutorial.loop import rollout
from vla_tutorial.openvla.config import read_config
from vla_tutorial.openvla.tokens import load_tokenizer
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Observation
from vla_tutorial.spec import PUBLISHED_WIRING

MINI = resources.files("vla_tutorial") / "weights" / "mini"
INSTRUCTION = "pick up the alphabet soup and place it in the basket"
STEPS = 9
CONDITIONS = (
    "published", "no_flip", "flip_only", "bgr", "no_jpeg", "no_center_crop", "stale_frame", "wrong_prompt",
    "no_empty_token", "upper_case", "wrong_unnorm_key", "wrong_suite_key", "gripper_inverted",
    "gripper_not_binarised", "gripper_not_rescaled", "actions_too_large", "paraphrase_2", "no_instruction",
    "bilinear_resize", "padded_vocabulary", "mask_ignored", "min_max_statistics",
    "latency_1", "latency_2", "latency_4", "latency_8", "latency_2+wrong_unnorm_key+padded_vocabulary",
    "latency_4+mask_ignored+stale_frame", "stale_frame+wrong_unnorm_key+flip_only",
)  # fmt: skip

pytestmark = needs_node


class MadeUpSimulator:
    """Pictures and positions that depend on every action so far."""

    task = SimpleNamespace(instruction=INSTRUCTION, suite="libero_object")

    def start(self, scene, settle_steps):
        self.count = 0
        self.total = scene.init + settle_steps / 8
        return self._observation()

    def step(self, action):
        self.count += 1
        for i, a in enumerate(action):
            self.total += (i + 1) * float(a)
        done = self.count == STEPS
        return self._observation(), float(done), done

    def _observation(self):
        y, x, c = np.mgrid[:256, :256, :3]
        shift = int(np.floor(abs(self.total) * 16))
        image = (x + 2 * y + 60 * c + 17 * self.count + shift) % 256
        eef = np.array([self.total, self.total / 3, self.count / 8])
        fingers = np.array([self.total / 7, -self.total / 7])
        rest = np.zeros(7)
        return Observation(image.astype(np.uint8), eef, rest[:4], fingers, rest)


class MadeUpPolicy:
    """Tokens that depend on the picture and the prompt."""

    name = "made-up"
    privileged = False

    def __init__(self):
        self.statistics = {}
        self.config = read_config(MINI / "config.json")
        self.tokenizer = load_tokenizer(MINI, self.config)

    def predict(self, batch):
        rows = []
        for item in batch:
            ids = prompt.token_ids(item.prompt, self.tokenizer)
            if ids[-1] == prompt.EMPTY_TOKEN:
                ids[-1] = self.config.empty_token_id
            flat = item.pixels.reshape(-1).astype(np.int64)
            sums = [int(flat[i::7].sum()) for i in range(7)]
            rows.append([31744 + (total + sum(ids)) % 256 for total in sums])
        return np.array(rows, np.int64)

    def close(self):
        pass


SCRIPT = """
const { rollout } = await page("loop.js");
const { stepLine } = await page("log.js");
const { applyConditions } = await page("conditions.js");
const { Tokenizer } = await page("tokenizer.js");
const { manifest, statistics, steps, instruction } = given;
class Simulator {
  pose = {};
  secondCan = null;
  reset(state, { settleSteps }) { this.count = 0; this.total = state[0] + settleSteps / 8; }
  step(action) {
    this.count += 1;
    action.forEach((a, i) => (this.total += (i + 1) * a));
    const done = this.count === steps;
    return { reward: Number(done), done };
  }
  observation() {
    const { total, count } = this;
    return { eefPos: [total, total / 3, count / 8], gripperQpos: [total / 7, -total / 7] };
  }
}
class Renderer {
  constructor(simulator) { this.simulator = simulator; }
  draw() {}
  pixels() {
    const { count, total } = this.simulator;
    const shift = Math.floor(Math.abs(total) * 16);
    return Uint8Array.from({ length: 256 * 256 * 3 }, (_, i) => {
      const [y, x, c] = [Math.floor(i / 768), Math.floor(i / 3) % 256, i % 3];
      return (x + 2 * y + 60 * c + 17 * count + shift) % 256;
    });
  }
}
const policy = {
  statistics,
  tokenizer: new Tokenizer(given.tokenizer),
  async predict({ pixels, ids }) {
    const sums = new Array(7).fill(0);
    pixels.forEach((level, i) => (sums[i % 7] += level));
    const sum = ids.reduce((a, b) => a + b);
    return { tokens: Int32Array.from(sums, (total) => 31744 + ((total + sum) % 256)) };
  },
};
const task = { instruction, stepLimit: 280, states: [[0], [1], [2]] };
const found = {};
for (const [name, names, changes] of given.episodes) {
  const simulator = new Simulator();
  const { wiring, scene } = applyConditions(manifest, names, { task: 0, init: 2 });
  Object.assign(wiring, changes);
  const lines = [];
  const renderer = new Renderer(simulator);
  for await (const step of rollout({ policy, simulator, renderer, task, wiring, scene })) lines.push(stepLine(step));
  found[name] = lines;
}
"""


@pytest.fixture(scope="module")
def episodes():
    """Name, conditions, and further changes of the wiring."""
    found = [(name, [] if name == "published" else name.split("+"), {}) for name in CONDITIONS]
    found.append(("late", [], {"frame_delay": 3}))
    found.append(("short", [], {"max_steps": 4}))
    found.append(("no settling", [], {"settle_steps": 0}))
    for name in ("latency_1", "latency_4", "latency_2+wrong_unnorm_key"):
        found.append((f"{name}, at rest", name.split("+"), {"while_waiting": "zero"}))
    return found


def python_lines(names, changes):
    wiring, scene = apply(names, PUBLISHED_WIRING, Scene("libero_object", 0, 2))
    steps = rollout(MadeUpPolicy(), MadeUpSimulator(), replace(wiring, **changes), scene)
    return [json.dumps(step_line(step)) for step in steps]


def test_logs_are_the_same(tmp_path, episodes):
    tokenizer = tokenizer_export.convert(
        MINI / "tokenizer.json", MadeUpPolicy().config.empty_token_id
    )
    wiring = wiring_export.export(tasks=(0,))
    statistics = wiring_export.statistics("mini", wiring.keys)
    given = {
        "manifest": json.loads(msgspec.json.encode(wiring)),
        "statistics": json.loads(msgspec.json.encode(statistics)),
        "tokenizer": json.loads(msgspec.json.encode(tokenizer)),
        "episodes": episodes,
        "steps": STEPS,
        "instruction": INSTRUCTION,
    }
    found = in_node(tmp_path, SCRIPT, given)
    published = found["published"]
    for name, names, changes in episodes:
        assert found[name] == python_lines(names, changes), name
        if name not in ("published", "gripper_not_binarised"):
            assert found[name] != published, f"{name} changes something"
    assert len(found["short"]) == 4 and len(published) == STEPS
    late = [json.loads(line).get("waiting", False) for line in found["latency_2"]]
    assert late == [True, True, False] * 3


def test_latency_may_change_while_it_runs(tmp_path):
    """Asked questions keep their wait, as the log of a changed run must show."""
    script = """
    const { Timing } = await page("timing.js");
    let asked = 0;
    const timing = new Timing({ async predict() { asked++; return { tokens: Int32Array.from([asked]) }; } });
    const found = [];
    for (const latency of given) {
      const { answer, waiting } = await timing.turn({}, { latency, while_waiting: "last", vocabulary: 32000 }, {});
      found.push([asked, waiting ? "waits" : answer[0]]);
    }
    """
    found = in_node(tmp_path, script, [0, 2, 0, 0, 0, 1, 1, 0])
    assert [list(one) for one in found] == [
        [1, 1], [2, "waits"], [2, "waits"], [2, 2], [3, 3], [4, "waits"], [4, 4], [5, 5],
    ]  # fmt: skip
