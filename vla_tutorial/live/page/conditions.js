/** Named changes of wiring or scene: the catalogue as Python wrote it into the manifest. */
import { LiveError } from "./errors.js";
import { repr } from "./numbers.js";

/**
 * The settings between policy and robot (vla_tutorial/wiring.py).
 * @typedef {{
 *   unnorm_key: string, embedded_statistics: boolean,
 *   orientation: "rotate_180" | "flip_vertical" | "raw", colour_order: "rgb" | "bgr",
 *   frame_delay: number, jpeg: boolean, center_crop: boolean, camera_size: number,
 *   prompt_template: string, empty_token: boolean, letter_case: "lower" | "as_given" | "upper",
 *   resize: "lanczos3" | "bilinear", vocabulary: number,
 *   action_bounds: "quantiles" | "extremes", action_mask: boolean,
 *   latency: number, while_waiting: "last" | "zero",
 *   gripper: "binarised" | "inverted" | "continuous" | "unscaled", translation_gain: number,
 *   settle_steps: number, max_steps: number | null, mujoco: string,
 * }} Wiring
 *
 * Changes of world and camera (vla_tutorial/scene.py).
 * @typedef {{
 *   camera_degrees: number, light: number, camera_noise: number, second_can: boolean,
 *   distractors: "as_saved" | "swapped" | "hidden", srgb_textures: boolean, friction: number,
 *   joint_noise_seed: number, control_rate: number, absolute_control: boolean,
 * }} Perturbation
 * @typedef {{
 *   suite: string, task: number, init: number, instruction: string | null,
 *   perturbation: Perturbation, target: string | null, layout_seed: number | null,
 * }} Scene
 *
 * @typedef {{
 *   name: string, family: string, boundary: string, teaches: string, claims: string,
 *   level: number | null, unit: string, changes: Record<string, unknown>,
 *   sentences: Record<string, string[]> | null, appliesAt: "now" | "reset",
 *   supported: boolean, note: string,
 * }} Condition
 * Those of a suite, as the manifest has them.
 * @typedef {{wiring: Wiring, scene: Scene, conditions: Condition[]}} Settings
 */

/**
 * Apply conditions in turn to the published settings.
 * @param {Settings} published
 * @param {string[]} names
 * @param {{task: number, init: number, layout?: number | null}} start layout: the seed of a random
 *   one; as in Python's sweeps it is the number of the start, too
 * @returns {{wiring: Wiring, scene: Scene}}
 */
export function applyConditions(published, names, { task, layout = null, ...saved }) {
  const init = layout ?? saved.init;
  const wiring = { ...published.wiring };
  const perturbation = { ...published.scene.perturbation };
  const scene = { ...published.scene, task, init, layout_seed: layout, perturbation };
  /** @type {Map<string, string>} */
  const changedBy = new Map();
  for (const name of names) {
    const condition = findCondition(published, name);
    for (const [setting, value] of Object.entries(changesAt(condition, task, init))) {
      const other = changedBy.get(setting);
      if (other !== undefined) {
        const both = `${repr(other)} and ${repr(name)}`;
        throw new LiveError(`Conditions ${both} both change ${setting}; choose one of them.`);
      }
      changedBy.set(setting, name);
      const owner = [wiring, perturbation, scene].find((settings) => setting in settings);
      Object.assign(/** @type {object} */ (owner), { [setting]: value });
    }
  }
  return { wiring, scene };
}

/**
 * The condition of a name, if the page can do it.
 * @param {Settings} published
 * @param {string} name
 */
export function findCondition({ conditions }, name) {
  const found = conditions.find((condition) => condition.name === name);
  if (!found) {
    const known = conditions.map((condition) => condition.name).join(", ");
    throw new LiveError(`Unknown condition ${repr(name)}. Known: ${known}.`);
  }
  if (found.supported) return found;
  throw new LiveError(`The page cannot do ${repr(name)}: ${found.note}`);
}

/**
 * What a condition changes from a start: setting → value, the wiring's before the scene's.
 * @param {Condition} condition
 * @param {number} task
 * @param {number} init
 * @returns {Record<string, unknown>}
 */
export function changesAt({ changes, sentences }, task, init) {
  if (!sentences) return changes;
  const ofTask = sentences[task];
  return { ...changes, instruction: ofTask[init % ofTask.length] };
}

/**
 * The sentence that the policy gets.
 * @param {Scene} scene
 * @param {string} own the task's
 */
export function instructionFor({ instruction, target }, own) {
  if (instruction !== null) return instruction;
  if (target === null) return own;
  // The one for "bbq_sauce_1" asks for the bbq sauce.
  const noun = target.slice(0, target.lastIndexOf("_")).replaceAll("_", " ");
  return `pick up the ${noun} and place it in the basket`;
}
