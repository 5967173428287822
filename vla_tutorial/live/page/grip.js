// The reader's hand on one side: a spring from a point of an object to where the finger is.

import { depthOf, freeEye, pointAt, robotEye } from "./rays.js";

/** @typedef {import("./conditions.js").Scene} Scene */

/** How far arrow keys pull, in metres, and for how many control steps. */
const TUG = 0.08;
const TUG_STEPS = 6;

export class Grip {
  /** @param {any} engine @param {import("./simulator.js").Simulator} simulator */
  constructor(engine, simulator) {
    this.engine = engine;
    this.simulator = simulator;
    /** @type {{body: string, localPoint: number[], depth: number} | null} */ this.held = null;
    this.steps = 0;
  }

  /** The camera that made the shown picture. @param {Scene} scene */
  #eye(scene) {
    const { orbitView, task } = this.engine;
    if (orbitView) return freeEye(orbitView);
    return robotEye(task.scene.camera, task.physics.pivot, scene.perturbation.camera_degrees);
  }

  /** LIBERO's pictures, turned upright, are mirrored; the reader's own view is not. @param {number[]} at */
  #unmirrored([x, y]) {
    return this.engine.orbitView ? [x, y] : [1 - x, y];
  }

  /**
   * @param {number[]} at place in the shown picture
   * @param {Scene} scene
   * @returns {string | null} the body that is held
   */
  grab(at, scene) {
    const eye = this.#eye(scene);
    const hit = this.engine.pick(this.simulator, eye, this.#unmirrored(at));
    this.held = hit && { body: hit.body, localPoint: hit.localPoint, depth: depthOf(eye, hit.worldPoint) };
    return hit?.body ?? null;
  }

  /** @param {number[]} at @param {Scene} scene */
  drag(at, scene) {
    if (!this.held) return;
    const [x, y] = this.#unmirrored(at);
    const goal = pointAt(this.#eye(scene), x, y, this.held.depth);
    this.simulator.pull(this.held.body, this.held.localPoint, goal);
  }

  release() {
    this.held = null;
    this.simulator.pull(null);
  }

  /** Pull the named object sideways for some steps. @param {number[]} way right and down, in the shown picture @param {Scene} scene */
  tug([right, down], scene) {
    const { task, layers } = this.engine;
    const body = layers.namedBody(task);
    const number = this.simulator.bodies.indexOf(body);
    if (number < 0) return;
    const eye = this.#eye(scene);
    const across = this.engine.orbitView ? right : -right;
    const from = this.simulator.pose.xpos.subarray(3 * number, 3 * number + 3);
    const goal = Array.from(from, (x, i) => x + TUG * (across * eye.right[i] - down * eye.up[i]));
    this.simulator.pull(body, [0, 0, 0], goal);
    this.steps = TUG_STEPS;
  }

  /** Let go when a tug has lasted long enough. */
  afterStep() {
    if (this.steps > 0 && --this.steps === 0) this.simulator.pull(null);
  }
}
