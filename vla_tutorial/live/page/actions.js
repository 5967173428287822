/** The boundary tokens → motion: bins, un-normalisation and the gripper (vla_tutorial/actions.py). */
import { LiveError } from "./errors.js";

/** @typedef {import("./types").Statistics} Statistics */
/** @typedef {import("./conditions.js").Wiring} Wiring */

/** Llama-2's, without padding; its last 256 ids are action bins (openvla). */
export const VOCABULARY = 32000;

/** 256 edges between −1 and 1 have 255 intervals between them. */
const EDGES = Array.from({ length: 256 }, (_, i) => (i === 255 ? 1 : i * (2 / 255) - 1));
export const BIN_CENTERS = EDGES.slice(0, -1).map((edge, i) => (edge + EDGES[i + 1]) / 2);

/**
 * Token ids → bins, 0 … 254: 31999 is bin 0. What lies beyond is clipped.
 * @param {ArrayLike<number>} tokens
 */
export function tokenBins(tokens) {
  const last = BIN_CENTERS.length - 1;
  return Array.from(tokens, (token) => Math.min(last, Math.max(0, VOCABULARY - 1 - token)));
}

/**
 * Token ids → an action in the data's units; gripper 0 close … 1 open.
 * @param {ArrayLike<number>} tokens
 * @param {Statistics} statistics
 * @returns {number[]}
 */
export function decode(tokens, { q01, q99, mask }) {
  return tokenBins(tokens).map((bin, i) => {
    const normalised = BIN_CENTERS[bin];
    return mask[i] ? 0.5 * (normalised + 1) * (q99[i] - q01[i]) + q01[i] : normalised;
  });
}

/** What becomes of the gripper's opening, −1 … 1, or of g itself, 0 … 1. */
const GRIPPER = {
  binarised: (/** @type {number} */ g) => -Math.sign(2 * g - 1),
  inverted: (/** @type {number} */ g) => Math.sign(2 * g - 1),
  continuous: (/** @type {number} */ g) => -(2 * g - 1),
  unscaled: (/** @type {number} */ g) => -g,
};

/**
 * A decoded action → what LIBERO's `env.step` takes: gripper −1 open, +1 close.
 * @param {number[]} decoded (7)
 * @param {Wiring["gripper"]} gripper
 * @param {number} gain factor on the three translations
 * @returns {number[]} a copy; its translations may leave [−1, 1], and the controller clips them
 */
export function toLibero(decoded, gripper, gain) {
  const out = decoded.slice();
  for (let i = 0; i < 3; i++) out[i] *= gain;
  out[6] = GRIPPER[gripper](decoded[6]);
  return out;
}

/**
 * Statistics under `key`, else under `{key}_no_noops` (the published rule).
 * @param {string} key
 * @param {Record<string, Statistics>} statistics
 */
export function findStatistics(key, statistics) {
  for (const name of [key, `${key}_no_noops`]) {
    if (Object.hasOwn(statistics, name)) return statistics[name];
  }
  const known = Object.keys(statistics).join(", ");
  throw new LiveError(`Unknown unnorm key '${key}'. Known: ${known}.`);
}
