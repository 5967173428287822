// Physics and controller against Python's MuJoCo 3.3.2: recorded episodes of every task that was built.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { BASE, SUITE, controls, layouts, page, read, starts, tasks, vectors } from "./built.mjs";

const MILLIMETRE = 1e-3;
const { loadManifest, loadTask } = await page("assets.js");
const { start } = await page("loop.js");
const { SUBSTEPS, Simulator, loadMujoco } = await page("simulator.js");
let mujoco, manifest, task, simulator;

before(async () => {
  mujoco = await loadMujoco(BASE, { read });
  manifest = await loadManifest(BASE, { read });
});

async function open(number) {
  simulator?.dispose();
  task = await loadTask(BASE, manifest, SUITE.suite, number, { read, pictures: false });
  simulator = new Simulator(mujoco, task);
}

after(() => simulator?.dispose());

const apart = (a, b) => Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i])));

for (const number of tasks()) {
  test(`task ${number}: replayed actions move the arm as in Python and succeed at the same step`, async () => {
    await open(number);
    for (const episode of vectors(number)) {
      simulator.reset(task.states[episode.init]);
      episode.actions.forEach((action, k) => {
        const { eefPos, gripperQpos } = simulator.observation();
        assert.ok(apart(eefPos, episode.eef[k]) < 0.01 * MILLIMETRE, `init ${episode.init}, step ${k}: ${eefPos}, Python ${episode.eef[k]}`);
        assert.ok(apart(gripperQpos, episode.gripper[k]) < 0.5 * MILLIMETRE, `init ${episode.init}, step ${k}: fingers`);
        const { done, reward } = simulator.step(action);
        assert.equal(done, k === episode.steps - 1 && episode.done);
        assert.equal(reward, done ? 1 : 0);
        // Positions alone: when contacts begin, velocities differ for an instant.
        const positions = (state) => state.subarray(1, 1 + simulator.nq);
        assert.ok(apart(positions(simulator.state()), positions(episode.states[k])) < 2e-3, `init ${episode.init}, step ${k}`);
      });
    }
  });

  test(`task ${number}: perturbed starts and random layouts settle where Python's do`, async () => {
    await open(number);
    for (const { name, init, perturbation, state } of starts(number)) {
      simulator.reset(task.states[init], { scene: { perturbation } });
      assert.ok(apart(simulator.state(), state[0]) < 1e-6, `${name}: ${apart(simulator.state(), state[0])}`);
      assert.equal(simulator.secondCan !== null, name === "second_can");
    }
    for (const { seed, state } of layouts(number)) {
      start(simulator, task, SUITE.wiring, { ...SUITE.scene, init: seed, layout_seed: seed });
      assert.ok(apart(simulator.state(), state[0]) < 1e-6, `layout ${seed}: ${apart(simulator.state(), state[0])}`);
      assert.deepEqual(simulator.goal.map((part) => part.object), [task.layouts[seed].target]);
    }
  });
}

for (const number of tasks().slice(0, 2)) test(`task ${number}: fewer control steps a second and absolute control move the arm as in Python`, async () => {
  await open(number);
  for (const { name, init, perturbation, actions, eef, gripper, states } of controls(number)) {
    simulator.reset(task.states[init], { scene: { perturbation } });
    actions.forEach((action, k) => {
      const { eefPos, gripperQpos } = simulator.observation();
      assert.ok(apart(eefPos, eef[k]) < 0.01 * MILLIMETRE, `${name}, step ${k}: ${eefPos}, Python ${eef[k]}`);
      assert.ok(apart(gripperQpos, gripper[k]) < 0.5 * MILLIMETRE, `${name}, step ${k}: fingers`);
      simulator.step(action, perturbation);
      assert.ok(Math.abs(simulator.state()[0] - states[k][0]) < 1e-9, `${name}, step ${k}: time`);
    });
    simulator.reset(task.states[init]);
    simulator.step(actions[0]);
    simulator.step(actions[1]);
    assert.ok(apart(simulator.observation().eefPos, eef[2]) > MILLIMETRE, `${name} makes a difference`);
  }
});

test("a reset gives the same numbers, whatever was done before", async () => {
  await open(tasks()[0]);
  const run = () => {
    simulator.reset(task.states[0]);
    for (let k = 0; k < 5; k++) simulator.step([0.3, -0.2, -0.5, 0.1, 0, -0.1, 1]);
    return simulator.state();
  };
  const first = run();
  simulator.setMass([task.physics.movables[0].body], 3);
  simulator.pull(task.physics.movables[0].body, [0, 0, 0], [0, 0, 1]);
  simulator.step([0, 0, 0, 0, 0, 0, 1]);
  simulator.setMass([], 1);
  assert.deepEqual(run(), first);
});

test("a saved moment can be continued from, to the bit", async () => {
  await open(tasks()[0]);
  simulator.reset(task.states[1]);
  simulator.step([1, 0, 0, 0, 0, 0.2, -1]);
  const saved = simulator.save();
  const on = () => Array.from({ length: 4 }, () => (simulator.step([0.5, 0.5, -1, 0, 0.3, 0, 1]), simulator.state()));
  const first = on();
  simulator.reset(task.states[2]);
  simulator.restore(saved);
  assert.deepEqual(on(), first);
});

