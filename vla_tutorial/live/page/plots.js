// The growing plots as marks, which view.js turns into SVG: pure functions, so that they are tested.

import * as actions from "./actions.js";
import { closing, closingSteps, motion } from "./signatures.js";

/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {[tag: string, attributes: Record<string, string | number>, text?: string]} Mark */
/** @typedef {{letter: string, lines: LogLine[], success: boolean | null, events: {step: number, text: string}[]}} PlotSide */
/** @typedef {{title: string, height: number, low: number, high: number, ticks: [number, string][], stepped: boolean, of: (line: LogLine) => number}} Panel */

const LAST_BIN = actions.BIN_CENTERS.length - 1;

/** @type {Panel[]} */
const PANELS = [
  {
    title: "gripper command",
    height: 34,
    low: -1.3,
    high: 1.3,
    ticks: [[-1, "open"], [1, "close"]],
    stepped: true,
    of: (line) => line.action[6],
  },
  {
    title: "height of the hand, cm",
    height: 84,
    low: 0,
    high: 34,
    ticks: [[0, "0"], [10, "10"], [20, "20"], [30, "30"]],
    stepped: false,
    of: (line) => 100 * line.eef_pos[2],
  },
  {
    title: "commanded motion, 1 = full speed",
    height: 62,
    low: 0,
    high: 1.1,
    ticks: [[0, "0"], [0.5, "½"], [1, "1"]],
    stepped: false,
    of: motion,
  },
];

const LEFT = 44;
const RIGHT = 14;
const LANE = 20;
const TITLE = 20;
const GAP = 8;
const AXIS = 34;

/** Axis lengths in control steps; an episode of this suite has at most 280. */
const SPANS = [140, 280];

/** Steps that the time axis shows. @param {PlotSide[]} sides */
export function spanOf(sides) {
  const most = Math.max(...sides.map((side) => side.lines.length));
  return SPANS.find((span) => span >= most) ?? most;
}

/** Height of the whole drawing in pixels. @param {number} sides */
export function plotHeight(sides) {
  const panels = PANELS.reduce((total, panel) => total + TITLE + panel.height + GAP, 0);
  return 4 + sides * LANE + panels + AXIS;
}

/**
 * One lane a side (how long, first close, verdict), then the panels, then the time axis.
 * @param {PlotSide[]} sides
 * @param {number} width in pixels
 * @returns {Mark[]}
 */
export function episodePlot(sides, width) {
  const span = spanOf(sides);
  const inner = width - LEFT - RIGHT;
  const x = (/** @type {number} */ step) => LEFT + (inner * step) / span;
  const bottom = plotHeight(sides.length) - AXIS;
  /** @type {Mark[]} */
  const marks = [];
  let top = 4;
  for (const side of sides) {
    marks.push(...lane(side, x, top, bottom, width));
    top += LANE;
  }
  for (const panel of PANELS) {
    marks.push(...panelMarks(panel, sides, x, top, inner));
    top += TITLE + panel.height + GAP;
  }
  marks.push(...axis(x, span, inner, bottom));
  return marks;
}

/** @param {PlotSide} side @param {(step: number) => number} x @param {number} top @param {number} bottom @param {number} width @returns {Mark[]} */
function lane(side, x, top, bottom, width) {
  const who = `side-${side.letter}`;
  const middle = top + LANE / 2;
  const end = x(side.lines.length);
  /** @type {Mark[]} */
  const marks = [
    ["text", { x: LEFT - 8, y: middle + 4, class: `end ${who}`, "text-anchor": "end" }, side.letter],
    ["line", { x1: x(0), x2: end, y1: middle, y2: middle, class: `life ${who}` }],
  ];
  for (const { step, text } of side.events) {
    const at = x(step);
    const late = at > width - 150;
    marks.push(["line", { x1: at, x2: at, y1: middle - 6, y2: bottom, class: `event ${who}` }]);
    const place = { x: at + (late ? -5 : 5), y: middle + 4, "text-anchor": late ? "end" : "start" };
    marks.push(["text", { ...place, class: `note ${who}` }, text]);
  }
  const closes = closingSteps(side.lines);
  if (closes.length) {
    const at = x(closes[0]);
    marks.push(["line", { x1: at, x2: at, y1: middle, y2: bottom, class: `close ${who}` }]);
    marks.push(["circle", { cx: at, cy: middle, r: 4.5, class: `dot ${who}` }]);
  }
  if (side.success !== null) {
    const words = side.success ? `✓ ${side.lines.length}` : `✗ ${side.lines.length}`;
    const full = end > width - 60;
    const place = { x: full ? end : end + 6, y: full ? middle - 4 : middle + 4 };
    marks.push(["text", { ...place, class: `end ${who}`, "text-anchor": full ? "end" : "start" }, words]);
  }
  return marks;
}

