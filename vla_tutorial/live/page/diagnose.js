// Which boundary broke? The page's copy of vla_tutorial/diagnose/rules.py and judge.py.
// Thresholds and references are data (diagnosis.json); tests/live compares both on the same logs.

import { fixed, general, percent, signed } from "./numbers.js";
import { computeSignatures } from "./signatures.js";

/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {import("./types").DiagnosisData} DiagnosisData */
/** @typedef {import("./types").Signatures} Signatures */
/** @typedef {{boundary: string, evidence: string, nextStep: string}} Finding */
/** @typedef {{verdict: string, evidence: string[], nextStep: string, notes: string[], signatures: Signatures}} Diagnosis */
/** @typedef {(s: Signatures, data: DiagnosisData) => Finding | null} Rule */

/**
 * What the rules read for a suite and a policy; null where the suite has no reference.
 * @param {import("./types").DiagnosisFile} file
 * @param {{suite: string, stepLimit: number}} suite @param {string} policy
 * @returns {DiagnosisData | null}
 */
export function rulesFor({ references, ...shared }, { suite, stepLimit }, policy) {
  const reference = references[suite]?.[policy];
  return reference ? { ...shared, reference, stepLimit } : null;
}

/**
 * Judge one episode.
 * @param {LogLine[]} log at least one step, as `steps.jsonl` holds them
 * @param {DiagnosisData} data
 * @returns {Diagnosis}
 */
export function diagnose(log, data) {
  const signatures = computeSignatures(log, data);
  const notes = notesOn(signatures, data);
  const found = findings(signatures, data);
  if (found.length) {
    const evidence = found.map((finding) => `${finding.boundary}: ${finding.evidence}`);
    const { boundary, nextStep } = found[0];
    return { verdict: boundary, evidence, nextStep, notes, signatures };
  }
  return { ...unsuspected(signatures, data), notes, signatures };
}

/** Everything measured that is off; only when that is nothing, what must be inferred. */
function findings(/** @type {Signatures} */ s, /** @type {DiagnosisData} */ data) {
  const measured = MEASURED.map((rule) => rule(s, data)).filter((found) => found !== null);
  if (measured.length) return measured;
  const inferred = answers(s, data);
  return inferred ? [inferred] : [];
}

/** Verdict on a success, an early stop, or the policy's own failure. */
function unsuspected(/** @type {Signatures} */ s, /** @type {DiagnosisData} */ data) {
  const nothing = "nothing wrong";
  if (s.success) {
    const evidence = `All boundaries check out, and the task was done after ${s.steps} steps.`;
    return { verdict: nothing, evidence: [evidence], nextStep: "Nothing to do." };
  }
  if (s.steps < data.stepLimit) {
    const stopped = `the episode ended before its limit of ${data.stepLimit} steps without success.`;
    const evidence = `All boundaries check out in the ${s.steps} steps logged; ${stopped}`;
    const nextStep = "Let it run to its end before judging the policy.";
    return { verdict: nothing, evidence: [evidence], nextStep };
  }
  const why = `no success in ${s.steps} steps: ${story(s)}`;
  const nextStep =
    "Watch episode.mp4. One episode says little: run more initial states (vla-tutorial sweep).";
  return { verdict: "policy", evidence: [`All boundaries check out, but ${why}.`], nextStep };
}

/** @param {Signatures} s */
function story({ progress }) {
  const stages = [
    ["came down to the object", progress.reached],
    ["grasped something", progress.grasped],
    ["lifted it", progress.lifted],
    ["let go", progress.released],
  ];
  const done = stages.filter(([, step]) => step !== null);
  const told = done.map(([what, step]) => `${what} at step ${step}`).join(", ");
  return `the hand ${told || "never came down to an object"}`;
}

function notesOn(/** @type {Signatures} */ s, /** @type {DiagnosisData} */ data) {
  const notes = [];
  if (s.picture.sharpness === null) {
    notes.push(
      "Recorded before format 2 of the episode folder: without img_channels and img_sharpness, " +
        "order of colours, crop and JPEG round trip were not checked.",
    );
  }
  if (!data.reference.firstBins) {
    notes.push(
      `No known-good first answers of the policy '${data.reference.policy}' are shipped; a fault ` +
        "of the prompt shows only in the gripper then.",
    );
  }
  return notes;
}

