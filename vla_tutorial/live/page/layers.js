// What the engine works with: the modules that do the work, and how a reader's choices become theirs.

import { loadManifest, loadTask } from "./assets.js";
import { applyConditions } from "./conditions.js";
import { episodeJson, stepLine } from "./log.js";
import { Camera, promptOf, rollout, start } from "./loop.js";
import { prepare } from "./pixels.js";
import { Policy } from "./policy.js";
import { tokenIds } from "./prompt.js";
import { pointAt } from "./rays.js";
import { Renderer } from "./renderer.js";
import { Simulator, loadMujoco } from "./simulator.js";

/** @typedef {import("./conditions.js").Wiring} Wiring */
/** @typedef {import("./conditions.js").Scene} Scene */
/** @typedef {import("./assets.js").Task} Task */
/** @typedef {import("./types").Experiment} Experiment */
/** @typedef {import("./types").SideChoice} SideChoice */
/** @typedef {import("./types").OrbitView} OrbitView */

/** Size of the reader's own view, in pixels. */
const FREE = { width: 480, height: 480 };

/**
 * Wiring and scene that conditions, sentence and sliders make; a slider wins over a condition.
 * @param {import("./conditions.js").Settings} manifest
 * @param {Experiment} experiment
 * @param {SideChoice} choice
 */
function settings(manifest, experiment, { conditions, sentence }) {
  const { wiring, scene } = applyConditions(manifest, conditions, experiment);
  const { camera, light, noise, friction } = experiment.tweaks;
  const given = { camera_degrees: camera, light, camera_noise: noise, friction };
  for (const [name, value] of Object.entries(given)) {
    if (value !== null) Object.assign(scene.perturbation, { [name]: value });
  }
  if (sentence !== null) scene.instruction = sentence;
  return { wiring, scene };
}

/** The body of the object that the task names. @param {Task} task */
export const namedBody = (task) => task.physics.movables.find((one) => one.named)?.body ?? null;

/**
 * Friction and the named object's weight, which the simulator holds.
 * @param {Simulator} simulator @param {Task} task @param {Scene} scene @param {number} mass factor
 */
function physics(simulator, task, scene, mass) {
  simulator.setFriction(scene.perturbation.friction);
  const body = namedBody(task);
  if (body) simulator.setMass(body, mass);
}

/**
 * The picture now, and what the policy would see.
 * @param {Simulator} simulator @param {Renderer} renderer @param {Wiring} wiring @param {Scene} scene
 */
function look(simulator, renderer, wiring, scene) {
  const picture = new Camera(renderer, scene.init).take(simulator, scene, 0);
  return { picture, pixels: prepare(picture, wiring) };
}

/**
 * The prompt and how many token ids it has.
 * @param {Policy} policy @param {Task} task @param {Wiring} wiring @param {Scene} scene
 */
function promptNow(policy, task, wiring, scene) {
  const prompt = promptOf(wiring, scene, task);
  const { tokenizer } = /** @type {any} */ (policy);
  return { prompt: prompt.text, ids: tokenIds(prompt, tokenizer).length };
}

/**
 * The reader's own view of the scene.
 * @param {Simulator} simulator @param {Renderer} renderer @param {Scene} scene @param {OrbitView} view
 */
function freePicture(simulator, renderer, scene, view) {
  const { light } = scene.perturbation;
  const { secondCan } = simulator;
  renderer.draw(simulator.pose, { ...FREE, light, secondCan, view });
  return { rgb: renderer.pixels(), ...FREE, flipped: true };
}

/**
 * The movable object whose bounding sphere a ray meets first: fingers are thicker than pixels.
 * @param {Task} task @param {Simulator} simulator @param {import("./rays.js").Eye} eye
 * @param {number[]} at place in the picture, 0 … 1
 */
function pick(task, simulator, eye, [x, y]) {
  const ahead = pointAt(eye, x, y, 1);
  const way = ahead.map((p, i) => p - eye.position[i]);
  const length = Math.hypot(...way);
  let found = null;
  for (const { body, radius } of task.physics.movables) {
    const number = simulator.bodies.indexOf(body);
    const centre = Array.from(simulator.pose.xpos.subarray(3 * number, 3 * number + 3));
    const to = centre.map((c, i) => c - eye.position[i]);
    const along = to.reduce((sum, t, i) => sum + (t * way[i]) / length, 0);
    const off = Math.sqrt(Math.max(to.reduce((sum, t) => sum + t * t, 0) - along ** 2, 0));
    if (off > radius || (found && along > found.along)) continue;
    found = { body, localPoint: [0, 0, 0], worldPoint: centre, along };
  }
  return found;
}

export const layers = {
  loadManifest,
  loadTask,
  loadMujoco,
  Simulator,
  Renderer,
  Policy,
  rollout,
  start,
  stepLine,
  episodeJson,
  pick,
  settings,
  physics,
  look,
  promptNow,
  freePicture,
  namedBody,
};
