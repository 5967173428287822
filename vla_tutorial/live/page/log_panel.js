// The log: to download, and to judge.

import { diagnose } from "./diagnose.js";
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

  judge() {
    const boxes = this.app.stage.sides
      .filter((side) => side.lines.length)
      .map((side) => verdictBox(`Side ${side.view.letter}`, diagnose(side.lines, this.rules), side.events.length > 0));
    find("#verdicts").replaceChildren(...(boxes.length ? boxes : [h("p", {}, NOTHING)]));
  }

  async judgeFile() {
    const file = /** @type {HTMLInputElement} */ (find("#judge")).files?.[0];
    if (!file) return;
    try {
      const texts = (await file.text()).trim().split("\n");
      const found = diagnose(texts.map((text) => JSON.parse(text)), this.rules);
      find("#verdicts").replaceChildren(verdictBox(file.name, found));
    } catch {
      notice(`${file.name} is not a steps.jsonl file. Choose one that vla-tutorial rollout or this page wrote.`, "bad");
    }
  }
}
