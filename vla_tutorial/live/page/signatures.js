// From a log to its signatures: the page's copy of vla_tutorial/diagnose/compute.py and log.py.
// Every number comes from diagnosis.json, which vla_tutorial/live/diagnosis_data.py writes.

import { decode, tokenBins } from "./actions.js";

/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {import("./types").DiagnosisData} DiagnosisData */
/** @typedef {import("./types").Signatures} Signatures */
/** @typedef {import("./types").Statistics} Statistics */
/** @typedef {"binarised" | "inverted" | "continuous" | "unscaled"} GripperMapping */

/** @type {GripperMapping[]} The published mapping comes first. */
const MAPPINGS = ["binarised", "inverted", "continuous", "unscaled"];
const LAST_BIN = 254;

const sum = (/** @type {number[]} */ values) => values.reduce((total, value) => total + value, 0);
const mean = (/** @type {number[]} */ values) => sum(values) / values.length;
const length = (/** @type {number[]} */ vector) => Math.sqrt(sum(vector.map((x) => x * x)));
const share = (/** @type {boolean[]} */ truths) => truths.filter(Boolean).length / truths.length;
const clip = (/** @type {number} */ x, /** @type {number} */ low, /** @type {number} */ high) =>
  Math.min(Math.max(x, low), high);
const ratio = (/** @type {number} */ a, /** @type {number} */ b) => (b > 0 ? a / b : 0);
const minus = (/** @type {number[]} */ a, /** @type {number[]} */ b) => a.map((x, i) => x - b[i]);

/** Translation of an action: its first three numbers. @param {LogLine} line */
const translation = (line) => line.action.slice(0, 3);

/** Whether a step commands the gripper to close; a command of 0 does not. @param {LogLine} line */
export const closing = (line) => line.action[6] > 0;

/** Millimetres between the fingers. @param {LogLine} line */
export const fingers = (line) => 1000 * (line.gripper_qpos[0] - line.gripper_qpos[1]);

/** Length of the commanded translation, 1 is full speed. @param {LogLine} line */
export const motion = (line) => length(translation(line));

/**
 * Steps at which the gripper command changes to close, ascending. Before step 0 it is open.
 * @param {LogLine[]} log
 */
export function closingSteps(log) {
  const steps = [];
  for (let k = 0; k < log.length; k++) {
    if (closing(log[k]) && (k === 0 || !closing(log[k - 1]))) steps.push(k);
  }
  return steps;
}

/** @param {number} g decoded gripper, 0 close … 1 open @param {GripperMapping} mapping */
function gripperCommand(g, mapping) {
  const opening = 2 * g - 1;
  const mapped = {
    binarised: -Math.sign(opening),
    inverted: Math.sign(opening),
    continuous: -opening,
    unscaled: -g,
  };
  return mapped[mapping];
}

/**
 * The signatures of one episode.
 * @param {LogLine[]} log at least one step
 * @param {DiagnosisData} data
 * @returns {Signatures}
 */
export function computeSignatures(log, data) {
  const { constants: c } = data;
  const bins = log.map((line) => tokenBins(line.tokens));
  const motionBins = bins.flatMap((row) => row.slice(0, 6));
  const start = log[0].eef_pos;
  return {
    steps: log.length,
    success: log[log.length - 1].reward > 0,
    jaggedness: jaggedness(log),
    response: response(log),
    travel: Math.max(...log.map((line) => length(minus(line.eef_pos, start)))),
    still: share(log.map((line) => motion(line) < c.STILL)),
    centred: share(motionBins.map((bin) => Math.abs(bin - c.CENTRE_BIN) <= c.NEAR_BINS)),
    saturated: share(motionBins.map((bin) => bin === 0 || bin === LAST_BIN)),
    firstOff: firstOff(bins[0].slice(0, 6), data),
    picture: picture(log, data),
    mapping: mapping(log, data),
    gripper: gripper(log, bins.map((row) => row[6]), data),
    progress: progress(log, data),
  };
}

/** @param {LogLine[]} log */
function jaggedness(log) {
  let changes = 0;
  let moved = 0;
  for (let k = 1; k < log.length; k++) {
    changes += length(minus(translation(log[k]), translation(log[k - 1])));
    moved += motion(log[k]);
  }
  return ratio(changes, moved);
}

/** Millimetres a step for each unit of commanded translation. @param {LogLine[]} log */
function response(log) {
  let fits = 0;
  let squares = 0;
  for (let k = 0; k + 1 < log.length; k++) {
    const commanded = translation(log[k]).map((x) => clip(x, -1, 1));
    const achieved = minus(log[k + 1].eef_pos, log[k].eef_pos).map((x) => 1000 * x);
    fits += sum(commanded.map((x, i) => x * achieved[i]));
    squares += sum(commanded.map((x) => x * x));
  }
  return ratio(fits, squares);
}

/**
 * Mean distance, in bins, from the nearest task's known-good range; null without one.
 * @param {number[]} bins of the first six motion tokens
 * @param {DiagnosisData} data
 */
function firstOff(bins, data) {
  const known = data.reference.firstBins;
  if (!known) return null;
  return Math.min(
    ...known.map(([low, high]) =>
      mean(bins.map((bin, i) => Math.max(low[i] - bin, bin - high[i], 0))),
    ),
  );
}

