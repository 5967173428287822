// The log: to download, and to judge.

import { diagnose, rulesFor } from "./diagnose.js";
import { download, find, h } from "./dom.js";
import { notice, verdictBox } from "./view.js";

const NOTHING = "Nothing has run yet: press Play first.";

export class LogPanel {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    /** @type {any} */ this.rules = null;
  }

  /** Read what the rules compare with. */
  async open() {
    this.rules = await (await fetch("data/diagnosis.json")).json();
  }

  downloadSteps() {
    for (const side of this.app.stage.sides) {
      if (side.texts.length) download("steps.jsonl", side.texts.join(""));
      else notice(`Side ${side.view.letter} has no step yet: press Play first.`);
    }
  }

  async downloadEpisode() {
    const { run, stage, engine } = this.app;
    if (!run.arranged) return notice(NOTHING);
    const seconds = Math.round(performance.now() - run.began) / 1000;
    for (const i of stage.sides.keys()) {
      download("episode.json", await engine.call("episodeJson", i, seconds));
    }
  }

  /** A verdict on a log, or that there is none. @param {string} whose @param {import("./types").LogLine[]} lines @param {number} i side whose policy acted @param {boolean} [changed] */
  #verdict(whose, lines, i, changed) {
    const { suite, sides } = this.app.experiment;
    const data = rulesFor(this.rules, this.app.suite, sides[i].policy);
    if (data) return verdictBox(whose, diagnose(lines, data), changed);
    return h("p", {}, `${whose}: there is no reference for ${suite} yet, so the page cannot say which boundary broke.`);
  }

  judge() {
    const boxes = this.app.stage.sides.flatMap(({ view, lines, events }, i) =>
      lines.length ? [this.#verdict(`Side ${view.letter}`, lines, i, events.length > 0)] : [],
    );
    find("#verdicts").replaceChildren(...(boxes.length ? boxes : [h("p", {}, NOTHING)]));
  }

  async judgeFile() {
    const file = /** @type {HTMLInputElement} */ (find("#judge")).files?.[0];
    if (!file) return;
    try {
      const texts = (await file.text()).trim().split("\n");
      const lines = texts.map((text) => JSON.parse(text));
      find("#verdicts").replaceChildren(this.#verdict(file.name, lines, this.app.stage.sides.length - 1));
    } catch {
      notice(`${file.name} is not a steps.jsonl file. Choose one that vla-tutorial rollout or this page wrote.`, "bad");
    }
  }
}
