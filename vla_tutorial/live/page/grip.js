// The reader's hand on one side: a spring from a point of an object to where the finger is.

import { FREE } from "./layers.js";
import { cameraOf, rayThrough } from "./renderer_view.js";

/** @typedef {import("./conditions.js").Scene} Scene */
/** @typedef {import("./renderer_view.js").Camera} Camera */

/** How far arrow keys pull, in metres, and for how many control steps. */
const TUG = 0.08;
const TUG_STEPS = 6;

export class Grip {
  /** @param {import("./parts.js").Parts} parts @param {import("./orbit.js").Orbit} orbit @param {import("./simulator.js").Simulator} simulator */
  constructor(parts, orbit, simulator) {
    this.parts = parts;
    this.orbit = orbit;
    this.simulator = simulator;
    /** @type {{body: string, localPoint: number[], depth: number} | null} */ this.held = null;
    this.steps = 0;
  }

  /** How the shown picture was drawn. @param {Scene} scene */
  #drawn(scene) {
    const { view } = this.orbit;
    if (view) return { view, width: FREE.width, height: FREE.height };
    return { cameraDegrees: scene.perturbation.camera_degrees };
  }

  /** The camera that made the shown picture. @param {Scene} scene @returns {Camera} */
  #camera(scene) {
    return cameraOf(this.orbit.view ?? "agentview", this.parts.task, scene.perturbation.camera_degrees);
  }

  /**
   * A place of the shown picture in the raw one. Row 0 of that is at the bottom, and the robot's
   * picture was turned by 180° to be shown; the reader's own was not mirrored.
   * @param {number[]} at
   */
  #raw([x, y]) {
    return this.orbit.view ? [x, 1 - y] : [1 - x, 1 - y];
  }

  /**
   * @param {number[]} at place in the shown picture
   * @param {Scene} scene
   * @returns {string | null} the body that is held
   */
  grab(at, scene) {
    const [x, y] = this.#raw(at);
    const hit = this.parts.renderer.pick(this.simulator.pose, x, y, this.#drawn(scene));
    // The floor, a wall or a cabinet's sides stand fast; objects, drawers, doors, knobs and the arm do not.
    if (!hit || !this.simulator.isMovable(hit.body)) return null;
    const depth = depthOf(this.#camera(scene), hit.worldPoint);
    this.held = { body: hit.body, localPoint: hit.localPoint, depth };
    return hit.body;
  }

  /** @param {number[]} at @param {Scene} scene */
  drag(at, scene) {
    if (!this.held) return;
    const [x, y] = this.#raw(at);
    const goal = pointAt(this.#camera(scene), x, y, this.held.depth);
    this.simulator.pull(this.held.body, this.held.localPoint, goal);
  }

  release() {
    this.held = null;
    this.simulator.pull(null);
  }

  /**
   * Pull an object sideways for some steps: of those that the goal moves, the first that is not there yet.
   * @param {number[]} way right and down, in the shown picture
   * @param {Scene} scene
   * @returns {string | null} the body that is pulled
   */
  tug([right, down], scene) {
    const { simulator } = this;
    const bodies = this.parts.layers.movedBodies(simulator);
    const isThere = (/** @type {string} */ body) => simulator.goal.every((part) => part.body !== body || simulator.holds(part));
    const body = bodies.find((one) => !isThere(one)) ?? bodies[0];
    if (!body) return null;
    const number = this.simulator.bodies.indexOf(body);
    const { matrix: m } = this.#camera(scene);
    const across = this.orbit.view ? right : -right;
    const from = this.simulator.pose.xpos.subarray(3 * number, 3 * number + 3);
    const goal = Array.from(from, (x, i) => x + TUG * (across * m[3 * i] - down * m[3 * i + 1]));
    this.simulator.pull(body, [0, 0, 0], goal);
    this.steps = TUG_STEPS;
    return body;
  }

  /** Let go when a tug has lasted long enough. */
  afterStep() {
    if (this.steps > 0 && --this.steps === 0) this.simulator.pull(null);
  }
}

/** How far a point lies in front of a camera. @param {Camera} camera @param {number[]} point */
function depthOf({ position, matrix: m }, point) {
  return -point.reduce((sum, p, i) => sum + (p - position[i]) * m[3 * i + 2], 0);
}

/** The point at that depth under a place of a square picture. @param {Camera} camera @param {number} x @param {number} y @param {number} depth */
function pointAt(camera, x, y, depth) {
  const { origin, direction } = rayThrough(camera, 1, x, y);
  const reach = depth / depthOf(camera, origin.map((o, i) => o + direction[i]));
  return origin.map((o, i) => o + reach * direction[i]);
}
