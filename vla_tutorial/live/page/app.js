// The page: what a reader does becomes an experiment, the engine runs it, and views show it.

import { diagnose } from "./diagnose.js";
import { download, find, h } from "./dom.js";
import { embed, embedded, tell } from "./embed.js";
import { EngineClient } from "./engine_client.js";
import { keyboard, pointer } from "./hands.js";
import { Measure } from "./measure.js";
import { forgetKept, registerServiceWorker } from "./offline.js";
import { fromLink, published, toLink } from "./share.js";
import { SideView } from "./side_view.js";
import * as view from "./view.js";

/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {{view: SideView, lines: LogLine[], texts: string[], success: boolean | null, events: {step: number, text: string}[]}} Side */

const $ = (/** @type {string} */ id) => find(`#${id}`);
const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id));

class App {
  constructor() {
    this.engine = new EngineClient((event) => this.#onEvent(event));
    this.experiment = published();
    /** @type {any} */ this.manifest = null;
    /** @type {any} */ this.rules = null;
    /** @type {Side[]} */ this.sides = [];
    this.arranged = false;
    this.playing = false;
    this.drawing = false;
    this.lookAround = false;
    /** The body that is held. @type {string | null} */ this.held = null;
    this.began = 0;
    /** @type {any} */ this.serving = null;
    /** @type {Map<string, any>} */ this.boundaries = new Map();
    this.measure = new Measure(this);
    this.presets = view.makePresets((conditions) => this.choosePreset(conditions));
  }

  /** Read what there is, and show the first state without loading anything heavy. */
  async open() {
    this.manifest = await this.engine.call("open");
    this.rules = await (await fetch("data/diagnosis.json")).json();
    for (const condition of this.manifest.conditions) this.boundaries.set(condition.name, condition);
    this.switches = view.makeSwitches(this.manifest.conditions, (...given) => this.flip(...given));
    this.sliders = view.makeSliders((tweaks) => this.tweak(tweaks));
    $("task").append(...this.manifest.tasks.map((/** @type {any} */ t) => h("option", { value: t.task }, t.instruction)));
    this.#listen();
    this.#fromAddress();
    this.#showFoot();
    embed(this);
    this.measure.open();
    $("live").dataset.state = "idle";
    const asked = new URLSearchParams(location.hash.slice(1));
    const open = asked.get("open");
    for (const part of document.querySelectorAll("details")) if (part.id === open) part.open = true;
    if (asked.has("run")) await this.go();
  }

  get known() {
    const { tasks, conditions, versions, initialStates } = this.manifest;
    return {
      version: versions.vla_tutorial,
      tasks: tasks.map((/** @type {any} */ t) => t.task),
      inits: initialStates,
      conditions: conditions.filter((/** @type {any} */ c) => c.supported).map((/** @type {any} */ c) => c.name),
    };
  }

  #showFoot() {
    const { versions } = this.manifest;
    const threads = crossOriginIsolated
      ? "as many threads as help"
      : "one thread (this page is not isolated, so it may not have more)";
    $("about").textContent =
      `Physics: MuJoCo ${versions.mujocoInPage ?? "3.3.8"} (npm mujoco-js ${versions["mujoco-js"]}); the library is pinned to ${versions.mujoco}. ` +
      `Policy: onnxruntime-web ${versions["onnxruntime-web"]}, ${threads}.`;
    $("book").hidden = embedded || !location.pathname.includes("/live/");
    $("large").hidden = !embedded;
  }