/** @param {Panel} base @param {PlotSide[]} sides @param {(step: number) => number} x @param {number} top @param {number} inner @returns {Mark[]} */
function panelMarks(base, sides, x, top, inner) {
  const values = base.stepped ? [] : sides.flatMap((side) => side.lines.map(base.of));
  const panel = { ...base, high: Math.max(base.high, ...values) };
  const above = top + TITLE;
  const clip = (/** @type {number} */ v) => Math.min(Math.max(v, panel.low), panel.high);
  const y = (/** @type {number} */ v) =>
    above + (panel.height * (panel.high - clip(v))) / (panel.high - panel.low);
  /** @type {Mark[]} */
  const marks = [["text", { x: LEFT, y: top + 14, class: "name" }, panel.title]];
  for (const [value, label] of panel.ticks) {
    marks.push(["line", { x1: LEFT, x2: LEFT + inner, y1: y(value), y2: y(value), class: "grid" }]);
    marks.push(["text", { x: LEFT - 7, y: y(value) + 4, class: "tick", "text-anchor": "end" }, label]);
  }
  for (const side of sides) {
    const d = linePath(side.lines.map(panel.of), x, y, panel.stepped);
    if (d) marks.push(["path", { d, class: `line side-${side.letter}` }]);
  }
  return marks;
}

/** @param {(step: number) => number} x @param {number} span @param {number} inner @param {number} bottom @returns {Mark[]} */
function axis(x, span, inner, bottom) {
  const every = [20, 40, 100].find((n) => (inner * n) / span > 40) ?? 140;
  /** @type {Mark[]} */
  const marks = [];
  for (let step = 0; step <= span; step += every) {
    marks.push(["line", { x1: x(step), x2: x(step), y1: bottom, y2: bottom + 4, class: "grid" }]);
    marks.push(["text", { x: x(step), y: bottom + 16, class: "tick", "text-anchor": "middle" }, `${step}`]);
  }
  const place = { x: LEFT + inner, y: bottom + 31, class: "tick", "text-anchor": "end" };
  marks.push(["text", place, "control step, 20 a second in the robot's time"]);
  return marks;
}

/**
 * A curve as an SVG path; "" where there is nothing to draw.
 * @param {number[]} values
 * @param {(step: number) => number} x
 * @param {(value: number) => number} y
 * @param {boolean} stepped each value holds until the next one
 */
export function linePath(values, x, y, stepped) {
  let path = "";
  values.forEach((value, k) => {
    const at = [x(k).toFixed(1), y(value).toFixed(1)];
    if (k === 0) path = `M${at[0]} ${at[1]}`;
    else path += stepped ? `H${at[0]}V${at[1]}` : `L${at[0]} ${at[1]}`;
  });
  return path && stepped ? `${path}H${x(values.length).toFixed(1)}` : path;
}

/** Names of an action's seven numbers. */
export const DIMENSIONS = ["x", "y", "z", "roll", "pitch", "yaw", "grip"];

/**
 * The seven tokens as bins: place in its range (0 … 1), and the number that the arm gets.
 * @param {LogLine} line
 */
export function tokenBins(line) {
  return actions.tokenBins(line.tokens).map((bin, i) => {
    const value = line.action[i];
    const gripper = closing(line) ? "close" : value < 0 ? "open" : "stay";
    return {
      name: DIMENSIONS[i],
      token: line.tokens[i],
      bin,
      share: bin / LAST_BIN,
      text: i === 6 ? gripper : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`,
    };
  });
}

/**
 * The tokens of an episode as a picture, a row a dimension and a column a step: RGBA bytes.
 * Purple is the low end of a dimension's range, green the high end.
 * @param {LogLine[]} lines at least one
 */
export function tokenRaster(lines) {
  const pixels = new Uint8ClampedArray(4 * 7 * lines.length);
  lines.forEach((line, step) => {
    actions.tokenBins(line.tokens).forEach((bin, row) => {
      const level = (2 * bin) / LAST_BIN - 1;
      const colour = level < 0 ? [150, 70, 180] : [20, 150, 80];
      const alpha = Math.round(20 + 235 * Math.abs(level) ** 0.8);
      pixels.set([...colour, alpha], 4 * (row * lines.length + step));
    });
  });
  return pixels;
}

/**
 * How a step's time is spent, as shares of the whole that add up to 1.
 * @param {{physics: number, picture: number, policy: number}} ms
 */
export function timeShares(ms) {
  const total = ms.physics + ms.picture + ms.policy;
  const parts = /** @type {const} */ (["physics", "picture", "policy"]);
  return parts.map((name) => ({ name, ms: ms[name], share: total > 0 ? ms[name] / total : 0 }));
}
