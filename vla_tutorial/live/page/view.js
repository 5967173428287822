// The parts of the page that are made from data: presets, switches, sliders, plots, tables, notices.

import { find, h, svg } from "./dom.js";
import { fixed } from "./numbers.js";
import { episodePlot, plotHeight, spanOf, tokenRaster } from "./plots.js";
import { BOUNDARIES, PRESETS, SLIDERS, presetOf } from "./presets.js";

/** @typedef {import("./types").ConditionEntry} ConditionEntry */
/** @typedef {import("./types").Experiment} Experiment */
/** @typedef {import("./types").TableRow} TableRow */
/** @typedef {import("./types").Tweaks} Tweaks */

/** Say something in one sentence above everything. @param {string} text @param {"" | "bad"} [kind] */
export function notice(text, kind = "") {
  const close = h("button", { type: "button", "aria-label": "Close", onclick: () => box.remove() }, "×");
  const box = h("p", { class: `notice ${kind}` }, h("span", {}, text), close);
  const list = find("#notices");
  for (const old of [...list.children]) if (old.firstChild?.textContent === text) old.remove();
  list.append(box);
  while (list.children.length > 3) list.firstElementChild?.remove();
}

/** The large buttons. @param {(conditions: string[]) => void} choose */
export function makePresets(choose) {
  const buttons = PRESETS.map((preset) =>
    h(
      "button",
      { type: "button", class: `preset ${preset.boundary}`, "aria-pressed": "false", onclick: () => choose(preset.conditions) },
      h("strong", {}, preset.label),
      h("span", {}, preset.says),
    ),
  );
  find("#presets").append(h("div", { class: "preset-row" }, ...buttons));
  return (/** @type {string[]} */ conditions) => {
    const now = presetOf(conditions);
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(PRESETS[i] === now)));
  };
}

/**
 * A switch for each condition and side, by boundary. Those that do not apply to the task are hidden.
 * @param {ConditionEntry[]} conditions
 * @param {(side: number, name: string, on: boolean) => void} flip
 */
export function makeSwitches(conditions, flip) {
  const groups = Object.entries(BOUNDARIES).map(([boundary, title]) => {
    const rows = conditions.filter((c) => c.boundary === boundary).map((c) => switchRow(c, flip));
    return h("fieldset", {}, h("legend", {}, title), ...rows);
  });
  find("#switches").replaceChildren(...groups);
  return (/** @type {Experiment} */ { sides }, /** @type {Record<string, string>} */ refusals) => {
    for (const row of document.querySelectorAll("#switches .switch")) {
      const [input] = row.getElementsByTagName("input");
      /** @type {HTMLElement} */ (row).hidden = String(input.dataset.condition) in refusals;
    }
    for (const box of document.querySelectorAll("#switches input")) {
      const input = /** @type {HTMLInputElement} */ (box);
      const side = sides[Number(input.dataset.side)];
      input.checked = side?.conditions.includes(String(input.dataset.condition)) ?? false;
      input.hidden = !side;
    }
  };
}

/** @param {ConditionEntry} c @param {(side: number, name: string, on: boolean) => void} flip */
function switchRow(c, flip) {
  const boxes = [0, 1].map((side) =>
    h("input", {
      type: "checkbox",
      class: `side-${"AB"[side]}`,
      "data-side": side,
      "data-condition": c.name,
      "aria-label": `${"AB"[side]}: ${c.name}`,
      disabled: !c.supported,
      onchange: (event) => flip(side, c.name, event.target.checked),
    }),
  );
  const late = c.appliesAt === "reset" && h("em", {}, " at restart");
  const why = c.supported ? `${c.teaches} ${c.note}` : c.note;
  return h("div", { class: "switch" }, ...boxes, h("div", {}, h("code", {}, c.name), late, h("p", {}, why)));
}

/** Sliders with the trained range marked; weight is hidden where the goal moves no object. @param {(tweaks: Partial<Tweaks>) => void} move */
export function makeSliders(move) {
  const made = SLIDERS.map((slider) => {
    const { name, low, high, step, usual } = slider;
    const id = `slider-${name}`;
    const input = h("input", { type: "range", id, min: low, max: high, step, value: usual, oninput: () => {
      output.textContent = told(slider, Number(input.value));
      move({ [name]: Number(input.value) });
    } });
    const output = h("output", { for: id }, told(slider, usual));
    const reset = h("button", { type: "button", "aria-label": `reset: ${slider.label}`, onclick: () => {
      input.value = String(usual);
      output.textContent = told(slider, usual);
      move({ [name]: null });
    } }, "reset");
    const share = (/** @type {number} */ value) => (value - low) / (high - low);
    const trained = h("span", { class: "trained" });
    trained.style.left = `${100 * share(slider.trained[0])}%`;
    trained.style.width = `${Math.max(100 * (share(slider.trained[1]) - share(slider.trained[0])), 1)}%`;
    const row = h("div", { class: "slider" }, h("label", { for: id }, slider.label), output, reset,
      h("div", { class: "rail" }, h("div", { class: "ruler" }, trained), input), h("small", {}, slider.says));
    find("#sliders").append(row);
    return { slider, row, input, output };
  });
  return (/** @type {Tweaks} */ tweaks, /** @type {boolean} */ movesObject) => {
    for (const { slider, row, input, output } of made) {
      row.hidden = slider.name === "mass" && !movesObject;
      const value = tweaks[slider.name] ?? slider.usual;
      input.value = String(value);
      output.textContent = told(slider, value);
    }
  };
}

