/** `steps.jsonl`: the same bytes as Python writes for the same step (vla_tutorial/log.py). */
import { fixed } from "./numbers.js";

/** @typedef {Pick<import("./loop.js").Step, "step" | "pixels" | "action" | "reward" | "waiting" | "tokens" | "eefPos" | "gripperQpos">} Logged */

/** Version of the episode folder (vla_tutorial/record.py). */
export const EPISODE_FORMAT = 2;

/**
 * One line, without its newline.
 * @param {Logged} step
 */
export function stepLine(step) {
  const fields = {
    step: String(step.step),
    ...pictureFields(step.pixels),
    action: list(step.action, 6),
    reward: float(step.reward),
    tokens: `[${Array.from(step.tokens).join(", ")}]`,
    eef_pos: list(step.eefPos, 5),
    gripper_qpos: list(step.gripperQpos, 5),
    ...(step.waiting && { waiting: "true" }),
  };
  const texts = Object.entries(fields).map(([name, text]) => `"${name}": ${text}`);
  return `{${texts.join(", ")}}`;
}

/**
 * `episode.json`: how an episode ended and what it was. `vla-tutorial` reads its folder.
 * @param {object} about keys as `record.header` of Python has them
 * @param {{success: boolean | null, steps: number, seconds: number, first_close: number | null,
 *   closes: number}} result
 */
export function episodeJson(about, result) {
  return `${JSON.stringify({ format: EPISODE_FORMAT, ...result, ...about }, null, 1)}\n`;
}

/**
 * What a line says of the picture, in grey levels.
 * @param {Uint8Array} picture (n, n, 3), n even
 */
function pictureFields(picture) {
  const size = Math.sqrt(picture.length / 3);
  // Sums of whole numbers, so the order of adding changes nothing.
  const quarters = [0, 0, 0, 0];
  const channels = [0, 0, 0];
  let down = 0;
  let across = 0;
  for (let row = 0; row < size; row++) {
    for (let i = 0; i < 3 * size; i++) {
      const at = 3 * row * size + i;
      const level = picture[at];
      quarters[2 * Number(2 * row >= size) + Number(2 * i >= 3 * size)] += level;
      channels[i % 3] += level;
      if (row > 0) down += Math.abs(level - picture[at - 3 * size]);
      if (i > 2) across += Math.abs(level - picture[at - 3]);
    }
  }
  const sum = quarters.reduce((a, b) => a + b);
  const area = (size * size) / 4;
  const pairs = 3 * size * (size - 1);
  return {
    img_mean: rounded(sum / picture.length, 2),
    img_quarters: list(quarters.map((quarter) => quarter / (3 * area)), 2),
    img_channels: list(channels.map((channel) => (3 * channel) / picture.length), 2),
    img_sharpness: rounded(down / pairs + across / pairs, 2),
  };
}

/**
 * @param {ArrayLike<number>} numbers
 * @param {number} digits
 */
function list(numbers, digits) {
  return `[${Array.from(numbers, (x) => rounded(x, digits)).join(", ")}]`;
}

/**
 * Python's `round`, as its `json` writes it.
 * @param {number} x
 * @param {number} digits behind the point
 */
function rounded(x, digits) {
  return float(x === 0 ? x : Number(fixed(x, digits)));
}

/**
 * Python's `repr` of a float.
 * @param {number} x finite
 */
export function float(x) {
  if (Object.is(x, -0)) return "-0.0";
  const [mantissa, power = "0"] = x.toExponential().split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const sign = exponent < 0 ? "-" : "+";
    return `${mantissa}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const text = exponent < 0 ? x.toFixed(mantissa.replace(/[-.]/g, "").length - 1 - exponent) : String(x);
  return text.includes(".") ? text : `${text}.0`;
}
