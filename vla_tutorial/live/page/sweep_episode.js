// One episode of a sweep: run to its end without a reader's hands, and its row.

import { SIZE } from "./parts.js";
import { noTweaks } from "./share.js";
import { closingSteps } from "./signatures.js";
import { PUBLISHED, folderOf } from "./sweep.js";

/** @typedef {import("./types").EpisodeKey} EpisodeKey */
/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {Pick<import("./types").SweepPlan, "suite" | "starts"> & {policy: string}} Plan */

/** A picture is sent to the page at each of so many steps. */
const PICTURE_EVERY = 5;

/**
 * @param {import("./parts.js").Parts} parts with the key's task loaded
 * @param {EpisodeKey} key @param {Plan} plan
 * @param {() => boolean} stopped
 * @returns {Promise<import("./sweep.js").Ended>}
 */
export async function runToEnd(parts, key, plan, stopped) {
  const simulator = new parts.layers.Simulator(parts.mujoco, parts.task);
  const began = performance.now();
  try {
    const layout = plan.starts === "layouts" ? key.init : null;
    const { lines, texts, success } = await run(parts, simulator, { ...key, layout }, plan, stopped);
    const seconds = Math.round(performance.now() - began) / 1000;
    return { row: rowOf(key, plan.suite, lines, success, seconds), log: texts.join("") };
  } finally {
    simulator.dispose();
  }
}

/** @param {import("./parts.js").Parts} parts @param {import("./simulator.js").Simulator} simulator @param {EpisodeKey & {layout: number | null}} key @param {Plan} plan @param {() => boolean} stopped */
async function run(parts, simulator, key, plan, stopped) {
  const { renderer, task, layers, manifest, emit } = parts;
  const policy = parts.policy(plan.policy);
  const conditions = key.condition === PUBLISHED ? [] : key.condition.split("+");
  const choice = { conditions, sentence: null, policy: plan.policy };
  const { task: number, init, layout } = key;
  const experiment = { suite: plan.suite, task: number, init, layout, sides: [choice], tweaks: noTweaks(), seed: 0 };
  const settings = layers.settings(manifest, experiment, choice);
  /** @type {LogLine[]} */
  const lines = [];
  const texts = [];
  let success = false;
  for await (const step of layers.rollout({ policy, simulator, renderer, task, ...settings })) {
    if (stopped()) throw new Error("stopped");
    const text = layers.stepLine(step);
    texts.push(`${text}\n`);
    lines.push(JSON.parse(text));
    success = step.done;
    if (lines.length % PICTURE_EVERY !== 1) continue;
    const shown = { rgb: step.picture, width: SIZE, height: SIZE, turned: true };
    emit({ event: "sweeping", key, steps: lines.length, shown });
  }
  return { lines, texts, success };
}

/**
 * @param {EpisodeKey} key @param {string} suite @param {LogLine[]} lines
 * @param {boolean} success @param {number} seconds
 * @returns {import("./types").EpisodeRow}
 */
function rowOf(key, suite, lines, success, seconds) {
  const closes = closingSteps(lines);
  const [x, y, z] = lines[0]?.eef_pos ?? [0, 0, 0];
  const away = lines.map(({ eef_pos: p }) => Math.hypot(p[0] - x, p[1] - y, p[2] - z));
  return {
    suite,
    ...key,
    success,
    outcome: success ? "success" : "failure",
    steps: lines.length,
    first_close: closes.length ? closes[0] : null,
    closes: closes.length,
    seconds,
    attempt: 1,
    folder: folderOf(key),
    error: null,
    travel: Math.round(1e4 * Math.max(0, ...away)) / 1e4,
  };
}
