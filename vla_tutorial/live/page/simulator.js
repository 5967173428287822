/**
 * LIBERO's control step on MuJoCo's WebAssembly: exact reset, settling, controller and success.
 *
 * Two npm packages are understood: `mujoco-js` (MuJoCo 3.3.8), which the page uses, and
 * `@mujoco/mujoco` (3.9 and newer). LIBERO's own is 3.3.2.
 */
import { Controller, emptyState } from "./controller.js";
import { LiveError } from "./errors.js";
import { freePlace } from "./free_place.js";
import { holds } from "./goals.js";
import { compile } from "./mujoco.js";
import { normal } from "./random.js";

export { loadMujoco } from "./mujoco.js";

/** @typedef {import("./assets.js").Task} Task */
/** @typedef {import("./assets.js").GoalPart} GoalPart */

/** Physics steps of 2 ms in a control step of 50 ms. */
export const SUBSTEPS = 25;
const CONTROL_RATE = 20; // control steps a second, LIBERO's

/** Hold the arm, gripper open: what the published protocol sends while objects settle. */
export const NO_OP = Object.freeze([0, 0, 0, 0, 0, 0, -1]);

const GEOM = 5; // mjOBJ_GEOM
const SITE = 6; // mjOBJ_SITE
const BODY = 1; // mjOBJ_BODY
const VELOCITY_STAGE = 2; // mjSTAGE_VEL
const PULL_STIFFNESS = 100; // 1/s², as MuJoCo's viewer (visual/map/stiffness)
const JOINT_NOISE = 0.01; // radians, as `sim/perturb.py`
const HIDING_PLACE = [6, 0]; // metres, as `sim/perturb.py`
const HIDING_DISTANCE = 0.5;
const VIEWS = [
  "qpos", "qvel", "ctrl", "M", "qfrc_bias", "qacc_warmstart", "xfrc_applied",
  "site_xpos", "site_xmat", "xpos", "xmat", "xipos",
];
const MASSES = ["body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0"];

/**
 * What of `vla_tutorial.scene.Perturbation` physics obeys; names as in Python. Left out: unchanged.
 * @typedef {{friction?: number, distractors?: "as_saved" | "swapped" | "hidden",
 *   joint_noise_seed?: number, second_can?: boolean}} Perturbation
 * @typedef {{target?: string | null, perturbation?: Perturbation, goal?: GoalPart[] | null,
 *   fixtures?: number[][]}} StartScene `goal`: in place of the task's own; `fixtures`: position and
 *   quaternion of each of `physics.fixtures`, in place of where LIBERO puts them
 *
 * What holds from the first action on: control steps a second, 10 … 20, and whether an action is a
 * place and not a displacement.
 * @typedef {{control_rate?: number, absolute_control?: boolean}} Control
 */

/**
 * Positions (3 a body) and rotations (9 a body, row by row) in MuJoCo's order of bodies.
 * @typedef {{xpos: Float64Array, xmat: Float64Array}} Pose
 */

/**
 * The second can: copies of the geoms of `bodies`, as `pose` has them, moved by `move` (3 metres).
 * @typedef {{bodies: number[], pose: Pose, move: [number, number, number]}} SecondCan
 */

export class Simulator {
  /** @type {any} */ #mujoco;
  /** @type {any} */ #model;
  /** @type {any} */ #data;
  /** @type {any} */ #moving;
  /** @type {any} */ #turning;
  /** @type {Record<string, any>} */ #views = {};
  #arm = emptyState();
  #stale = false;
  /** @type {{body: number, point: number[], goal: number[], before: number[] | null} | null} */ #pull = null;