/** @param {LogLine[]} log @param {DiagnosisData} data @returns {Signatures["picture"]} */
function picture(log, data) {
  const quarters = log[0].img_quarters;
  const misfits = turnMisfits(quarters, data);
  const turned = Object.keys(misfits).reduce((a, b) => (misfits[b] < misfits[a] ? b : a));
  const channels = log[0].img_channels ?? null;
  const sharpness = log[0].img_sharpness ?? null;
  const known = channels !== null && sharpness !== null;
  return {
    brightness: mean(quarters),
    turned,
    misfit: misfits[turned],
    redMinusBlue: known ? channels[0] - channels[2] : null,
    chroma: known ? channels[0] + channels[2] - 2 * channels[1] : null,
    sharpness: known ? sharpness : null,
    repeats: repeats(log, data),
  };
}

/**
 * Name of a turn → largest difference of a quarter from the nearest task's, at equal brightness.
 * @param {number[]} quarters of the first picture
 * @param {DiagnosisData} data
 */
function turnMisfits(quarters, data) {
  const rows = data.reference.quarters;
  const level = mean(rows.flat());
  const scaled = quarters.map((q) => (q / Math.max(mean(quarters), 1)) * level);
  /** @type {Record<string, number>} */
  const found = {};
  for (const [name, order] of Object.entries(data.constants.TURNS)) {
    const off = rows.map((row) => {
      const known = row.map((q) => (q / mean(row)) * level);
      return Math.max(...order.map((from, i) => Math.abs(known[from] - scaled[i])));
    });
    found[name] = Math.min(...off);
  }
  return found;
}

/** Whether the second picture is the first one, though the hand moved. @param {LogLine[]} log */
function repeats(log, /** @type {DiagnosisData} */ data) {
  if (log.length < 2) return false;
  const moved = 1000 * length(minus(log[1].eef_pos, log[0].eef_pos));
  const same = log[0].img_quarters.every((q, i) => q === log[1].img_quarters[i]);
  return moved > data.constants.MOVED_MM && same;
}

/** @param {LogLine[]} log @param {DiagnosisData} data @returns {Signatures["mapping"]} */
function mapping(log, data) {
  const expected = data.reference.key;
  const { EXACT } = data.constants;
  // The expected key comes first, so that it wins a tie.
  let best = expected;
  let least = Infinity;
  for (const key of [expected, ...Object.keys(data.statistics)]) {
    const misfit = keyMisfit(log, data.statistics[key]);
    if (misfit < least) {
      best = key;
      least = misfit;
    }
  }
  const meant = log.map((line) => decode(line.tokens, data.statistics[expected]));
  const moves = log.flatMap(translation);
  const wanted = meant.flatMap((action) => action.slice(0, 3));
  const squares = sum(wanted.map((x) => x ** 2));
  return {
    key: least < EXACT ? best : null,
    scale: ratio(sum(wanted.map((x, i) => x * moves[i])), squares),
    beyond: share(moves.map((x) => Math.abs(x) > 1 + EXACT)),
    gripper: gripperMapping(log, meant.map((action) => action[6]), EXACT),
  };
}

/** @param {LogLine[]} log @param {Statistics} statistics */
function keyMisfit(log, statistics) {
  let most = 0;
  for (const line of log) {
    const decoded = decode(line.tokens, statistics);
    for (let i = 0; i < 6; i++) most = Math.max(most, Math.abs(decoded[i] - line.action[i]));
  }
  return most;
}

/** @param {LogLine[]} log @param {number[]} meant @param {number} exact */
function gripperMapping(log, meant, exact) {
  const fits = (/** @type {GripperMapping} */ name) =>
    log.every((line, k) => Math.abs(gripperCommand(meant[k], name) - line.action[6]) < exact);
  return MAPPINGS.find(fits) ?? null;
}

/** @param {LogLine[]} log @param {number[]} bins @param {DiagnosisData} data */
function gripper(log, bins, data) {
  const { GRIPPER_BINS, NEAR_BINS, EARLY } = data.constants;
  const undecided = bins.map((bin) => GRIPPER_BINS.every((at) => Math.abs(bin - at) > NEAR_BINS));
  let changes = 0;
  for (let k = 1; k < log.length; k++) changes += Number(closing(log[k]) !== closing(log[k - 1]));
  const closes = closingSteps(log);
  return {
    firstClose: closes.length ? closes[0] : null,
    closes: closes.length,
    chatter: (100 * changes) / log.length,
    undecided: share(undecided),
    earlyUndecided: share(undecided.slice(0, EARLY)),
    fingers: fingers(log[0]),
  };
}

/** How far the episode came, each as a control step or null. @param {LogLine[]} log */
function progress(log, /** @type {DiagnosisData} */ data) {
  const { REST_MM, HELD_MM, REACH_M, LIFT_M } = data.constants;
  const width = log.map(fingers);
  const height = log.map((line) => line.eef_pos[2]);
  const still = log.map((line, k) => {
    const rests = Math.abs(width[k] - width[Math.max(k - 1, 0)]) < REST_MM;
    const apart = width[k] > HELD_MM[0] && width[k] < HELD_MM[1];
    return closing(line) && k > 0 && closing(log[k - 1]) && rests && apart;
  });
  // Two steps at rest, because the fingers are also at rest just before they begin to move.
  const held = still.map((now, k) => now && k > 0 && still[k - 1]);
  const grasped = first(held);
  const lifted =
    grasped === null ? null : first(held.map((now, k) => now && height[k] > height[grasped] + LIFT_M));
  const released = lifted === null ? null : first(log.map((line, k) => !closing(line) && k > lifted));
  return { reached: first(height.map((z) => z < REACH_M)), grasped, lifted, released };
}

/** @param {boolean[]} truths */
function first(truths) {
  const found = truths.indexOf(true);
  return found < 0 ? null : found;
}
