// What runs in the worker: one or two episodes beside each other, or a sweep's episodes one by one.
// It knows nothing of the page. `layers` are the modules that do the work, so that tests replace them.

import { Grip } from "./grip.js";
import { folderOf } from "./sweep.js";
import { closingSteps } from "./signatures.js";

/** @typedef {import("./types").Experiment} Experiment */
/** @typedef {import("./types").SideChoice} SideChoice */
/** @typedef {import("./types").Tweaks} Tweaks */
/** @typedef {import("./types").EpisodeKey} EpisodeKey */
/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {import("./engine_types").Layers} Layers */
/** @typedef {import("./engine_types").Side} Side */
/** @typedef {import("./engine_types").Emit} Emit */

/** Size of the picture that is shown and, where the views are the same, that the policy gets. */
const SIZE = 256;

/** How long an episode waits for graphics that are lost. */
const LOST_SECONDS = 60;

/** Where the reader's own camera begins: over the table, the robot behind it. */
const START_VIEW = { azimuth: 150, elevation: -35, distance: 1.3, lookat: [0, 0, 0.1] };

export class Engine {
  /** @param {Layers} layers @param {string} base address of the page's folder @param {Emit} emit */
  constructor(layers, base, emit) {
    this.layers = layers;
    this.base = base;
    this.emit = emit;
    /** @type {any} */ this.manifest = null;
    /** @type {any} */ this.task = null;
    /** @type {any} */ this.policy = null;
    /** @type {any} */ this.renderer = null;
    /** @type {any} */ this.mujoco = null;
    /** @type {Side[]} */ this.sides = [];
    /** @type {Experiment | null} */ this.experiment = null;
    /** @type {Promise<void> | null} */ this.running = null;
    /** The reader's own camera, or null for the robot's. @type {any} */ this.orbitView = null;
    this.stopAsked = false;
    this.rate = 0;
  }

  /** Read the manifest. */
  async open() {
    this.manifest = await this.layers.loadManifest(this.base);
    return this.manifest;
  }

  /** Load physics, policy and a task; what is there already stays. @param {number} number */
  async load(number) {
    const { layers, base, manifest } = this;
    if (this.task?.task !== number) {
      this.#dropTask();
      const report = (/** @type {number} */ done, /** @type {number} */ all) =>
        this.emit({ event: "progress", what: "scene", done, all });
      this.task = await layers.loadTask(base, manifest, number, { onProgress: report });
    }
    this.mujoco ??= await layers.loadMujoco(base);
    if (!this.policy) {
      const onProgress = (/** @type {number} */ done, /** @type {number} */ all) =>
        this.emit({ event: "progress", what: "policy", done, all });
      const options = { base, manifest, name: "mini", onProgress };
      this.policy = await layers.Policy.load(options);
    }
    this.renderer ??= this.#makeRenderer();
    await this.#graphics();
  }

