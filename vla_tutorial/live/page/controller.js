/**
 * robosuite 1.4's OSC_POSE for one arm of seven joints, and its PandaGripper.
 *
 * The formulas are those of robosuite (MIT license): controllers/osc.py, utils/control_utils.py,
 * utils/transform_utils.py. Matrices are row-major. Units: metres, radians, newton metres.
 */

const JOINTS = 7;
const KP = 150;
const KD = 2 * Math.sqrt(KP);
const REST_KP = 10;
const REST_KD = 2 * Math.sqrt(REST_KP);
const METRES = 0.05; // of a command of 1
const RADIANS = 0.5;
const FINGER_SPEED = 0.01; // of the command's range, in each physics step

const f32 = Math.fround;

/**
 * What the controller reads: position (3), rotation (9) and velocities (3) of the grip site, angles
 * and velocities (7) of the joints, Jacobian (6 × 7), mass matrix (7 × 7) and bias torques (7).
 * @typedef {{position: Float64Array, rotation: Float64Array, velocity: Float64Array,
 *   turning: Float64Array, angles: Float64Array, speeds: Float64Array, jacobian: Float64Array,
 *   mass: Float64Array, bias: Float64Array}} ArmState
 */

/** @returns {ArmState} */
export function emptyState() {
  return {
    position: new Float64Array(3),
    rotation: new Float64Array(9),
    velocity: new Float64Array(3),
    turning: new Float64Array(3),
    angles: new Float64Array(JOINTS),
    speeds: new Float64Array(JOINTS),
    jacobian: new Float64Array(6 * JOINTS),
    mass: new Float64Array(JOINTS * JOINTS),
    bias: new Float64Array(JOINTS),
  };
}

/** @typedef {{position: Float64Array, rotation: Float64Array, fingers: [number, number]}} Memory */

export class Controller {
  /** @param {number[]} rest (7) angles that the null space pulls to */
  constructor(rest) {
    this.rest = Float64Array.from(rest);
    /** @type {Memory} The goal, and the fingers' command in [−1, 1]. */
    this.memory = { position: new Float64Array(3), rotation: new Float64Array(9), fingers: [0, 0] };
  }

  /** Hold the arm where it is; fingers half open. @param {ArmState} arm */
  reset(arm) {
    this.memory.position.set(arm.position);
    this.memory.rotation.set(arm.rotation);
    this.memory.fingers = [0, 0];
  }

  /**
   * A new goal, relative to where the hand is. Without a rotation the old goal's rotation stays.
   * @param {ArrayLike<number>} action (7) LIBERO's action, clipped to [−1, 1] @param {ArmState} arm
   * @param {boolean} absolute whether its numbers are a place (metres) and a rotation (radians)
   */
  setGoal(action, arm, absolute) {
    if (absolute) {
      this.memory.position.set([action[0], action[1], action[2]]);
      this.memory.rotation.set(rotation([action[3], action[4], action[5]]));
      return;
    }
    const command = Array.from({ length: 6 }, (_, i) => clip(action[i], -1, 1));
    for (let i = 0; i < 3; i++) this.memory.position[i] = arm.position[i] + METRES * command[i];
    const turn = command.slice(3).map((x) => RADIANS * x);
    if (turn.some((x) => x !== 0)) this.memory.rotation.set(product(rotation(turn), arm.rotation, 3, 3, 3));
  }

  /** @param {ArmState} arm @returns {Float64Array} (7) torques, not clipped */
  torques(arm) {
    const { jacobian, mass } = arm;
    const inverseMass = inverse(mass, JOINTS);
    const spread = product(jacobian, inverseMass, 6, JOINTS, JOINTS);
    const mobility = product(spread, transposed(jacobian, 6, JOINTS), 6, JOINTS, 6);
    const wrench = this.#wrench(arm, mobility);
    const posture = this.#posture(arm);
    // Of the posture's torques, only what does not move the hand: (1 − Jbar J)ᵀ τ.
    const weighted = product(inverse(mobility, 6), product(spread, posture, 6, JOINTS, 1), 6, 6, 1);
    const found = new Float64Array(JOINTS);
    for (let j = 0; j < JOINTS; j++) {
      found[j] = arm.bias[j] + posture[j];
      for (let i = 0; i < 6; i++) found[j] += jacobian[i * JOINTS + j] * (wrench[i] - weighted[i]);
    }
    return found;
  }