/** @type {Rule} Rests on img_quarters of the first step. */
function turned(s, { constants }) {
  if (s.picture.turned === "as published" || s.picture.misfit > constants.MISFIT) return null;
  return {
    boundary: "pixels",
    evidence:
      `The first picture's quarters fit a published one within ${fixed(s.picture.misfit, 1)} grey ` +
      `levels only if it is read as ${s.picture.turned}.`,
    nextStep:
      "Open agentview.png: the robot's base belongs at the top, the basket left, the objects " +
      "right. Then look at Wiring.orientation: rotate_180 reverses rows and columns.",
  };
}

/** @type {Rule} Rests on img_channels of the first step. */
function colours(s, { reference }) {
  const [low, high] = reference.redMinusBlue;
  const found = s.picture.redMinusBlue;
  if (found === null || found < -high - 2 || found > -low + 2) return null;
  return {
    boundary: "pixels",
    evidence:
      `Red minus blue is ${signed(found, 1)} grey levels; published pictures have ` +
      `${signed(low, 1)} to ${signed(high, 1)}: the two are exchanged.`,
    nextStep:
      "Open agentview.png: is the floor blue? Find who reads BGR (OpenCV does), and reverse the " +
      "last axis once.",
  };
}

/** @param {Signatures} s @param {DiagnosisData} data */
function sceneIsKnown(s, { constants: c, reference }) {
  const [low, high] = reference.brightness;
  const { misfit, brightness } = s.picture;
  return misfit <= c.MISFIT && brightness >= low - c.BRIGHTER && brightness <= high + c.BRIGHTER;
}

/** @type {Rule} Rests on img_sharpness and img_channels of the first step of a known scene. */
function preparation(s, data) {
  const { constants: c, reference } = data;
  const p = s.picture;
  if (!sceneIsKnown(s, data) || p.sharpness === null || p.chroma === null) return null;
  const sharpest = reference.sharpness[1];
  if (p.sharpness > sharpest + c.SHARPER) {
    return {
      boundary: "pixels",
      evidence:
        `Neighbouring pixels differ by ${fixed(p.sharpness, 1)} grey levels; published pictures, ` +
        `enlarged from their centre, by at most ${fixed(sharpest, 1)}.`,
      nextStep:
        "Look at Wiring.center_crop and camera_size; if both are as published, open " +
        "agentview.png and look for noise.",
    };
  }
  const most = reference.chroma[1];
  const widest = reference.redMinusBlue[1] + c.CHROMA + 2;
  if (p.chroma <= most + c.CHROMA || Math.abs(p.redMinusBlue ?? 0) >= widest) return null;
  return {
    boundary: "pixels",
    evidence:
      `Red + blue − 2 green is ${signed(p.chroma, 1)} grey levels; published pictures have at most ` +
      `${signed(most, 1)}, because their JPEG round trip takes a level each from red and blue.`,
    nextStep: "Look at Wiring.jpeg: the training pictures were JPEGs of quality 95.",
  };
}

/** @type {Rule} Rests on img_quarters and eef_pos of the first two steps. */
function stale(s) {
  if (!s.picture.repeats) return null;
  return {
    boundary: "pixels",
    evidence:
      "The second picture is the first one again to 0.01 grey levels, though the hand had moved: " +
      "pictures come late.",
    nextStep:
      "Look for a queue or buffer between camera and policy: compare a picture's time and step.",
  };
}

/** @type {Rule} Rests on tokens and action of every step, and the shipped statistics. */
function motionScale(s, { reference }) {
  const m = s.mapping;
  const { key } = reference;
  if (m.key === key) return null;
  let whose = `not what these tokens mean under ${key}, nor under any other shipped statistics`;
  if (m.key) {
    whose = `exactly what these tokens mean under ${m.key}, not under ${key}: another data set`;
  }
  const clipped = m.beyond
    ? ` ${percent(m.beyond)} of its numbers lie beyond ±1, where the controller clips.`
    : "";
  return {
    boundary: "motion",
    evidence:
      `The logged motion is ${whose}. It is ${general(m.scale, 2)} times what it should be, and ` +
      `the hand got ${fixed(100 * s.travel, 0)} cm from its start.${clipped}`,
    nextStep:
      "Look at Wiring.unnorm_key, and decode one step's tokens by hand: " +
      `actions.decode(tokens, embedded_statistics()['${key}']).`,
  };
}

