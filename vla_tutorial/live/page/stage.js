// The one or two runs that are shown: their pictures, their steps, and the plots of both.

import { find } from "./dom.js";
import { tell } from "./embed.js";
import { pointer } from "./hands.js";
import { SideView } from "./side_view.js";
import { drawPlots } from "./view.js";

/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {{view: SideView, lines: LogLine[], texts: string[], success: boolean | null, events: {step: number, text: string}[]}} Side */

const WELCOME =
  "Everything runs in your browser: physics, camera and policy. The first time it loads about 25 MB.";

export class Stage {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    /** @type {Side[]} */ this.sides = [];
    this.drawing = false;
  }

  /** Make the sides that the experiment has. */
  rebuild() {
    const { app } = this;
    const box = find("#sides");
    box.replaceChildren();
    this.sides = app.experiment.sides.map((_, i) => {
      const say = (/** @type {string} */ text) => app.choices.say(i, text);
      const choose = (/** @type {string} */ policy) => app.choices.setPolicy(i, policy);
      const view = new SideView("AB"[i], { say, go: () => app.run.go(), choose }, Object.keys(app.manifest.policies));
      box.append(view.root);
      pointer(app, view, i);
      view.showVeil({ text: WELCOME, button: "Run it here" });
      return { view, lines: [], texts: [], success: null, events: [] };
    });
    box.dataset.count = String(this.sides.length);
    app.run.arranged = false;
    this.draw();
  }

  /** Veil all pictures, or none. @param {Parameters<SideView["showVeil"]>[0]} veil */
  veil(veil) {
    for (const { view } of this.sides) view.showVeil(veil);
  }

  /** Forget the steps of the last run. */
  forget() {
    for (const side of this.sides) {
      Object.assign(side, { lines: [], texts: [], success: null, events: [] });
      side.view.showVerdict(null, 0);
    }
  }

  /** Note at the present step what was done. @param {Side} side @param {string} text */
  mark(side, text) {
    if (side.lines.length) side.events.push({ step: side.lines.length, text });
  }

  /** Draw the plots, once a frame at most. */
  draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      drawPlots(this.sides.map(({ view, ...side }) => ({ letter: view.letter, ...side })));
    });
  }

  /** What the engine tells of one side. @param {any} event */
  onSide(event) {
    const side = this.sides["AB".indexOf(event.letter)];
    if (!side) return;
    if (event.event === "step") this.#onStep(side, event);
    else if (event.event === "look") this.#onLook(side, event);
    else if (event.event === "end") this.#onEnd(side, event);
  }

  /** @param {Side} side @param {any} event */
  #onStep(side, { line, text, shown, pixels, ms, prompt, ids }) {
    const { view } = side;
    side.lines.push(line);
    side.texts.push(`${text}\n`);
    tell({ type: "step", side: view.letter, line });
    view.showPicture(shown);
    view.showSeen(pixels);
    view.showPrompt(prompt, ids);
    view.showStep(line, ms);
    view.showVerdict(null, side.lines.length);
    this.draw();
  }

  /** @param {Side} side @param {any} event */
  #onLook({ view }, { shown, pixels, prompt, ids }) {
    view.showPicture(shown);
    if (pixels) view.showSeen(pixels);
    if (prompt !== undefined) view.showPrompt(prompt, ids);
  }

  /** @param {Side} side @param {any} event */
  #onEnd(side, { success, steps }) {
    side.success = success;
    side.view.showVerdict(success, steps);
    tell({ type: "end", side: side.view.letter, success, steps });
    this.draw();
  }

  /** @param {{what: string, done: number, all: number}} event bytes */
  onProgress({ what, done, all }) {
    // Where one file failed, others still come.
    if (find("#live").dataset.state !== "loading") return;
    const text = `Loading the ${what}: ${(done / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB`;
    this.veil({ text, share: all ? done / all : 0 });
  }
}
