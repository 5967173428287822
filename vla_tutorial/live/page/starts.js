// Where an episode begins and what it asks for: a saved initial state, or a random layout.

import { LiveError } from "./errors.js";

/** @typedef {import("./assets.js").Task} Task */

/**
 * @typedef {{state: Float64Array, settleSteps: number, target: string | null,
 *   instruction: string, goal?: import("./assets.js").GoalPart[] | null, fixtures?: number[][]}} Start
 *   settleSteps: at most so many; goal: null where it is that of `target` or the task
 */

/**
 * @param {Task} task
 * @param {Pick<import("./conditions.js").Scene, "init" | "target" | "layout_seed">} scene
 * @returns {Start}
 */
export function startOf(task, { init, target, layout_seed: seed }) {
  const { instruction } = task;
  if (seed === null) return { state: task.states[init], settleSteps: Infinity, target, instruction };
  const layout = task.layouts.find((one) => one.seed === seed);
  if (layout) return { ...layout, target: target ?? (layout.target || null), goal: target === null ? layout.goal : null };
  const known = task.layouts.map((one) => one.seed);
  throw new LiveError(`There is no layout ${seed}; the page has ${known[0]} to ${known[known.length - 1]}.`);
}