test("a body that is pulled up rises, and falls when it is let go", async () => {
  await open(tasks()[0]);
  simulator.reset(task.states[0]);
  const { body } = task.physics.movables.find((one) => one.named && one.name !== "basket_1");
  const height = () => simulator.pose.xpos[3 * simulator.bodies.indexOf(body) + 2];
  const rest = height();
  const { xpos } = simulator.pose;
  const at = 3 * simulator.bodies.indexOf(body);
  simulator.pull(body, [0, 0, 0], [xpos[at], xpos[at + 1], rest + 0.4]);
  for (let k = 0; k < 20; k++) simulator.step([0, 0, 0, 0, 0, 0, -1]);
  const lifted = height();
  assert.ok(lifted > rest + 0.1, `${rest} → ${lifted}`);
  simulator.pull(null);
  for (let k = 0; k < 20; k++) simulator.step([0, 0, 0, 0, 0, 0, -1]);
  assert.ok(height() < rest + 0.1);
});

test("a can that was pushed slides further with less friction", async () => {
  await open(tasks()[0]);
  const { start } = task.physics.movables[0];
  const slid = (friction) => {
    simulator.reset(task.states[0]);
    const state = simulator.state();
    const before = state[1 + start];
    // The first of the free joints, before which each joint has one number of both kinds.
    state[1 + simulator.nq + start] = 0.6;
    simulator.reset(state, { settleSteps: 0, scene: { perturbation: { friction } } });
    for (let k = 0; k < 10; k++) simulator.step([0, 0, 0, 0, 0, 0, -1]);
    return simulator.state()[1 + start] - before;
  };
  assert.ok(slid(0.2) > slid(1) + 5 * MILLIMETRE, `${slid(0.2)} and ${slid(1)} m`);
});

test("mass and disturbances change what happens, and can be taken back", async () => {
  await open(tasks()[0]);
  const end = (change) => {
    simulator.reset(task.states[0]);
    change();
    for (let k = 0; k < 10; k++) simulator.step([0, 0, -1, 0, 0, 0, 1]);
    return Array.from(simulator.state());
  };
  const plain = end(() => {});
  assert.ok(apart(end(() => simulator.nudge(1)), plain) > 1e-3);
  const hand = simulator.bodies.indexOf("gripper0_right_gripper");
  assert.ok(apart(end(() => simulator.setMass([simulator.bodies[hand]], 4)), plain) > 1e-6);
  simulator.setMass([], 1);
  assert.deepEqual(end(() => {}), plain);
});

test("another object can be asked for", async () => {
  await open(tasks()[0]);
  const target = task.physics.movables.find((one) => !one.named).name;
  simulator.reset(task.states[0], { scene: { target } });
  assert.deepEqual(simulator.goal.map((part) => part.object), [target]);
  assert.throws(() => simulator.reset(task.states[0], { scene: { target: "anvil_1" } }), /anvil_1.*expected one of/);
});

test("bad input is refused in a sentence", async () => {
  await open(tasks()[0]);
  assert.throws(() => simulator.step([0, 0, 0]), /seven finite numbers/);
  assert.throws(() => simulator.step([0, 0, NaN, 0, 0, 0, 1]), /seven finite numbers/);
  assert.throws(() => simulator.reset(new Float64Array(3)), /3 numbers; expected/);
  assert.throws(() => simulator.setFriction(100), /friction is 100; expected 0.1 … 10/);
  const load = (number, options) => loadTask(BASE, manifest, SUITE.suite, number, { pictures: false, ...options });
  await assert.rejects(load(99, { read }), /Unknown task 99; expected one of/);
  await assert.rejects(loadTask(BASE, manifest, "libero_90", 0, { read }), /This page has no libero_90; it has libero_object/);
  const damaged = async (url) => (url.includes("/states/") ? (await read(url)).map((x) => x ^ 1) : read(url));
  await assert.rejects(load(tasks()[0], { read: damaged }), /is damaged/);
  const short = async (url) => (url.includes("/meshes/") ? (await read(url)).slice(1) : read(url));
  await assert.rejects(load(tasks()[0], { read: short }), /bytes; expected/);
  const other = async (url) => new TextEncoder().encode(JSON.stringify({ ...manifest, format: 7 }));
  await assert.rejects(loadManifest(BASE, { read: other }), /format 7; expected 2/);
});

test("memory stays flat over twenty resets and simulators that are made and disposed", async () => {
  await open(tasks()[0]);
  const probe = new mujoco.DoubleBuffer(1);
  const bytes = () => probe.GetView().buffer.byteLength;
  simulator.reset(task.states[0]);
  const before = bytes();
  for (let k = 0; k < 20; k++) simulator.reset(task.states[k]);
  assert.equal(bytes(), before);
  const made = () => {
    const other = new Simulator(mujoco, task);
    other.dispose();
    other.dispose();
  };
  made();
  const grown = bytes();
  for (let k = 0; k < 8; k++) made();
  assert.equal(bytes(), grown);
  assert.ok(grown < 300e6, `${grown} bytes`);
  probe.delete();
});

test("no glue code is compiled from text, so a strict policy can hold", async () => {
  const script = new TextDecoder().decode(await read(`${BASE}/vendor/mujoco/mujoco.js`));
  assert.ok(!/new Function|\beval\(/.test(script));
  assert.equal(SUBSTEPS, 25);
});