  /** @param {any} mujoco of `loadMujoco` @param {Task} task of `assets.loadTask` */
  constructor(mujoco, task) {
    this.task = task;
    this.physics = task.physics;
    this.#mujoco = mujoco;
    try {
      this.#model = compile(mujoco, task);
      this.#data = new mujoco.MjData(this.#model);
    } catch (cause) {
      throw new LiveError(`MuJoCo cannot build task ${task.task}. Reload the page.`, { cause });
    }
    const model = this.#model;
    this.nq = model.nq;
    this.nv = model.nv;
    this.#moving = new mujoco.DoubleBuffer(3 * this.nv);
    this.#turning = new mujoco.DoubleBuffer(3 * this.nv);
    this.controller = new Controller(this.physics.rest);
    this.bodies = this.physics.bodies;
    this.gripSite = this.#id(SITE, this.physics.gripSite);
    /** Where each body was when the last picture was taken. @type {Pose} */
    this.pose = { xpos: new Float64Array(3 * model.nbody), xmat: new Float64Array(9 * model.nbody) };
    /** What `second_can` draws besides; null where that is off. @type {SecondCan | null} */
    this.secondCan = null;
    this.goal = this.physics.goal;
    this.eefPos = new Float64Array(3);
    this.gripperQpos = new Float64Array(2);
    this.own = {
      friction: Float64Array.from(model.geom_friction),
      positions: Float64Array.from(model.body_pos),
      quaternions: Float64Array.from(model.body_quat),
      masses: MASSES.map((name) => Float64Array.from(model[name])),
      rows: Int32Array.from(model.M_rowadr),
      columns: Int32Array.from(model.M_colind),
      limits: Float64Array.from(model.actuator_ctrlrange),
    };
  }