  /** Forces and torques at the hand, position and rotation decoupled. @param {ArmState} arm @param {Float64Array} mobility */
  #wrench(arm, mobility) {
    const turn = rotationError(this.memory.rotation, arm.rotation);
    const force = new Float64Array(3);
    const torque = new Float64Array(3);
    for (let i = 0; i < 3; i++) {
      force[i] = KP * (this.memory.position[i] - arm.position[i]) - KD * arm.velocity[i];
      torque[i] = KP * turn[i] - KD * arm.turning[i];
    }
    const moved = product(inverse(block(mobility, 0), 3), force, 3, 3, 1);
    const turned = product(inverse(block(mobility, 3), 3), torque, 3, 3, 1);
    return [...moved, ...turned];
  }

  /** Torques that would pull the joints to their rest. @param {ArmState} arm */
  #posture({ mass, angles, speeds }) {
    const pull = this.rest.map((rest, j) => REST_KP * (rest - angles[j]) - REST_KD * speeds[j]);
    return product(mass, pull, JOINTS, JOINTS, 1);
  }

  /** The two fingers' commands in [−1, 1], one physics step on. @param {number} gripper only its sign counts */
  fingers(gripper) {
    const change = FINGER_SPEED * Math.sign(gripper);
    const [left, right] = this.memory.fingers;
    this.memory.fingers = [clip(left - change, -1, 1), clip(right + change, -1, 1)];
    return this.memory.fingers;
  }
}

/** @param {number} x @param {number} low @param {number} high */
const clip = (x, low, high) => Math.min(high, Math.max(low, x));

/** The diagonal block (3 × 3) of a matrix (6 × 6) from row and column `at`. @param {Float64Array} a @param {number} at */
function block(a, at) {
  const found = new Float64Array(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) found[3 * i + j] = a[6 * (i + at) + j + at];
  }
  return found;
}

/**
 * a (n × m) times b (m × k).
 * @param {ArrayLike<number>} a @param {ArrayLike<number>} b
 * @param {number} n @param {number} m @param {number} k
 */
function product(a, b, n, m, k) {
  const found = new Float64Array(n * k);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < k; j++) {
      let sum = 0;
      for (let l = 0; l < m; l++) sum += a[i * m + l] * b[l * k + j];
      found[i * k + j] = sum;
    }
  }
  return found;
}

/** @param {Float64Array} a (n × m) @param {number} n @param {number} m */
function transposed(a, n, m) {
  const found = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) found[j * n + i] = a[i * m + j];
  }
  return found;
}

/**
 * Inverse of a symmetric positive definite matrix by its Cholesky factor: what numpy's inv and pinv
 * give for mass and mobility, whose singular values are far above pinv's cut-off.
 * @param {Float64Array} a (n × n) @param {number} n
 */
export function inverse(a, n) {
  const lower = cholesky(a, n);
  const found = new Float64Array(n * n);
  const column = new Float64Array(n);
  for (let c = 0; c < n; c++) {
    for (let i = 0; i < n; i++) {
      let sum = i === c ? 1 : 0;
      for (let k = 0; k < i; k++) sum -= lower[i * n + k] * column[k];
      column[i] = sum / lower[i * n + i];
    }
    for (let i = n - 1; i >= 0; i--) {
      let sum = column[i];
      for (let k = i + 1; k < n; k++) sum -= lower[k * n + i] * column[k];
      column[i] = sum / lower[i * n + i];
      found[i * n + c] = column[i];
    }
  }
  return found;
}

/** @param {Float64Array} a (n × n) @param {number} n @returns {Float64Array} lower triangle */
function cholesky(a, n) {
  const lower = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= lower[i * n + k] * lower[j * n + k];
      lower[i * n + j] = i === j ? Math.sqrt(sum) : sum / lower[j * n + j];
    }
  }
  return lower;
}

/** Half the sum of the axes' cross products. @param {Float64Array} goal (9) @param {Float64Array} now (9) */
function rotationError(goal, now) {
  const error = [0, 0, 0];
  for (let axis = 0; axis < 3; axis++) {
    for (let i = 0; i < 3; i++) {
      const j = 3 * ((i + 1) % 3) + axis;
      const k = 3 * ((i + 2) % 3) + axis;
      error[i] += 0.5 * (now[j] * goal[k] - now[k] * goal[j]);
    }
  }
  return error;
}

/**
 * Rotation matrix of a vector whose length is the angle; by a quaternion in float32, as robosuite.
 * @param {number[]} vector (3) radians
 */
function rotation(vector) {
  const angle = Math.hypot(...vector);
  if (angle === 0) return [1, 0, 0, 0, 1, 0, 0, 0, 1];
  const sine = Math.sin(angle / 2);
  const unit = [Math.cos(angle / 2), ...vector.map((x) => (x / angle) * sine)].map(f32);
  const norm = unit.reduce((sum, x) => f32(sum + f32(x * x)), 0);
  const q = unit.map((x) => f32(x * f32(Math.sqrt(2 / norm))));
  /** @param {number} i @param {number} j */
  const p = (i, j) => f32(q[i] * q[j]);
  return [
    f32(f32(1 - p(2, 2)) - p(3, 3)), f32(p(1, 2) - p(3, 0)), f32(p(1, 3) + p(2, 0)),
    f32(p(1, 2) + p(3, 0)), f32(f32(1 - p(1, 1)) - p(3, 3)), f32(p(2, 3) - p(1, 0)),
    f32(p(1, 3) - p(2, 0)), f32(p(2, 3) + p(1, 0)), f32(f32(1 - p(1, 1)) - p(2, 2)),
  ];
}
