// One side of the page: the picture, what the policy sees, its prompt, its tokens, and where time goes.

import { find, h } from "./dom.js";
import { repr } from "./numbers.js";
import { timeShares, tokenBins } from "./plots.js";
import { presetOf } from "./presets.js";

/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {import("./types").Shown} Shown */
/** @typedef {import("./types").StepTimes} StepTimes */

export class SideView {
  /**
   * @param {string} letter "A" or "B"
   * @param {{say: (sentence: string) => void, go: () => void, choose: (policy: string) => void}} on
   * @param {string[]} policies
   */
  constructor(letter, on, policies) {
    const template = /** @type {HTMLTemplateElement} */ (find("#side"));
    this.root = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.letter = letter;
    this.root.dataset.side = letter;
    this.root.setAttribute("aria-label", `Side ${letter}`);
    find(".badge", this.root).textContent = letter;
    this.picture = /** @type {HTMLCanvasElement} */ (find("canvas.picture", this.root));
    this.seen = /** @type {HTMLCanvasElement} */ (find(".sees canvas", this.root));
    this.sentence = /** @type {HTMLInputElement} */ (find(".sentence", this.root));
    find("form.say", this.root).addEventListener("submit", (event) => {
      event.preventDefault();
      on.say(this.sentence.value);
    });
    find(".go", this.root).addEventListener("click", on.go);
    this.policy = /** @type {HTMLSelectElement} */ (find(".policy select", this.root));
    this.policy.append(...policies.map((name) => h("option", { value: name }, name)));
    this.policy.addEventListener("change", () => on.choose(this.policy.value));
    find(".policy", this.root).hidden = policies.length < 2;
    this.bins = this.#makeBins();
    this.shares = ["physics", "picture", "policy"].map((name) => h("span", { class: `share ${name}` }));
    find(".shares", this.root).append(...this.shares);
  }

  #makeBins() {
    const list = find(".bins", this.root);
    const names = ["x", "y", "z", "roll", "pitch", "yaw", "grip"];
    return names.map((name) => {
      const mark = h("span", { class: "mark" });
      const value = h("span", { class: "value" });
      list.append(h("li", {}, h("span", { class: "name" }, name), h("span", { class: "track" }, mark), value));
      return { mark, value };
    });
  }

  /** The camera's picture. @param {Shown} shown */
  showPicture(shown) {
    drawTo(this.picture, shown);
    this.picture.setAttribute("aria-label", `Side ${this.letter}: the robot's camera, turned upright`);
  }

  /** What the policy sees, (224, 224, 3). @param {Uint8Array} rgb */
  showSeen(rgb) {
    drawTo(this.seen, { rgb, width: 224, height: 224, turned: false });
  }

  /** The prompt's text and how many token ids it has. @param {string} text @param {number} ids */
  showPrompt(text, ids) {
    const line = `${repr(text)}  → ${ids} token ids`;
    const box = find(".repr", this.root);
    if (box.textContent !== line) box.textContent = line;
  }

  /** Tokens and numbers of a step. @param {LogLine} line @param {StepTimes} ms */
  showStep(line, ms) {
    tokenBins(line).forEach((bin, i) => {
      const { mark, value } = this.bins[i];
      mark.style.left = `${100 * bin.share}%`;
      value.textContent = bin.text;
      value.title = `token ${bin.token}, bin ${bin.bin}`;
    });
    const parts = timeShares(ms);
    parts.forEach((part, i) => (this.shares[i].style.flexGrow = String(part.share)));
    const told = parts.map((part) => `${part.name} ${Math.round(part.ms)}`).join(" · ");
    const total = ms.physics + ms.picture + ms.policy;
    find(".shares-text", this.root).textContent = `${told} ms · ${(1000 / Math.max(total, 1)).toFixed(1)} steps a second`;
    find(".shares", this.root).setAttribute("aria-label", `Time of a step: ${told} milliseconds`);
  }

  /**
   * Which conditions are on.
   * @param {string[]} names
   * @param {Map<string, string>} broken boundary → what is wrong there, in words
   */
  showConditions(names, broken) {
    const preset = presetOf(names);
    find(".title", this.root).textContent = preset ? preset.label : names.join(" + ");
    for (const boundary of ["pixels", "prompt", "motion"]) {
      const card = find(`.card.${boundary}`, this.root);
      card.classList.toggle("broken", broken.has(boundary));
      find(".state", card).textContent = broken.get(boundary) ?? "";
    }
  }

  /** How it ended, or null while it runs. @param {boolean | null} success @param {number} steps */
  showVerdict(success, steps) {
    const box = find(".verdict", this.root);
    const words = success ? `✓ done at step ${steps}` : `✗ no success in ${steps} steps`;
    const text = success === null ? "" : words;
    if (box.textContent !== text) box.textContent = text;
    box.dataset.success = String(success);
    find(".count", this.root).textContent = steps ? `step ${steps}` : "";
  }

  /**
   * A veil over the picture, or none.
   * @param {{text: string, share?: number, button?: string} | null} veil
   */
  showVeil(veil) {
    const box = find(".veil", this.root);
    box.hidden = veil === null;
    if (!veil) return;
    find(".veil-text", box).textContent = veil.text;
    const bar = /** @type {HTMLProgressElement} */ (find("progress", box));
    bar.hidden = veil.share === undefined;
    bar.value = veil.share ?? 0;
    const go = find(".go", box);
    go.hidden = !veil.button;
    go.textContent = veil.button ?? "";
  }
}

/** Put an RGB picture on a canvas. @param {HTMLCanvasElement} canvas @param {Shown} shown */
function drawTo(canvas, { rgb, width, height, turned, flipped }) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const pen = canvas.getContext("2d");
  if (!pen) return;
  const image = pen.createImageData(width, height);
  const count = width * height;
  for (let k = 0; k < count; k++) {
    const mirrored = flipped ? count - width - k + 2 * (k % width) : k;
    const from = 3 * (turned ? count - 1 - k : mirrored);
    image.data[4 * k] = rgb[from];
    image.data[4 * k + 1] = rgb[from + 1];
    image.data[4 * k + 2] = rgb[from + 2];
    image.data[4 * k + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}