  #makeRenderer() {
    const renderer = new this.layers.Renderer(new OffscreenCanvas(SIZE, SIZE), this.task);
    renderer.addEventListener("lost", () => {
      this.stopAsked = true;
      this.emit({ event: "graphics", lost: true });
    });
    renderer.addEventListener("restored", () => this.emit({ event: "graphics", lost: false }));
    return renderer;
  }

  /** Wait for graphics that the browser took away. */
  async #graphics() {
    for (let waited = 0; this.renderer.lost && waited < LOST_SECONDS; waited++) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  #dropTask() {
    for (const side of this.sides) side.simulator.dispose();
    this.sides = [];
    this.renderer?.dispose();
    this.renderer = null;
  }

  /** Put everything as an experiment says, at its start. @param {Experiment} experiment */
  async arrange(experiment) {
    await this.pause();
    await this.load(experiment.task);
    this.experiment = experiment;
    while (this.sides.length > experiment.sides.length) this.sides.pop()?.simulator.dispose();
    experiment.sides.forEach((choice, i) => {
      this.sides[i] ??= this.#makeSide("AB"[i]);
      this.sides[i].choice = choice;
    });
    for (const side of this.sides) this.#check(side.choice);
    for (const side of this.sides) this.#restart(side);
    return this.provider;
  }

  get provider() {
    return { provider: this.policy?.provider ?? "wasm", threads: this.policy?.threads ?? 1 };
  }

  /** @param {string} letter @returns {Side} */
  #makeSide(letter) {
    const simulator = new this.layers.Simulator(this.mujoco, this.task);
    const choice = { conditions: [], sentence: null };
    const grip = new Grip(this, simulator);
    return { letter, simulator, choice, grip, steps: null, lines: [], success: null };
  }

  /** @param {Side} side */
  #restart(side) {
    side.steps = null;
    side.lines = [];
    side.success = null;
    const { wiring, scene } = this.#settings(side);
    this.layers.start(side.simulator, this.task, wiring, scene);
    this.#show(side);
  }

  /** What conditions, sentence and sliders make of wiring and scene. @param {Side} side */
  #settings(side) {
    const { choice } = side;
    const experiment = /** @type {Experiment} */ (this.experiment);
    return this.layers.settings(this.manifest, experiment, choice);
  }

  /** Draw what the policy would see now, without acting. @param {Side} side */
  #show(side) {
    const { wiring, scene } = this.#settings(side);
    const { picture, pixels } = this.layers.look(side.simulator, this.renderer, wiring, scene);
    const prompt = this.layers.promptNow(this.policy, this.task, wiring, scene);
    const shown = this.#shown(side, picture);
    this.emit({ event: "look", letter: side.letter, shown, pixels, ...prompt });
  }

  /** What the reader sees: the robot's camera, or another one. @param {Side} side @param {Uint8Array} picture */
  #shown(side, picture) {
    if (!this.orbitView) return { rgb: picture, width: SIZE, height: SIZE, turned: true };
    const { scene } = this.#settings(side);
    return this.layers.freePicture(side.simulator, this.renderer, scene, this.orbitView);
  }

  /** Change what a side runs, at once where that is possible. @param {number} i @param {SideChoice} choice */
  choose(i, choice) {
    const experiment = /** @type {Experiment} */ (this.experiment);
    if (!this.sides[i]) return;
    this.#check(choice);
    experiment.sides[i] = choice;
    this.sides[i].choice = choice;
    this.#physics(this.sides[i]);
    if (!this.running) this.#show(this.sides[i]);
  }

  /** Refuse what would break the loop: contradicting conditions, a prompt that is too long. @param {SideChoice} choice */
  #check(choice) {
    const { layers, manifest, policy, task } = this;
    const { wiring, scene } = layers.settings(manifest, /** @type {Experiment} */ (this.experiment), choice);
    const { ids } = layers.promptNow(policy, task, wiring, scene);
    const most = policy.entry.longestPrompt;
    if (ids <= most) return;
    throw new Error(`The prompt has ${ids} token ids and the policy reads ${most}; say it in fewer words.`);
  }

  /** Move a slider. @param {Tweaks} tweaks */
  tweak(tweaks) {
    const experiment = /** @type {Experiment} */ (this.experiment);
    experiment.tweaks = tweaks;
    for (const side of this.sides) {
      this.#physics(side);
      if (!this.running) this.#show(side);
    }
  }

  /** Friction and weight, which the simulator holds. @param {Side} side */
  #physics(side) {
    const { scene } = this.#settings(side);
    const mass = this.experiment?.tweaks.mass ?? 1;
    this.layers.physics(side.simulator, this.task, scene, mass);
  }

  /** Let it run. @param {number} rate control steps a second at most; 0 is as fast as it can */
  async play(rate) {
    this.rate = rate;
    if (this.running) return;
    this.stopAsked = false;
    this.running = this.#run(Infinity).finally(() => {
      this.running = null;
      this.emit({ event: "paused" });
    });
    this.running.catch(() => {});
  }

  /** One control step of each side. */
  async stepOnce() {
    await this.pause();
    this.stopAsked = false;
    this.running = this.#run(1);
    try {
      await this.running;
    } finally {
      this.running = null;
    }
  }

  async pause() {
    this.stopAsked = true;
    await this.running?.catch(() => {});
  }

  /** @param {number} rounds */
  async #run(rounds) {
    for (let round = 0; round < rounds && !this.stopAsked; round++) {
      const began = performance.now();
      const active = this.sides.filter((side) => side.success === null);
      if (!active.length) return;
      try {
        for (const side of active) await this.#advance(side);
      } catch (error) {
        // A loop that has thrown is over: the episode begins again from its start.
        for (const side of this.sides) side.steps = null;
        this.emit({ event: "broken", sentence: sentenceOf(error), over: true });
        return;
      }
      const left = this.rate ? 1000 / this.rate - (performance.now() - began) : 0;
      await new Promise((resolve) => setTimeout(resolve, Math.max(left, 0)));
    }
  }

  /** @param {Side} side */
  async #advance(side) {
    side.steps ??= this.#begin(side);
    const { value: step, done } = await side.steps.next();
    if (done || !step) {
      this.#end(side, false);
      return;
    }
    side.grip.afterStep();
    const text = this.layers.stepLine(step);
    /** @type {LogLine} */
    const line = JSON.parse(text);
    side.lines.push(line);
    const { wiring, scene } = this.#settings(side);
    const prompt = this.layers.promptNow(this.policy, this.task, wiring, scene);
    const shown = this.#shown(side, step.picture);
    const { pixels, ms } = step;
    this.emit({ event: "step", letter: side.letter, line, text, shown, pixels, ms, ...prompt });
    if (step.done) this.#end(side, true);
    else if (side.lines.length >= this.manifest.stepLimit) this.#end(side, false);
  }

  /** @param {Side} side */
  #begin(side) {
    const { policy, renderer, task } = this;
    const { wiring, scene } = this.#settings(side);
    const controls = {
      wiring: () => this.#settings(side).wiring,
      scene: () => this.#settings(side).scene,
    };
    return this.layers.rollout({ policy, simulator: side.simulator, renderer, task, wiring, scene, controls });
  }

  /** @param {Side} side @param {boolean} success */
  #end(side, success) {
    side.success = success;
    side.steps = null;
    this.emit({ event: "end", letter: side.letter, success, steps: side.lines.length });
  }

  /** Take hold of what is under a place of the picture. @param {number} i @param {number[]} at (x, y), 0 … 1 */
  grab(i, at) {
    const side = this.sides[i];
    return side.grip.grab(at, this.#settings(side).scene);
  }

  /** @param {number} i @param {number[]} at */
  drag(i, at) {
    const side = this.sides[i];
    side.grip.drag(at, this.#settings(side).scene);
  }

  /** @param {number} i */
  release(i) {
    this.sides[i].grip.release();
  }

  /** Pull the named object a little, for those without a mouse. @param {number} i @param {number} right @param {number} down */
  tug(i, right, down) {
    const side = this.sides[i];
    side.grip.tug([right, down], this.#settings(side).scene);
  }

  /** Turn each arm joint a little, as `nudge_1` does before an episode. @param {number} seed */
  disturb(seed) {
    for (const side of this.sides) side.simulator.nudge(seed);
  }

  /** Show the scene from another place, or as the robot's camera again. @param {boolean} on */
  lookAround(on) {
    this.orbitView = on ? { ...START_VIEW } : null;
    if (!this.running) for (const side of this.sides) this.#show(side);
  }

  /** Turn the reader's camera. @param {number} across @param {number} down shares of the picture @param {number} away */
  orbit(across, down, away) {
    const view = this.orbitView;
    if (!view) return;
    view.azimuth -= 180 * across;
    view.elevation = Math.min(Math.max(view.elevation - 120 * down, -89), -2);
    view.distance = Math.min(Math.max(view.distance * Math.exp(away), 0.3), 4);
    if (!this.running) for (const side of this.sides) this.#show(side);
  }

  /** The text of `episode.json` for a side as it stands. @param {number} i @param {number} seconds */
  episodeJson(i, seconds) {
    const side = this.sides[i];
    const { wiring, scene } = this.#settings(side);
    const { task, init } = scene;
    const { perturbation, suite } = scene;
    const about = {
      suite,
      task,
      init,
      instruction: scene.instruction ?? this.task.instruction,
      conditions: side.choice.conditions,
      policy: { name: "mini", device: "browser", ...this.provider },
      wiring,
      perturbation,
      versions: this.manifest.versions,
      warnings: [`MuJoCo ran in a web page, and not as the pinned ${wiring.mujoco}`],
    };
    const closes = closingSteps(side.lines);
    const { success, lines } = side;
    const first = closes.length ? closes[0] : null;
    const result = { success, steps: lines.length, seconds, first_close: first, closes: closes.length };
    return this.layers.episodeJson(about, result);
  }

  /** Run one episode of a sweep to its end. @param {EpisodeKey} key @param {string} suite */
  async runEpisode(key, suite) {
    await this.pause();
    this.stopAsked = false;
    await this.load(key.task);
    const simulator = new this.layers.Simulator(this.mujoco, this.task);
    const began = performance.now();
    try {
      const { lines, texts, success } = await this.#runToEnd(simulator, key);
      const seconds = Math.round(performance.now() - began) / 1000;
      return { row: rowOf(key, suite, lines, success, seconds), log: texts.join("") };
    } finally {
      simulator.dispose();
    }
  }

  /** @param {any} simulator @param {EpisodeKey} key */
  async #runToEnd(simulator, key) {
    const conditions = key.condition === "published" ? [] : key.condition.split("+");
    const choice = { conditions, sentence: null };
    const plain = { camera: null, light: null, noise: null, friction: null, mass: null };
    const experiment = { task: key.task, init: key.init, sides: [choice], tweaks: plain, seed: 0 };
    const { policy, renderer, task, layers } = this;
    const { wiring, scene } = layers.settings(this.manifest, experiment, choice);
    const controls = { wiring: () => wiring, scene: () => scene };
    /** @type {LogLine[]} */
    const lines = [];
    const texts = [];
    let success = false;
    for await (const step of layers.rollout({ policy, simulator, renderer, task, wiring, scene, controls })) {
      if (this.stopAsked) throw new Error("stopped");
      const text = layers.stepLine(step);
      texts.push(`${text}\n`);
      lines.push(JSON.parse(text));
      success = step.done;
      if (lines.length % 5 === 1) {
        const shown = { rgb: step.picture, width: SIZE, height: SIZE, turned: true };
        this.emit({ event: "sweeping", key, steps: lines.length, shown });
      }
    }
    return { lines, texts, success };
  }

  dispose() {
    this.#dropTask();
    this.policy?.dispose();
  }
}

/**
 * @param {EpisodeKey} key @param {string} suite @param {LogLine[]} lines
 * @param {boolean} success @param {number} seconds
 * @returns {import("./types").EpisodeRow}
 */
function rowOf(key, suite, lines, success, seconds) {
  const closes = closingSteps(lines);
  const [x, y, z] = lines[0]?.eef_pos ?? [0, 0, 0];
  const away = lines.map(({ eef_pos: p }) => Math.hypot(p[0] - x, p[1] - y, p[2] - z));
  return {
    suite,
    ...key,
    success,
    outcome: success ? "success" : "failure",
    steps: lines.length,
    first_close: closes.length ? closes[0] : null,
    closes: closes.length,
    seconds,
    attempt: 1,
    folder: folderOf(key),
    error: null,
    travel: Math.round(1e4 * Math.max(0, ...away)) / 1e4,
  };
}

/** One sentence for whatever was thrown. @param {unknown} error */
export function sentenceOf(error) {
  const text = error instanceof Error ? error.message : String(error);
  if (/memory|allocat/i.test(text)) {
    return "The browser ran out of memory. Close other tabs and load this page again; what was measured is kept.";
  }
  return text;
}
