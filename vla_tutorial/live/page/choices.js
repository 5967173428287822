// Choosing: task, start, conditions, sentence, sliders. Each choice changes the experiment and its address.

import { find, h } from "./dom.js";
import * as view from "./view.js";

/** @typedef {import("./types").SideChoice} SideChoice */
/** @typedef {import("./types").Tweaks} Tweaks */

const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (find(`#${id}`));

export class Choices {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
  }

  /** Make the controls for what the manifest has. */
  open() {
    const { tasks, conditions } = this.app.manifest;
    this.presets = view.makePresets((names) => this.choosePreset(names));
    this.switches = view.makeSwitches(conditions, (...given) => this.flip(...given));
    this.sliders = view.makeSliders((tweaks) => this.tweak(tweaks));
    const options = tasks.map((/** @type {any} */ t) => h("option", { value: t.task }, t.instruction));
    find("#task").append(...options);
  }

  /** Show the experiment in all controls. */
  show() {
    const { task, init, sides, tweaks } = this.app.experiment;
    this.#showLayout();
    field("task").value = String(task);
    field("init").value = String(init);
    field("compare").checked = sides.length === 2;
    this.presets?.(sides[sides.length - 1].conditions);
    this.switches?.(this.app.experiment);
    this.sliders?.(tweaks);
    sides.forEach((side, i) => {
      const { view: one } = this.app.stage.sides[i];
      one.sentence.value = side.sentence ?? this.#ownSentence ?? "";
      one.showConditions(side.conditions, this.#brokenBy(side.conditions));
    });
  }

  get #task() {
    const { task } = this.app.experiment;
    return this.app.manifest.tasks.find((/** @type {any} */ t) => t.task === task);
  }

  get #layout() {
    const { layout } = this.app.experiment;
    return this.#task?.layouts.find((/** @type {any} */ one) => one.seed === layout);
  }

  /** @returns {string | undefined} */
  get #ownSentence() {
    return (this.#layout ?? this.#task)?.instruction;
  }

  #showLayout() {
    const layout = this.#layout;
    const again = `vla-tutorial sweep --tasks ${this.#task?.task} --layouts ${layout?.seed}`;
    find("#random").setAttribute("aria-pressed", String(layout !== undefined));
    find("#layout-says").textContent = layout
      ? `The instruction of random layout ${layout.seed} is: ${layout.instruction}. It is seed ${layout.seed} of “${again}”.`
      : "";
  }

  /** Boundary → what is wrong there. @param {string[]} names @returns {Map<string, string>} */
  #brokenBy(names) {
    const broken = new Map();
    for (const name of names) {
      const { boundary, teaches } = this.app.conditions.get(name);
      broken.set(boundary, [broken.get(boundary), teaches].filter(Boolean).join(" "));
    }
    return broken;
  }

  /** @param {string[]} conditions */
  choosePreset(conditions) {
    const { experiment, run } = this.app;
    const last = experiment.sides.length - 1;
    this.choose(last, { ...experiment.sides[last], conditions });
    if (!run.arranged && find("#live").dataset.state === "idle") run.go();
  }

  /** @param {number} i @param {string} name @param {boolean} on */
  flip(i, name, on) {
    const side = this.app.experiment.sides[i];
    const others = side.conditions.filter((other) => other !== name);
    const clash = on ? others.filter((other) => this.#clashes(other, name)) : [];
    for (const other of clash) view.notice(`${other} was switched off, because ${name} changes the same setting.`);
    const kept = others.filter((other) => !clash.includes(other));
    this.choose(i, { ...side, conditions: on ? [...kept, name] : kept });
  }

  /** @param {string} a @param {string} b */
  #clashes(a, b) {
    const settings = (/** @type {string} */ name) => Object.keys(this.app.conditions.get(name)?.changes ?? {});
    return settings(a).some((setting) => settings(b).includes(setting));
  }

  /** @param {number} i @param {SideChoice} choice */
  choose(i, choice) {
    const { experiment, engine, run, stage } = this.app;
    const before = experiment.sides[i];
    experiment.sides[i] = choice;
    this.#changed();
    this.#markChanges(stage.sides[i], before, choice);
    if (!run.arranged) return;
    engine.call("choose", i, choice).catch((error) => {
      view.notice(error.message, "bad");
      experiment.sides[i] = before;
      this.#changed();
    });
  }

  #changed() {
    this.show();
    this.app.address.keep();
  }

  /** @param {import("./stage.js").Side} side @param {SideChoice} before @param {SideChoice} now */
  #markChanges(side, before, now) {
    const on = now.conditions.filter((name) => !before.conditions.includes(name));
    const off = before.conditions.filter((name) => !now.conditions.includes(name));
    const words = [...on.map((name) => `${name} on`), ...off.map((name) => `${name} off`)];
    if (before.sentence !== now.sentence) words.push("new sentence");
    if (words.length) this.app.stage.mark(side, words.join(", "));
    const late = [...on, ...off].filter((name) => this.app.conditions.get(name)?.appliesAt === "reset");
    if (late.length && side.lines.length) view.notice(`Press Restart: ${late.join(", ")} can only act from the beginning of an episode.`);
  }

  /** @param {number} i @param {string} sentence */
  say(i, sentence) {
    const own = sentence === this.#ownSentence;
    this.choose(i, { ...this.app.experiment.sides[i], sentence: own ? null : sentence });
  }

  /** @param {Partial<Tweaks>} tweaks */
  tweak(tweaks) {
    const { app } = this;
    app.experiment.tweaks = { ...app.experiment.tweaks, ...tweaks };
    app.address.keep();
    if (app.run.arranged) app.act(() => app.engine.call("tweak", app.experiment.tweaks));
  }

  /** @param {number} init */
  setInit(init) {
    const { experiment, manifest } = this.app;
    const count = manifest.initialStates;
    experiment.init = ((Math.round(init) || 0) + count) % count;
    field("init").value = String(experiment.init);
    if (experiment.layout === null) this.app.address.keep();
    else this.#setLayout(null);
    this.#restart();
  }

  /** Another layout than the present one, by chance. */
  randomLayout() {
    const seeds = this.#task.layouts.map((/** @type {any} */ layout) => layout.seed);
    const others = seeds.filter((/** @type {number} */ seed) => seed !== this.app.experiment.layout);
    this.#setLayout(others[Math.floor(Math.random() * others.length)]);
    this.#restart();
  }

  /** A layout asks for something else, so the reader's own sentences go. @param {number | null} seed */
  #setLayout(seed) {
    const { experiment } = this.app;
    experiment.layout = seed;
    for (const side of experiment.sides) side.sentence = null;
    this.#changed();
  }

  /** @param {number} task */
  setTask(task) {
    const { experiment } = this.app;
    experiment.task = task;
    for (const side of experiment.sides) side.sentence = null;
    this.#changed();
    this.#restart();
  }

  #restart() {
    if (this.app.run.arranged) this.app.act(() => this.app.run.restart());
  }

  /** Two beside each other: A with published settings, B with what was there. @param {boolean} on */
  compare(on) {
    const { app } = this;
    const { sides } = app.experiment;
    const last = sides[sides.length - 1];
    const plain = { conditions: [], sentence: null };
    app.experiment.sides = on ? [plain, last] : [last];
    const begun = app.run.arranged;
    app.stage.rebuild();
    this.#changed();
    if (begun) app.act(() => app.run.restart());
  }
}
