/** The boundary tokens → motion: bins, un-normalisation and the gripper (vla_tutorial/actions.py). */
import { LiveError } from "./errors.js";

/** @typedef {import("./types").Statistics} Statistics */
/** @typedef {import("./conditions.js").Wiring} Wiring */
/**
 * What an arm executes: seven tokens, or an action in the data's units that no policy answered.
 * @typedef {Int32Array | readonly number[]} Answer
 */

/** Llama-2's, without padding; its last 256 ids are action bins (openvla). */
export const VOCABULARY = 32000;

/** 256 edges between −1 and 1 have 255 intervals between them. */
const EDGES = Array.from({ length: 256 }, (_, i) => (i === 255 ? 1 : i * (2 / 255) - 1));
export const BIN_CENTERS = EDGES.slice(0, -1).map((edge, i) => (edge + EDGES[i + 1]) / 2);

/**
 * Token ids → bins, 0 … 254: 31999 is bin 0. What lies beyond is clipped.
 * @param {ArrayLike<number>} tokens
 * @param {number} [vocabulary] ids that the token of bin 0 is counted down from
 */
export function tokenBins(tokens, vocabulary = VOCABULARY) {
  const last = BIN_CENTERS.length - 1;
  return Array.from(tokens, (token) => Math.min(last, Math.max(0, vocabulary - 1 - token)));
}

/**
 * The statistics as the wiring reads them: other bounds, or no mask.
 * @param {Statistics} statistics
 * @param {Pick<Wiring, "action_bounds" | "action_mask">} wiring
 * @returns {Statistics}
 */
export function asWired(statistics, { action_bounds: bounds, action_mask: masked }) {
  const found = { ...statistics };
  if (bounds === "extremes") {
    if (!statistics.extremes) throw new LiveError("action_bounds is 'extremes', but the statistics hold no min and max. Choose another key.");
    [found.q01, found.q99] = statistics.extremes;
  }
  if (!masked) found.mask = statistics.mask.map(() => true);
  return found;
}

/**
 * Token ids → an action in the data's units; gripper 0 close … 1 open.
 * @param {ArrayLike<number>} tokens
 * @param {Statistics} statistics
 * @param {number} [vocabulary] as `tokenBins`
 * @returns {number[]}
 */
export function decode(tokens, { q01, q99, mask }, vocabulary = VOCABULARY) {
  return tokenBins(tokens, vocabulary).map((bin, i) => {
    const normalised = BIN_CENTERS[bin];
    return mask[i] ? 0.5 * (normalised + 1) * (q99[i] - q01[i]) + q01[i] : normalised;
  });
}

/**
 * An answer as an action in the data's units: `decode`, where it is tokens.
 * @param {Answer} answer
 * @param {Statistics} statistics
 * @param {number} [vocabulary] as `tokenBins`
 * @returns {number[]}
 */
export function decodeAnswer(answer, statistics, vocabulary = VOCABULARY) {
  return answer instanceof Int32Array ? decode(answer, statistics, vocabulary) : [...answer];
}

/**
 * An answer as tokens: its own, or those that come nearest to its action.
 * @param {Answer} answer
 * @param {Statistics} statistics
 */
export function nearestTokens(answer, statistics) {
  return answer instanceof Int32Array ? answer : encode(answer, statistics);
}

/**
 * An action in the data's units → token ids: the inverse of `decode`, up to half a bin.
 * @param {readonly number[]} action
 * @param {Statistics} statistics
 */
export function encode(action, { q01, q99, mask }) {
  const width = 2 / BIN_CENTERS.length;
  return Int32Array.from(action, (value, i) => {
    const normalised = mask[i] ? (2 * (value - q01[i])) / (q99[i] - q01[i] || 1) - 1 : value;
    const bin = Math.floor((normalised + 1) / width);
    return VOCABULARY - 1 - Math.min(BIN_CENTERS.length - 1, Math.max(0, bin));
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
