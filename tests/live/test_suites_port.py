"""The page's physics and goals in the other suites, against Python: Node replays what an expert did."""

import json

import msgspec
import numpy as np
import pytest
from page_modules import in_node, needs_node

pytest.importorskip("onnx", reason="the extra `book` is not installed")

from vla_tutorial.live import layouts_export, physics_export, scene_export, vendor
from vla_tutorial.loop import rollout
from vla_tutorial.policies import load_policy, native_key
from vla_tutorial.scene import Scene
from vla_tutorial.sim import Simulator, initial_states
from vla_tutorial.wiring import Wiring

TASKS = (
    ("libero_goal", 0),  # open a drawer
    ("libero_goal", 7),  # turn on the stove
    ("libero_goal", 9),  # on a rack
    ("libero_spatial", 4),  # out of a drawer, on a thing
    ("libero_10", 3),  # in a drawer, which is closed
    ("libero_10", 6),  # on a thing, and on a region of the table
    ("libero_10", 8),  # two on a stove that is on
)
LAYOUTS = 3
GEOM = 5  # mjOBJ_GEOM

BY_HAND = {
    ("libero_goal", 0): ("wooden_cabinet_1_cabinet_middle", [0, 0, 0], [0, 0.3, 0]),
    ("libero_goal", 7): ("flat_stove_1_button", [0.02, 0, 0], [-0.3, 0, 0]),
}
"""A drawer and a knob: where a reader's hand holds them (metres, in the body's frame), and how far
away it pulls (metres, world frame), until the goal is true."""

SCRIPT = """
const vendor = `file://${folder}`;
const read = async (url) => new Uint8Array(readFileSync(new URL(url)));
const { Simulator, loadMujoco } = await page("simulator.js");
const { movedBodies } = await page("layers.js");
const { start } = await page("loop.js");
const mujoco = await loadMujoco(vendor, { read });
const { physics, entries, episode, starts, settle } = given;
const floats = (rows) => rows.map((row) => Float64Array.from(row));
const task = {
  task: 0, instruction: "", physics, states: floats([episode.start]),
  physicsXml: new TextDecoder().decode(bytes("data/physics/task%(task)d.xml")),
  meshes: new Map(physics.meshes.map((name) => [name, bytes(`data/meshes/${name}`)])),
  layouts: entries.map((entry, i) => ({ ...entry, state: Float64Array.from(starts[i].begin) })),
};
const simulator = new Simulator(mujoco, task);
const parts = () => simulator.goal.map((part) => simulator.holds(part));
simulator.reset(task.states[0], { settleSteps: settle });
const found = { eef: [], holds: [], done: [], starts: [] };
for (const action of episode.actions) {
  found.eef.push(Array.from(simulator.observation().eefPos));
  found.done.push(simulator.step(action).done);
  found.holds.push(parts());
}
if (given.pull) {
  const [body, point, way] = given.pull;
  const root = 3 * simulator.bodies.indexOf(body);
  simulator.reset(task.states[0], { settleSteps: settle });
  found.before = parts();
  simulator.pull(body, point, way.map((x, i) => simulator.pose.xpos[root + i] + x));
  for (let k = 0; k < 20; k++) simulator.step([0, 0, 0, 0, 0, 0, -1]);
  found.pulled = parts();
  found.movable = [body, "wooden_cabinet_1_base", "robot0_link5"].map((name) => simulator.isMovable(name));
}
found.moved = movedBodies(simulator);
for (const { seed } of entries) {
  start(simulator, task, { settle_steps: settle }, { init: seed, layout_seed: seed, target: null });
  found.starts.push({ state: Array.from(simulator.state()), holds: parts() });
}
"""


def recorded(simulator):
    """What the expert does from saved state 0, and which parts of the goal hold after each step."""
    task = simulator.task
    wiring = Wiring(native_key("expert", task.suite))
    steps = []
    holds = []
    scene = Scene(task.suite, task.index, 0)
    for step in rollout(load_policy("expert"), simulator, wiring, scene):
        steps.append(step)
        holds.append([simulator.holds(part) for part in simulator.goal])
    return steps, holds, wiring.settle_steps


def layout(simulator, seed, settle_steps):
    drawn = simulator.layout(seed)
    task = simulator.task
    simulator.start(Scene(task.suite, task.index, seed, layout_seed=seed), settle_steps)
    holds = [simulator.holds(part) for part in drawn.goal]
    return drawn, simulator.state(), holds


@needs_node
@pytest.mark.parametrize(("suite", "task"), TASKS)
def test_a_replay_moves_the_arm_and_turns_the_goal_true_as_in_python(tmp_path, suite, task):
    vendor.export(tmp_path, vendor.install())
    with Simulator(suite, task, render=False) as simulator:
        steps, holds, settle = recorded(simulator)
        layouts = [layout(simulator, seed, settle) for seed in range(LAYOUTS)]
        simulator.reset()
        meshes = physics_export._write_model(tmp_path, f"data/physics/task{task}.xml", simulator)
        states = initial_states(suite, task)
        positions = slice(1, 1 + simulator.model.nq)
        about = physics_export.physics(simulator, meshes, states[:1])
        drawn = [one for one, _, _ in layouts]
        entries = layouts_export.entries(simulator, drawn)
        goal = simulator.goal
        # A burner that is on at the start is a site, and no geom.
        shown = scene_export._visible(simulator, scene_export._switches(simulator))
        assert {int(one.objtype) for one in shown} == {GEOM}
        bodies = {one.name: one.body for one in about.movables}
    given = {
        "physics": msgspec.to_builtins(about),
        "entries": msgspec.to_builtins(entries),
        "episode": {
            "start": states[0].tolist(),
            "actions": [list(map(float, step.action)) for step in steps],
        },
        "starts": [{"begin": one.state.tolist()} for one in drawn],
        "settle": settle,
        "pull": BY_HAND.get((suite, task)),
    }
    found = in_node(tmp_path, SCRIPT % {"task": task}, json.loads(json.dumps(given)))
    assert found["done"] == [step.done for step in steps]
    assert found["done"][-1], "the expert succeeds, so that every part of the goal turns true"
    assert found["holds"] == holds
    expected = np.array([step.observation.eef_pos for step in steps])
    assert np.abs(np.array(found["eef"]) - expected).max() < 1e-5
    assert found["moved"] == [bodies[part[1]] for part in goal if part[1] in bodies]
    if (suite, task) in BY_HAND:
        assert (found["before"], found["pulled"]) == ([False], [True])
        assert found["movable"] == [True, False, True]
    for (_, state, holding), start in zip(layouts, found["starts"], strict=True):
        # Positions alone: what has just come to rest still trembles.
        assert np.abs(np.array(start["state"]) - state)[positions].max() < 1e-6
        assert start["holds"] == holding