  #fromAddress() {
    const { experiment, notes } = fromLink(location.hash, this.known);
    this.experiment = experiment;
    for (const note of notes) view.notice(note);
    this.#rebuild();
  }

  // ---- What there is to press

  #listen() {
    $("play").addEventListener("click", () => this.toggle());
    $("step").addEventListener("click", () => this.act(() => this.stepOnce()));
    $("restart").addEventListener("click", () => this.act(() => this.restart()));
    $("next").addEventListener("click", () => this.setInit(this.experiment.init + 1));
    $("previous").addEventListener("click", () => this.setInit(this.experiment.init - 1));
    field("init").addEventListener("change", () => this.setInit(Number(field("init").value)));
    field("task").addEventListener("change", () => this.setTask(Number(field("task").value)));
    field("speed").addEventListener("change", () => this.playing && this.engine.call("play", Number(field("speed").value)));
    field("compare").addEventListener("change", () => this.compare(field("compare").checked));
    $("disturb").addEventListener("click", () => this.act(() => this.disturb()));
    $("camera").addEventListener("click", () => this.setLookAround(!this.lookAround));
    $("copy").addEventListener("click", () => this.copyLink());
    $("diagnose").addEventListener("click", () => this.judge());
    $("download").addEventListener("click", () => this.downloadSteps());
    $("download-episode").addEventListener("click", () => this.act(() => this.downloadEpisode()));
    field("judge").addEventListener("change", () => this.judgeFile());
    addEventListener("hashchange", () => this.#openLink());
    document.addEventListener("visibilitychange", () => this.#onHidden());
    new ResizeObserver(() => this.#draw()).observe($("plot"));
    keyboard(this);
  }

  /** Do something that may fail, and say so in one sentence. @param {() => Promise<unknown>} what */
  async act(what) {
    try {
      await what();
    } catch (error) {
      this.#broken(error instanceof Error ? error.message : String(error));
    }
  }

  // ---- Running

  /** Load what is missing, begin, and play. */
  async go() {
    await this.act(async () => {
      await this.arrange();
      await this.play();
    });
  }

  /** Put everything at its start. */
  async arrange() {
    $("live").dataset.state = "loading";
    for (const { view: one } of this.sides) one.showVeil({ text: "Loading physics, scene and policy …", share: 0 });
    this.#forget();
    this.serving = await this.engine.call("arrange", this.experiment);
    this.arranged = true;
    $("live").dataset.state = "ready";
    this.began = performance.now();
    for (const { view: one } of this.sides) {
      one.showVeil(null);
      tell({ type: "begin", side: one.letter });
    }
    this.#draw();
  }

  async play() {
    if (!this.arranged) await this.arrange();
    if (this.sides.every((side) => side.success !== null)) await this.arrange();
    this.playing = true;
    this.#showPlaying();
    await this.engine.call("play", Number(field("speed").value));
  }

  async pause() {
    await this.engine.call("pause");
    this.playing = false;
    this.#showPlaying();
  }

  toggle() {
    return this.act(() => (this.playing ? this.pause() : this.play()));
  }

  async stepOnce() {
    if (!this.arranged) await this.arrange();
    await this.engine.call("stepOnce");
  }

  /** From the same start again, running if it ran. */
  async restart() {
    const ran = this.playing;
    await this.arrange();
    if (ran) await this.play();
  }

  async disturb() {
    if (!this.arranged) await this.arrange();
    this.experiment.seed += 1;
    await this.engine.call("disturb", this.experiment.seed);
    for (const side of this.sides) this.#mark(side, "disturbed");
    this.#keepAddress();
  }

  /** Take hold of what is under the finger, and say what it is. @param {number} i @param {number[]} at */
  async grab(i, at) {
    const body = await this.engine.call("grab", i, at);
    this.held = body;
    const name = body && body.replace(/_main$|_\d+(_main)?$/g, "").replaceAll("_", " ");
    $("clock").textContent = body
      ? `You hold: ${name}.${this.playing ? "" : " It moves when the run goes on."}`
      : "Nothing there can be moved.";
    if (body) this.#mark(this.sides[i], `pulled ${name}`);
  }

  /** @param {number} i */
  async release(i) {
    this.held = null;
    $("clock").textContent = "";
    await this.engine.call("release", i);
  }

  // ---- Choosing

  /** @param {string[]} conditions */
  choosePreset(conditions) {
    const last = this.experiment.sides.length - 1;
    this.choose(last, { ...this.experiment.sides[last], conditions });
    if (!this.arranged && $("live").dataset.state === "idle") this.go();
  }

  /** @param {number} i @param {string} name @param {boolean} on */
  flip(i, name, on) {
    const side = this.experiment.sides[i];
    const others = side.conditions.filter((other) => other !== name);
    const clash = on ? others.filter((other) => this.#clashes(other, name)) : [];
    for (const other of clash) view.notice(`${other} was switched off, because ${name} changes the same setting.`);
    const kept = others.filter((other) => !clash.includes(other));
    this.choose(i, { ...side, conditions: on ? [...kept, name] : kept });
  }

  /** @param {string} a @param {string} b */
  #clashes(a, b) {
    const settings = (/** @type {string} */ name) => Object.keys(this.boundaries.get(name)?.changes ?? {});
    return settings(a).some((setting) => settings(b).includes(setting));
  }

  /** @param {number} i @param {import("./types").SideChoice} choice */
  choose(i, choice) {
    const before = this.experiment.sides[i];
    this.experiment.sides[i] = choice;
    this.#showChoices();
    this.#keepAddress();
    const side = this.sides[i];
    this.#markChanges(side, before, choice);
    if (!this.arranged) return;
    this.engine.call("choose", i, choice).catch((error) => {
      view.notice(error.message, "bad");
      this.experiment.sides[i] = before;
      this.#showChoices();
      this.#keepAddress();
    });
  }

  /** @param {Side} side @param {import("./types").SideChoice} before @param {import("./types").SideChoice} now */
  #markChanges(side, before, now) {
    const on = now.conditions.filter((name) => !before.conditions.includes(name));
    const off = before.conditions.filter((name) => !now.conditions.includes(name));
    const words = [...on.map((name) => `${name} on`), ...off.map((name) => `${name} off`)];
    if (before.sentence !== now.sentence) words.push("new sentence");
    if (words.length) this.#mark(side, words.join(", "));
    const late = [...on, ...off].filter((name) => this.boundaries.get(name)?.appliesAt === "reset");
    if (late.length && side.lines.length) view.notice(`${late.join(", ")} acts when the episode starts again: press Restart.`);
  }

  /** @param {Side} side @param {string} text */
  #mark(side, text) {
    if (side.lines.length) side.events.push({ step: side.lines.length, text });
  }

  /** @param {number} i @param {string} sentence */
  say(i, sentence) {
    const own = this.manifest.tasks[this.experiment.task]?.instruction;
    this.choose(i, { ...this.experiment.sides[i], sentence: sentence === own ? null : sentence });
  }

  /** @param {Partial<import("./types").Tweaks>} tweaks */
  tweak(tweaks) {
    this.experiment.tweaks = { ...this.experiment.tweaks, ...tweaks };
    this.#keepAddress();
    if (this.arranged) this.act(() => this.engine.call("tweak", this.experiment.tweaks));
  }

  /** @param {number} init */
  setInit(init) {
    this.experiment.init = ((Math.round(init) || 0) + 50) % 50;
    field("init").value = String(this.experiment.init);
    this.#keepAddress();
    if (this.arranged) this.act(() => this.restart());
  }

  /** @param {number} task */
  setTask(task) {
    this.experiment.task = task;
    for (const side of this.experiment.sides) side.sentence = null;
    this.#showChoices();
    this.#keepAddress();
    if (this.arranged) this.act(() => this.restart());
  }

  /** Two beside each other: A with published settings, B with what was there. @param {boolean} on */
  compare(on) {
    const last = this.experiment.sides[this.experiment.sides.length - 1];
    const plain = { conditions: [], sentence: null };
    this.experiment.sides = on ? [plain, last] : [last];
    const begun = this.arranged;
    this.#rebuild();
    this.#keepAddress();
    if (begun) this.act(() => this.restart());
  }

  /** @param {boolean} on */
  setLookAround(on) {
    this.lookAround = on;
    $("camera").setAttribute("aria-pressed", String(on));
    $("hint").textContent = on
      ? "Drag or use the arrow keys to turn the camera; the wheel or + and − move it. The policy still sees its own picture."
      : "Drag an object to pull it like with a spring. Space plays and pauses, . makes one step, R restarts.";
    if (this.arranged) this.act(() => this.engine.call("lookAround", on));
  }

  // ---- Showing

  /** Make the sides that the experiment has. */
  #rebuild() {
    const box = $("sides");
    box.replaceChildren();
    this.sides = this.experiment.sides.map((_, i) => {
      const on = { say: (/** @type {string} */ text) => this.say(i, text), go: () => this.go() };
      const one = new SideView("AB"[i], on);
      box.append(one.root);
      pointer(this, one, i);
      one.showVeil({ text: this.#size(), button: "Run it here" });
      return { view: one, lines: [], texts: [], success: null, events: [] };
    });
    box.dataset.count = String(this.sides.length);
    this.arranged = false;
    this.#showChoices();
    this.#draw();
  }

  #size() {
    return "Everything runs in your browser: physics, camera and policy. The first time it loads some 25 MB.";
  }

  #showChoices() {
    const { task, init, sides, tweaks } = this.experiment;
    field("task").value = String(task);
    field("init").value = String(init);
    field("compare").checked = sides.length === 2;
    this.presets(sides[sides.length - 1].conditions);
    this.switches?.(this.experiment);
    this.sliders?.(tweaks);
    sides.forEach((side, i) => {
      const entry = this.manifest.tasks.find((/** @type {any} */ t) => t.task === task);
      this.sides[i].view.sentence.value = side.sentence ?? entry?.instruction ?? "";
      const broken = new Map();
      for (const name of side.conditions) {
        const { boundary, teaches } = this.boundaries.get(name);
        broken.set(boundary, [broken.get(boundary), teaches].filter(Boolean).join(" "));
      }
      this.sides[i].view.showConditions(side.conditions, broken);
    });
  }

  #showPlaying() {
    $("play").textContent = this.playing ? "Pause" : "Play";
    $("live").dataset.playing = String(this.playing);
  }

  /** Forget the steps of the last run. */
  #forget() {
    for (const side of this.sides) {
      Object.assign(side, { lines: [], texts: [], success: null, events: [] });
      side.view.showVerdict(null, 0);
    }
  }

  #draw() {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      view.drawPlots(this.sides.map(({ view: { letter }, lines, success, events }) => ({ letter, lines, success, events })));
    });
  }

  /** @param {any} event */
  #onEvent(event) {
    const side = this.sides["AB".indexOf(event.letter)];
    if (event.event === "step" && side) this.#onStep(side, event);
    else if (event.event === "look" && side) this.#onLook(side, event);
    else if (event.event === "end" && side) this.#onEnd(side, event);
    else if (event.event === "paused") {
      this.playing = false;
      this.#showPlaying();
    } else if (event.event === "progress") this.#onProgress(event);
    else if (event.event === "sweeping") this.measure.onStep(event);
    else if (event.event === "graphics") this.#onGraphics(event.lost);
    else if (event.event === "broken") this.#broken(event.sentence, event.over);
  }

  /** @param {Side} side @param {any} event */
  #onStep(side, { line, text, shown, pixels, ms, prompt, ids }) {
    side.lines.push(line);
    side.texts.push(`${text}\n`);
    tell({ type: "step", side: side.view.letter, line });
    side.view.showPicture(shown);
    side.view.showSeen(pixels);
    side.view.showPrompt(prompt, ids);
    side.view.showStep(line, ms);
    side.view.showVerdict(null, side.lines.length);
    this.#draw();
  }

  /** @param {Side} side @param {any} event */
  #onLook(side, { shown, pixels, prompt, ids }) {
    side.view.showPicture(shown);
    if (pixels) side.view.showSeen(pixels);
    if (prompt !== undefined) side.view.showPrompt(prompt, ids);
  }

  /** @param {Side} side @param {any} event */
  #onEnd(side, { success, steps }) {
    side.success = success;
    side.view.showVerdict(success, steps);
    tell({ type: "end", side: side.view.letter, success, steps });
    this.#draw();
  }

  /** @param {{what: string, done: number, all: number}} event */
  #onProgress({ what, done, all }) {
    const text = `Loading the ${what}: ${(done / 1e6).toFixed(1)} of ${(all / 1e6).toFixed(1)} MB`;
    for (const { view: one } of this.sides) one.showVeil({ text, share: all ? done / all : 0 });
  }

  /** @param {boolean} lost */
  #onGraphics(lost) {
    if (lost) view.notice("The browser took the graphics away; the run waits until it gives them back.");
    else view.notice("The graphics are back. Press Play.");
  }

  /** @param {string} sentence @param {boolean} [over] whether the episode must begin again */
  #broken(sentence, over = false) {
    this.playing = false;
    this.#showPlaying();
    if (over) this.arranged = false;
    if (sentence === "stopped") return;
    view.notice(sentence, "bad");
    if (/damaged|bytes; expected/.test(sentence)) forgetKept();
    if (!this.arranged) for (const { view: one } of this.sides) one.showVeil({ text: sentence, button: "Try again" });
  }

  #onHidden() {
    if (document.hidden && this.playing) {
      this.act(() => this.pause());
      view.notice("The run was paused because its tab went to the background. A sweep goes on there.");
    }
  }

  // ---- Links and logs

  #keepAddress() {
    history.replaceState(null, "", toLink(this.experiment, this.known.version));
  }

  #openLink() {
    const begun = this.arranged;
    this.#fromAddress();
    if (begun) this.act(() => this.go());
  }

  async copyLink() {
    const link = new URL(toLink(this.experiment, this.known.version), location.href).href;
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      view.notice("The link is copied. Whoever opens it gets the same task, start, conditions and sentence.");
    } catch {
      view.notice(`This browser does not let the page copy; the link stands in the address bar: ${link}`);
    }
  }

  downloadSteps() {
    for (const side of this.sides) {
      if (side.texts.length) download("steps.jsonl", side.texts.join(""));
      else view.notice(`Side ${side.view.letter} has no step yet.`);
    }
  }

  async downloadEpisode() {
    if (!this.arranged) return view.notice("Nothing has run yet: press Play first.");
    const seconds = Math.round(performance.now() - this.began) / 1000;
    for (const i of this.sides.keys()) {
      download("episode.json", await this.engine.call("episodeJson", i, seconds));
    }
  }

  judge() {
    const boxes = this.sides
      .filter((side) => side.lines.length)
      .map((side) => view.verdictBox(`Side ${side.view.letter}`, diagnose(side.lines, this.rules), side.events.length > 0));
    const nothing = h("p", {}, "Nothing has run yet: press Play first.");
    $("verdicts").replaceChildren(...(boxes.length ? boxes : [nothing]));
  }

  async judgeFile() {
    const file = field("judge").files?.[0];
    if (!file) return;
    try {
      const texts = (await file.text()).trim().split("\n");
      const found = diagnose(texts.map((text) => JSON.parse(text)), this.rules);
      $("verdicts").replaceChildren(view.verdictBox(file.name, found));
    } catch {
      view.notice(`${file.name} is no steps.jsonl: each line must be a step as vla-tutorial rollout writes it.`, "bad");
    }
  }
}

/** Start, where boot.js found nothing in the way. */
async function main() {
  if (globalThis.vlaProblem) return;
  if (await registerServiceWorker()) return;
  const app = new App();
  Object.assign(globalThis, { vlaLive: app });
  try {
    await app.open();
  } catch (error) {
    view.notice(`This page could not start: ${error instanceof Error ? error.message : error}`, "bad");
  }
}

main();
