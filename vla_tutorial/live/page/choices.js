// Choosing: suite, task, start, policy, conditions, sentence, sliders. Each choice changes the experiment and its address.

import { find, h } from "./dom.js";
import { FIRST } from "./share.js";
import * as view from "./view.js";

/** @typedef {import("./types").SideChoice} SideChoice */
/** @typedef {import("./types").Tweaks} Tweaks */

const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (find(`#${id}`));

export class Choices {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    /** The suite that the controls are for. @type {string | null} */ this.opened = null;
    /** Suite and policies of which the last warning was. @type {string | null} */ this.warned = null;
  }

  /** Make the controls for what the manifest has. */
  open() {
    /** @type {string[]} */
    const suites = this.app.manifest.suites.map((/** @type {any} */ one) => one.suite);
    this.presets = view.makePresets((names) => this.choosePreset(names));
    this.sliders = view.makeSliders((tweaks) => this.tweak(tweaks));
    find("#suite").append(...suites.map((suite) => h("option", { value: suite }, suite)));
    find(".suite").hidden = suites.length < 2;
  }

  /** Make the controls for what the suite has. */
  #openSuite() {
    const { suite, conditions, tasks, initialStates } = this.app.suite;
    if (this.opened === suite) return;
    this.opened = suite;
    this.switches = view.makeSwitches(conditions, (...given) => this.flip(...given));
    find("#task").replaceChildren(...tasks.map((one) => h("option", { value: one.task }, one.instruction)));
    field("init").max = String(initialStates - 1);
  }

  /** Show the experiment in all controls. */
  show() {
    const { suite, task, init, sides, tweaks } = this.app.experiment;
    this.#openSuite();
    this.#showLayout();
    field("suite").value = suite;
    field("task").value = String(task);
    field("init").value = String(init);
    field("compare").checked = sides.length === 2;
    this.presets?.(sides[sides.length - 1].conditions);
    this.switches?.(this.app.experiment, this.#task?.refusals ?? {});
    this.sliders?.(tweaks, this.#movesObject);
    sides.forEach((side, i) => {
      const { view: one } = this.app.stage.sides[i];
      one.sentence.value = side.sentence ?? this.#ownSentence ?? "";
      one.policy.value = side.policy;
      one.showConditions(side.conditions, this.#brokenBy(side.conditions));
    });
  }

  get #task() {
    const { task } = this.app.experiment;
    return this.app.suite.tasks.find((one) => one.task === task);
  }

  /** Whether the task's goal moves an object: such a part names it and a place. */
  get #movesObject() {
    return (this.#task?.goal ?? []).some((part) => part.length > 2);
  }

  get #layout() {
    const { layout } = this.app.experiment;
    return this.#task?.layouts.find((one) => one.seed === layout);
  }

  /** @returns {string | undefined} */
  get #ownSentence() {
    return (this.#layout ?? this.#task)?.instruction;
  }

  #showLayout() {
    const layout = this.#layout;
    const { suite } = this.app.experiment;
    const whose = suite === FIRST.suite ? "" : `--suite ${suite} `;
    const again = `vla-tutorial sweep ${whose}--tasks ${this.#task?.task} --layouts ${layout?.seed}`;
    find("#random").setAttribute("aria-pressed", String(layout !== undefined));
    find("#layout-says").textContent = layout
      ? `The instruction of random layout ${layout.seed} is: ${layout.instruction}. It is seed ${layout.seed} of “${again}”.`
      : "";
  }

  /** Boundary → what is wrong there. @param {string[]} names @returns {Map<string, string>} */
  #brokenBy(names) {
    const broken = new Map();
    for (const name of names) {
      const { boundary, teaches } = /** @type {import("./conditions.js").Condition} */ (this.app.conditions.get(name));
      broken.set(boundary, [broken.get(boundary), teaches].filter(Boolean).join(" "));
    }
    return broken;
  }

  /** Switch off what the task cannot have, and say why; say what a policy does not know. */
  fit() {
    const { suite, sides } = this.app.experiment;
    const refusals = this.#task?.refusals ?? {};
    for (const side of sides) {
      side.conditions = side.conditions.filter((name) => {
        const entry = this.app.conditions.get(name);
        const why = refusals[name] ?? (entry?.supported ? "" : `${suite} does not have it.`);
        if (why) view.notice(`${name} was switched off. ${why}`);
        return !why;
      });
    }
    const policies = [...new Set(sides.map((side) => side.policy))];
    const now = [suite, ...policies].join();
    if (this.warned === now) return;
    this.warned = now;
    for (const policy of policies) {
      const warning = this.app.manifest.policies[policy].warnings[suite];
      if (warning) view.notice(warning);
    }
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
    const { experiment } = this.app;
    const count = this.app.suite.initialStates;
    experiment.init = ((Math.round(init) || 0) + count) % count;
    field("init").value = String(experiment.init);
    if (experiment.layout === null) this.app.address.keep();
    else this.#setLayout(null);
    this.#restart();
  }

  /** Another layout than the present one, by chance. */
  randomLayout() {
    const seeds = (this.#task?.layouts ?? []).map((layout) => layout.seed);
    const others = seeds.filter((seed) => seed !== this.app.experiment.layout);
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
    this.fit();
    this.#changed();
    this.#restart();
  }

  /** The first task of another suite. @param {string} suite */
  setSuite(suite) {
    const { experiment } = this.app;
    Object.assign(experiment, { suite, init: 0, layout: null });
    this.setTask(this.app.suite.tasks[0].task);
  }

  /** Let another policy act, from the start. @param {number} i @param {string} policy */
  setPolicy(i, policy) {
    const { sides } = this.app.experiment;
    sides[i] = { ...sides[i], policy };
    this.fit();
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
    const plain = { conditions: [], sentence: null, policy: last.policy };
    app.experiment.sides = on ? [plain, last] : [last];
    const begun = app.run.arranged;
    app.stage.rebuild();
    this.#changed();
    if (begun) app.act(() => app.run.restart());
  }
}