/** @param {(typeof SLIDERS)[number]} slider @param {number} value */
const told = (slider, value) => `${Number.isInteger(value) ? value : fixed(value, 2)}${slider.unit}`;

/** The growing curves and the tokens of each side. @param {import("./plots").PlotSide[]} sides */
export function drawPlots(sides) {
  const box = find("#plot");
  const width = Math.max(box.clientWidth, 280);
  const height = plotHeight(sides.length);
  const drawing = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": inWords(sides) });
  for (const [tag, attributes, text] of episodePlot(sides, width)) drawing.append(svg(tag, attributes, text));
  box.replaceChildren(drawing);
  drawRasters(sides);
}

/** @param {import("./plots").PlotSide[]} sides */
function inWords(sides) {
  return sides
    .map(({ letter, lines }) => {
      const last = lines[lines.length - 1];
      if (!last) return `Side ${letter} has not begun.`;
      return `Side ${letter}: ${lines.length} steps; the hand is ${fixed(100 * last.eef_pos[2], 0)} cm high.`;
    })
    .join(" ");
}

/** @param {import("./plots").PlotSide[]} sides */
function drawRasters(sides) {
  const box = find("#rasters");
  while (box.children.length < sides.length) {
    const canvas = h("canvas", { height: 7, role: "img" });
    box.append(h("figure", {}, canvas, h("figcaption", {})));
  }
  while (box.children.length > sides.length) box.lastElementChild?.remove();
  sides.forEach(({ letter, lines }, i) => {
    const figure = box.children[i];
    const canvas = /** @type {HTMLCanvasElement} */ (find("canvas", figure));
    canvas.setAttribute("aria-label", `The seven tokens of side ${letter} at each step, as colours`);
    find("figcaption", figure).textContent = `the seven tokens of ${letter}, a row each: purple is the low end of its range, green the high end`;
    if (!lines.length) {
      canvas.width = 1;
      return;
    }
    canvas.width = lines.length;
    canvas.style.width = `${(100 * lines.length) / spanOf(sides)}%`;
    canvas.getContext("2d")?.putImageData(new ImageData(tokenRaster(lines), lines.length, 7), 0, 0);
  });
}

/** The sweep's table. @param {TableRow[]} rows */
export function drawTable(rows) {
  const table = find("#results");
  table.hidden = rows.length === 0;
  find("tbody", table).replaceChildren(...rows.map(tableRow));
}

/** @param {TableRow} row */
function tableRow({ condition, planned, done, errors, successes, interval, paired }) {
  const broke = errors ? `, ${errors} broke` : "";
  const bar = h("span", { class: "interval" });
  let range = "–";
  if (interval) {
    const span = h("span", { class: "span" });
    span.style.left = `${100 * interval.low}%`;
    span.style.width = `${100 * (interval.high - interval.low)}%`;
    const dot = h("span", { class: "dot" });
    dot.style.left = `${(100 * successes) / done}%`;
    bar.append(span, dot);
    range = `${fixed(100 * interval.low, 0)} to ${fixed(100 * interval.high, 0)} %`;
  }
  let against = "–";
  if (paired) {
    const p = paired.pValue < 0.001 ? "p < 0.001" : `p = ${fixed(paired.pValue, 3)}`;
    against = `${paired.onlyFirst} lost, ${paired.onlyThis} won of ${paired.pairs}; ${p}`;
  }
  const rate = done ? `${successes} of ${done}` : "–";
  return h("tr", {}, h("th", { scope: "row" }, h("code", {}, condition)), h("td", {}, `${done} of ${planned}${broke}`),
    h("td", {}, rate), h("td", {}, bar, range), h("td", {}, against));
}

/**
 * A verdict of `diagnose`.
 * @param {string} whose
 * @param {import("./diagnose").Diagnosis} found
 * @param {boolean} [changed] whether something was changed while the episode ran
 */
export function verdictBox(whose, found, changed = false) {
  const mixed = "Something was changed while this episode ran, but the rules mostly look at its first steps. Press Restart for a verdict on one setting.";
  const wrong = found.verdict !== "nothing wrong";
  return h("article", { class: `diagnosis ${wrong ? "wrong" : "fine"}` },
    h("h3", {}, `${whose}: ${wrong ? `suspected: ${found.verdict}` : "nothing wrong"}`),
    h("ul", {}, ...found.evidence.map((sentence) => h("li", {}, sentence))),
    h("p", {}, h("strong", {}, "Next: "), found.nextStep),
    changed && h("p", { class: "soft" }, mixed),
    ...found.notes.map((note) => h("p", { class: "soft" }, note)));
}