  /** @param {number} kind @param {string} name */
  #id(kind, name) {
    const found = this.#mujoco.mj_name2id(this.#model, kind, name);
    if (found < 0) throw new LiveError(`The model has no ${name}. Reload the page.`);
    return found;
  }

  /** MuJoCo's arrays, looked up again when WebAssembly's memory has grown. @returns {Record<string, any>} */
  #v() {
    if (!this.#views.qpos?.length) {
      for (const name of VIEWS) this.#views[name] = this.#data[name];
    }
    return this.#views;
  }

  /** Seconds of simulated time. */
  get time() {
    return this.#data.time;
  }

  /**
   * Restart as `Simulator.start` of Python does.
   * @param {Float64Array} state time, qpos and qvel, as LIBERO saves them
   * @param {{settleSteps?: number, scene?: StartScene}} [options] settleSteps: control steps
   */
  reset(state, { settleSteps = 10, scene = {} } = {}) {
    if (state.length !== 1 + this.nq + this.nv) {
      throw new LiveError(`A state has ${state.length} numbers; expected ${1 + this.nq + this.nv}.`);
    }
    const perturbation = scene.perturbation ?? {};
    this.goal = scene.goal ?? this.#goalOf(scene.target ?? null);
    this.#placeFixtures(scene.fixtures ?? []);
    this.setFriction(perturbation.friction ?? 1);
    this.pull(null);
    this.#restart(this.#perturbed(state, perturbation));
    for (let k = 0; k < settleSteps; k++) this.step(NO_OP);
    this.secondCan = perturbation.second_can ? this.#copied() : null;
  }

  /** Cabinets, stoves and the like have no joint: where they stand is part of the model. @param {number[][]} poses */
  #placeFixtures(poses) {
    const model = this.#model;
    model.body_pos.set(this.own.positions);
    model.body_quat.set(this.own.quaternions);
    poses.forEach((pose, i) => {
      const body = this.bodies.indexOf(this.physics.fixtures[i]);
      model.body_pos.set(pose.slice(0, 3), 3 * body);
      model.body_quat.set(pose.slice(3), 4 * body);
    });
  }

  /** @param {string | null} target */
  #goalOf(target) {
    if (target === null) return this.physics.goal;
    const movable = this.physics.movables.find((one) => one.name === target);
    const { basket } = this.physics;
    if (!basket) throw new LiveError("This scene has no basket, so another object cannot be asked for.");
    if (!movable) {
      const known = this.physics.movables.map((one) => one.name).join(", ");
      throw new LiveError(`Unknown target ${target}; expected one of ${known}.`);
    }
    return [{ ...basket, object: target, body: movable.body }];
  }

  /** Time, positions and velocities, clocks and memories. @param {Float64Array} state */
  #restart(state) {
    const mujoco = this.#mujoco;
    const { armPositions, home, fingerJoints, fingersHome } = this.physics;
    mujoco.mj_resetData(this.#model, this.#data);
    const v = this.#v();
    armPositions.forEach((at, i) => (v.qpos[at] = home[i]));
    fingerJoints.forEach((at, i) => (v.qpos[at] = fingersHome[i]));
    mujoco.mj_forward(this.#model, this.#data);
    this.#readArm();
    this.controller.reset(this.#arm);
    // LIBERO sets the state behind the controller's back: its first torque is one of the home pose.
    this.#stale = true;
    this.#data.time = state[0];
    v.qpos.set(state.subarray(1, 1 + this.nq));
    v.qvel.set(state.subarray(1 + this.nq));
    mujoco.mj_forward(this.#model, this.#data);
    this.#sense();
  }

  /** @param {Float64Array} state @param {Perturbation} perturbation */
  #perturbed(state, perturbation) {
    const found = Float64Array.from(state);
    const kind = perturbation.distractors ?? "as_saved";
    if (kind !== "as_saved") this.#moveDistractors(found, kind);
    const seed = perturbation.joint_noise_seed ?? 0;
    if (seed) {
      const noise = this.#jointNoise(seed, state);
      this.physics.armPositions.forEach((at, i) => (found[1 + at] += noise[i]));
    }
    return found;
  }

  /** @param {Float64Array} state @param {string} kind */
  #moveDistractors(state, kind) {
    const columns = this.physics.movables.filter((one) => !one.named).map((one) => 1 + one.start);
    const before = columns.map((at) => [state[at], state[at + 1]]);
    columns.forEach((at, i) => {
      const hidden = [HIDING_PLACE[0], HIDING_PLACE[1] + HIDING_DISTANCE * i];
      state.set(kind === "hidden" ? hidden : before[(i + 1) % before.length], at);
    });
  }

  /**
   * Python's own draw where the exporter knows it, of the catalogue's seeds, saved states and layouts.
   * @param {number} seed @param {Float64Array} state
   */
  #jointNoise(seed, state) {
    const row = this.physics.jointNoiseSeeds.indexOf(seed);
    const starts = [...this.task.states, ...this.task.layouts.map((layout) => layout.state)];
    const init = starts.findIndex((start) => start.every((x, i) => x === state[i]));
    if (row >= 0 && init >= 0) return this.physics.jointNoise[row][init];
    const draw = normal(seed);
    return this.physics.armPositions.map(() => JOINT_NOISE * draw());
  }

  /**
   * One control step.
   * @param {ArrayLike<number>} action (7) numbers in [−1, 1]: position, rotation, gripper (−1 open)
   * @param {Control} [control] settling is done without
   * @returns {{reward: number, done: boolean}}
   */
  step(action, { control_rate: rate = CONTROL_RATE, absolute_control: absolute = false } = {}) {
    if (action.length !== 7 || !Array.from(action).every(Number.isFinite)) {
      throw new LiveError(`The action is ${Array.from(action)}; expected seven finite numbers.`);
    }
    const substeps = Math.floor((SUBSTEPS * CONTROL_RATE) / rate);
    for (let k = 0; k < substeps; k++) {
      this.#physicsStep(action, k === 0, absolute);
      // robosuite's sensors and camera show the last step but one, before it was integrated.
      if (k === substeps - 2) this.#sense();
    }
    if (!Number.isFinite(this.#v().qpos[0])) {
      throw new LiveError("The simulation became unstable. Restart the episode.");
    }
    const done = this.goal.every((part) => this.holds(part));
    return { reward: done ? 1 : 0, done };
  }

  /** 2 ms. The solver begins where it ended before, so the number of forwards counts. @param {ArrayLike<number>} action @param {boolean} first @param {boolean} absolute */
  #physicsStep(action, first, absolute) {
    const mujoco = this.#mujoco;
    mujoco.mj_forward(this.#model, this.#data);
    if (this.#stale) {
      this.#readBias();
    } else {
      mujoco.mj_forwardSkip(this.#model, this.#data, VELOCITY_STAGE, 0);
      this.#readArm();
    }
    this.#stale = false;
    if (first) this.controller.setGoal(action, this.#arm, absolute);
    const { armActuators, fingerActuators } = this.physics;
    const { limits } = this.own;
    const { ctrl } = this.#v();
    this.controller.torques(this.#arm).forEach((torque, i) => {
      const at = armActuators[i];
      ctrl[at] = Math.min(limits[2 * at + 1], Math.max(limits[2 * at], torque));
    });
    this.controller.fingers(action[6]).forEach((finger, i) => {
      const at = fingerActuators[i];
      const [low, high] = [limits[2 * at], limits[2 * at + 1]];
      ctrl[at] = 0.5 * (high + low) + 0.5 * (high - low) * finger;
    });
    this.#applyPull();
    mujoco.mj_step2(this.#model, this.#data);
  }

  /** What the controller reads, after mj_forward. */
  #readArm() {
    const { armPositions, armVelocities } = this.physics;
    const arm = this.#arm;
    const { nv, gripSite } = this;
    this.#mujoco.mj_jacSite(this.#model, this.#data, this.#moving, this.#turning, gripSite);
    const v = this.#v();
    const moving = this.#moving.GetView();
    const turning = this.#turning.GetView();
    arm.position.set(v.site_xpos.subarray(3 * gripSite, 3 * gripSite + 3));
    arm.rotation.set(v.site_xmat.subarray(9 * gripSite, 9 * gripSite + 9));
    for (let i = 0; i < 3; i++) {
      arm.velocity[i] = dot(moving, v.qvel, i * nv, nv);
      arm.turning[i] = dot(turning, v.qvel, i * nv, nv);
      for (let j = 0; j < 7; j++) {
        arm.jacobian[7 * i + j] = moving[i * nv + armVelocities[j]];
        arm.jacobian[7 * (i + 3) + j] = turning[i * nv + armVelocities[j]];
      }
    }
    for (let j = 0; j < 7; j++) {
      arm.angles[j] = v.qpos[armPositions[j]];
      arm.speeds[j] = v.qvel[armVelocities[j]];
    }
    this.#readMass(v.M);
    this.#readBias();
  }

  #readBias() {
    const { qfrc_bias: bias } = this.#v();
    this.physics.armVelocities.forEach((at, j) => (this.#arm.bias[j] = bias[at]));
  }

  /** The arm's part of the mass matrix: the lower triangle in compressed rows. @param {Float64Array} values */
  #readMass(values) {
    const { armVelocities } = this.physics;
    const { rows, columns } = this.own;
    const { mass } = this.#arm;
    armVelocities.forEach((row, i) => {
      for (let at = rows[row]; columns[at] <= row; at++) {
        const j = armVelocities.indexOf(columns[at]);
        if (j >= 0) mass[7 * i + j] = mass[7 * j + i] = values[at];
        if (columns[at] === row) break;
      }
    });
  }

  /** Note what sensors and camera show. */
  #sense() {
    const v = this.#v();
    this.pose.xpos.set(v.xpos);
    this.pose.xmat.set(v.xmat);
    this.eefPos.set(v.site_xpos.subarray(3 * this.gripSite, 3 * this.gripSite + 3));
    this.physics.fingerJoints.forEach((at, i) => (this.gripperQpos[i] = v.qpos[at]));
  }

  /** @returns {{eefPos: [number, number, number], gripperQpos: [number, number]}} metres */
  observation() {
    const [x, y, z] = this.eefPos;
    const [left, right] = this.gripperQpos;
    return { eefPos: [x, y, z], gripperQpos: [left, right] };
  }

  /** Whether a part of the goal is true now. @param {GoalPart} part */
  holds(part) {
    return holds({
      v: this.#v(),
      site: (name) => this.#id(SITE, name),
      body: (name) => this.bodies.indexOf(name),
      touch: (some, others) => this.#touch(some, others),
    }, part);
  }

  /** @param {string[]} some geoms @param {string[]} others geoms */
  #touch(some, others) {
    const [a, b] = [some, others].map((names) => new Set(names.map((name) => this.#id(GEOM, name))));
    const contacts = this.#data.contact;
    let found = false;
    for (let k = 0; k < contacts.size() && !found; k++) {
      const contact = contacts.get(k);
      const { geom1: one, geom2: other } = contact;
      found = (a.has(one) && b.has(other)) || (a.has(other) && b.has(one));
      contact.delete();
    }
    contacts.delete();
    return found;
  }

  /** @returns {SecondCan} */
  #copied() {
    if (!this.physics.copied) throw new LiveError("Nothing in this task can be moved, so there is no second one to draw. Choose another task.");
    const root = this.#bodyOf(this.physics.copied);
    const place = freePlace(this.physics.movables, this.physics.copied, this.bodies, this.pose.xpos);
    const at = this.pose.xpos.subarray(3 * root, 3 * root + 3);
    const pose = { xpos: Float64Array.from(this.pose.xpos), xmat: Float64Array.from(this.pose.xmat) };
    return { bodies: [root], pose, move: [place[0] - at[0], place[1] - at[1], 0] };
  }

  /** Number of an object's body. @param {string} name LIBERO's name of it */
  #bodyOf(name) {
    const found = this.physics.movables.find((one) => one.name === name);
    return this.bodies.indexOf(found ? found.body : name);
  }

  /**
   * Pull a point of a body with a spring, as MuJoCo's viewer does, until the next call or reset.
   * @param {string | null} body name in `bodies`; null lets go
   * @param {ArrayLike<number>} [localPoint] (3) metres in the body's frame
   * @param {ArrayLike<number>} [worldPoint] (3) metres, where the point is pulled to
   */
  pull(body, localPoint = [0, 0, 0], worldPoint = [0, 0, 0]) {
    const held = this.#pull;
    if (held) this.#v().xfrc_applied.fill(0);
    this.#pull = null;
    if (body === null) return;
    const number = this.#id(BODY, body);
    const before = held && held.body === number ? held.before : null;
    this.#pull = { body: number, point: Array.from(localPoint), goal: Array.from(worldPoint), before };
  }

  /** Whether a joint moves a body or one that it hangs on. @param {string} body name in `bodies` */
  isMovable(body) {
    const { body_parentid: parents, body_jntnum: joints } = this.#model;
    let number = this.bodies.indexOf(body);
    while (number > 0 && joints[number] === 0) number = parents[number];
    return number > 0;
  }

  /** A critically damped spring of the body's own mass (mjv_applyPerturbForce). */
  #applyPull() {
    if (!this.#pull) return;
    const { body, point, goal, before } = this.#pull;
    const v = this.#v();
    const mass = this.#model.body_mass[body];
    const arm = [0, 0, 0];
    const force = [0, 0, 0];
    const at = [0, 0, 0];
    for (let i = 0; i < 3; i++) {
      at[i] = v.xpos[3 * body + i] + dot(v.xmat, point, 9 * body + 3 * i, 3);
      const speed = before ? (at[i] - before[i]) / this.#model.opt.timestep : 0;
      force[i] = mass * (PULL_STIFFNESS * (goal[i] - at[i]) - 2 * Math.sqrt(PULL_STIFFNESS) * speed);
      arm[i] = at[i] - v.xipos[3 * body + i];
    }
    this.#pull.before = at;
    v.xfrc_applied.set([...force, ...cross(arm, force)], 6 * body);
  }

  /** @param {number} factor on every friction coefficient of LIBERO, 0.1 … 10 */
  setFriction(factor) {
    checkRange("friction", factor, 0.1, 10);
    this.#model.geom_friction.set(this.own.friction.map((x) => x * factor));
  }

  /** All others get their own weight back. @param {string[]} bodies names in `bodies` @param {number} factor on their mass and inertia, 0.1 … 10 */
  setMass(bodies, factor) {
    checkRange("mass", factor, 0.1, 10);
    const model = this.#model;
    MASSES.forEach((name, i) => model[name].set(this.own.masses[i]));
    if (factor === 1 || !bodies.length) return;
    for (const number of bodies.map((body) => this.#id(BODY, body))) {
      model.body_mass[number] *= factor;
      for (let i = 0; i < 3; i++) model.body_inertia[3 * number + i] *= factor;
    }
    const scratch = new this.#mujoco.MjData(model);
    this.#mujoco.mj_setConst(model, scratch);
    scratch.delete();
  }

  /** Turn each arm joint by a random angle of 0.01 rad now; not Python's draw. @param {number} seed */
  nudge(seed) {
    const draw = normal(seed);
    const { qpos } = this.#v();
    for (const at of this.physics.armPositions) qpos[at] += JOINT_NOISE * draw();
  }

  /** Time, qpos and qvel, as `reset` takes them. @returns {Float64Array} */
  state() {
    const v = this.#v();
    return Float64Array.of(this.#data.time, ...v.qpos, ...v.qvel);
  }

  /** All that the next step depends on but friction and mass, for `restore`. */
  save() {
    const v = this.#v();
    const { position, rotation: turned, fingers } = this.controller.memory;
    return {
      state: this.state(),
      warm: Float64Array.from(v.qacc_warmstart),
      ctrl: Float64Array.from(v.ctrl),
      position: position.slice(),
      rotation: turned.slice(),
      fingers: /** @type {[number, number]} */ ([...fingers]),
      stale: this.#stale,
      goal: this.goal,
      secondCan: this.secondCan,
      pose: { xpos: this.pose.xpos.slice(), xmat: this.pose.xmat.slice() },
      eefPos: this.eefPos.slice(),
      gripperQpos: this.gripperQpos.slice(),
    };
  }

  /** Continue from where `save` was called. @param {ReturnType<Simulator["save"]>} saved */
  restore(saved) {
    const v = this.#v();
    this.pull(null);
    this.#data.time = saved.state[0];
    v.qpos.set(saved.state.subarray(1, 1 + this.nq));
    v.qvel.set(saved.state.subarray(1 + this.nq));
    v.ctrl.set(saved.ctrl);
    this.#mujoco.mj_forward(this.#model, this.#data);
    this.#v().qacc_warmstart.set(saved.warm);
    this.controller.memory.position.set(saved.position);
    this.controller.memory.rotation.set(saved.rotation);
    this.controller.memory.fingers = [...saved.fingers];
    this.#stale = saved.stale;
    this.goal = saved.goal;
    this.secondCan = saved.secondCan;
    this.pose.xpos.set(saved.pose.xpos);
    this.pose.xmat.set(saved.pose.xmat);
    this.eefPos.set(saved.eefPos);
    this.gripperQpos.set(saved.gripperQpos);
  }

  /** Free WebAssembly's memory. Safe to call twice. */
  dispose() {
    for (const held of [this.#moving, this.#turning, this.#data, this.#model]) held?.delete();
    this.#moving = this.#turning = this.#data = this.#model = null;
    this.#views = {};
  }
}

/** Σ a[start + i] · b[i]. @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {number} start @param {number} n */
function dot(a, b, start, n) {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[start + i] * b[i];
  return sum;
}

/** @param {number[]} a @param {number[]} b */
function cross(a, b) {
  return [0, 1, 2].map((i) => {
    const j = (i + 1) % 3;
    const k = (i + 2) % 3;
    return a[j] * b[k] - a[k] * b[j];
  });
}

/** @param {string} name @param {number} value @param {number} low @param {number} high */
function checkRange(name, value, low, high) {
  if (!(value >= low && value <= high)) {
    throw new LiveError(`${name} is ${value}; expected ${low} … ${high}.`);
  }
}