/** @type {Record<string, string>} */
const GRIPPER_STORIES = {
  inverted: "the sign of what the tokens say: open means close",
  continuous: "the token's number, not its sign: it was not binarised",
};

/** @type {Rule} Rests on the seventh token and the seventh number of every step. */
function gripperMapping(s) {
  const { gripper } = s.mapping;
  if (gripper === "binarised") return null;
  let how = "no known mapping of the tokens";
  if (gripper) how = GRIPPER_STORIES[gripper] ?? `what the mapping '${gripper}' makes of the tokens`;
  const closed =
    s.gripper.firstClose === null
      ? "never closed"
      : `was first commanded to close at step ${s.gripper.firstClose}`;
  return {
    boundary: "motion",
    evidence: `The logged gripper command is ${how}; the gripper ${closed}.`,
    nextStep: "Look at Wiring.gripper: LIBERO wants −sign(2g−1), −1 open and +1 close.",
  };
}

/** @type {Rule} Rests on img_mean and img_quarters of the first step. */
function rendering(s, data) {
  if (sceneIsKnown(s, data)) return null;
  const [low, high] = data.reference.brightness;
  return {
    boundary: "simulator",
    evidence:
      "The first picture is not a published one, whichever way it is turned: brightness " +
      `${fixed(s.picture.brightness, 0)} (published ${fixed(low, 0)} to ${fixed(high, 0)}), and a ` +
      `quarter is off by ${fixed(s.picture.misfit, 1)} grey levels at equal brightness.`,
    nextStep:
      "Run vla-tutorial doctor (MuJoCo's version, GL driver); then compare agentview.png with a " +
      "published one: light, camera, objects.",
  };
}

/** @type {Rule} Rests on gripper_qpos of the first step: settling opens half-closed fingers. */
function unsettled(s, { constants, reference }) {
  const [low, high] = reference.fingers;
  const width = s.gripper.fingers;
  if (width >= low - constants.FINGERS_MM && width <= high + constants.FINGERS_MM) return null;
  return {
    boundary: "simulator",
    evidence:
      `At the first step the fingers are ${fixed(width, 0)} mm apart; after settling they are ` +
      `${fixed(high, 0)}: the policy began too early.`,
    nextStep:
      "Look at Wiring.settle_steps: ten no-op steps let the objects drop and the fingers open.",
  };
}

/** @type {Rule} Rests on the tokens of the first ten steps; means something only if all else is right. */
function answers(s, { constants: c, reference }) {
  const signs = [];
  if (s.firstOff !== null && s.firstOff > c.FIRST_OFF) {
    signs.push(
      `the first answer is ${fixed(s.firstOff, 0)} bins (mean of six) from any first answer of a ` +
        `good ${reference.policy} episode`,
    );
  }
  if (s.gripper.earlyUndecided > c.UNDECIDED) {
    signs.push(
      `${percent(s.gripper.earlyUndecided)} of the first ${c.EARLY} gripper tokens are neither ` +
        "open nor close, which training data never hold",
    );
  }
  if (s.gripper.firstClose !== null && s.gripper.firstClose < c.EARLIEST_CLOSE) {
    const step = s.gripper.firstClose;
    signs.push(`the gripper closes at step ${step}, before the hand is near any object`);
  }
  if (!signs.length) return null;
  return {
    boundary: "prompt",
    evidence: `Picture, motion and scene check out, and yet ${signs.join("; ")}.`,
    nextStep:
      "Print the prompt with repr() and its token ids: In:/Out: scaffold, lower case, no period, " +
      "and the empty token (29871) at the end. If it is right to the last id, open " +
      "agentview.png: is something new in the scene, too small to show in a quarter's mean?",
  };
}

/** @type {Rule[]} In the order of the boundaries: pixels, motion, simulator. */
const MEASURED = [
  turned, colours, preparation, stale, motionScale, gripperMapping, rendering, unsettled,
];
