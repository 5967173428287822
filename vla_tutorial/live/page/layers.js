// What the engine works with: the modules that do the work, and how a reader's choices become theirs.

import { loadManifest, loadTask, suiteOf } from "./assets.js";
import { applyConditions } from "./conditions.js";
import { episodeJson, stepLine } from "./log.js";
import { Camera, promptOf, rollout, start } from "./loop.js";
import { prepare } from "./pixels.js";
import { Policy } from "./policy.js";
import { tokenIds } from "./prompt.js";
import { Renderer } from "./renderer.js";
import { Simulator, loadMujoco } from "./simulator.js";

/** @typedef {import("./conditions.js").Wiring} Wiring */
/** @typedef {import("./conditions.js").Scene} Scene */
/** @typedef {import("./assets.js").Task} Task */
/** @typedef {import("./types").Experiment} Experiment */
/** @typedef {import("./types").SideChoice} SideChoice */
/** @typedef {import("./types").OrbitView} OrbitView */

/** Size of the reader's own view, in pixels. */
export const FREE = { width: 480, height: 480 };

/**
 * Wiring and scene that conditions, sentence and sliders make; a slider wins over a condition.
 * @param {import("./assets.js").Manifest} manifest
 * @param {Experiment} experiment
 * @param {SideChoice} choice
 */
function settings(manifest, experiment, { conditions, sentence }) {
  const published = suiteOf(manifest, experiment.suite);
  const { wiring, scene } = applyConditions(published, conditions, experiment);
  const { camera, light, noise, friction } = experiment.tweaks;
  const given = { camera_degrees: camera, light, camera_noise: noise, friction };
  for (const [name, value] of Object.entries(given)) {
    if (value !== null) Object.assign(scene.perturbation, { [name]: value });
  }
  if (sentence !== null) scene.instruction = sentence;
  return { wiring, scene };
}

/**
 * Bodies of the objects that an episode's goal moves, in its order; none where it asks for a drawer or a knob.
 * @param {Simulator} simulator
 */
export function movedBodies({ goal, physics: { movables } }) {
  const named = goal.flatMap((part) => movables.filter((one) => one.name === part.object));
  return [...new Set(named.map((one) => one.body))];
}

/**
 * Friction and the weight of what the goal moves, which the simulator holds.
 * @param {Simulator} simulator @param {Scene} scene @param {number} mass factor
 */
function physics(simulator, scene, mass) {
  simulator.setFriction(scene.perturbation.friction);
  simulator.setMass(movedBodies(simulator), mass);
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
  settings,
  physics,
  look,
  promptNow,
  freePicture,
  movedBodies,
};
