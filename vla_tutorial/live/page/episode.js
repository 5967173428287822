// One of the episodes that the page shows: its simulator, its loop, and what is told of it.

import { instructionFor } from "./conditions.js";
import { Grip } from "./grip.js";
import { SIZE } from "./parts.js";
import { closingSteps } from "./signatures.js";
import { startOf } from "./starts.js";

/** @typedef {import("./types").Experiment} Experiment */
/** @typedef {import("./types").LogLine} LogLine */
/** @typedef {import("./types").SideChoice} SideChoice */

export class Episode {
  /** @param {import("./parts.js").Parts} parts @param {import("./orbit.js").Orbit} orbit @param {number} number 0 or 1 */
  constructor(parts, orbit, number) {
    this.parts = parts;
    this.orbit = orbit;
    this.number = number;
    this.letter = "AB"[number];
    this.simulator = new parts.layers.Simulator(parts.mujoco, parts.task);
    this.grip = new Grip(parts, orbit, this.simulator);
    /** @type {Experiment | null} */ this.experiment = null;
    /** The loop, while it runs. @type {AsyncGenerator<import("./loop.js").Step, void, void> | null} */ this.steps = null;
    /** @type {LogLine[]} */ this.lines = [];
    /** null while it has not ended. @type {boolean | null} */ this.success = null;
  }

  get #experiment() {
    return /** @type {Experiment} */ (this.experiment);
  }

  get choice() {
    return this.#experiment.sides[this.number];
  }

  /** What conditions, sentence and sliders make of wiring and scene. @param {SideChoice} choice */
  settings(choice = this.choice) {
    const { layers, manifest } = this.parts;
    return layers.settings(manifest, this.#experiment, choice);
  }

  get #policy() {
    return this.parts.policy(this.choice.policy);
  }

  get scene() {
    return this.settings().scene;
  }

  /** Refuse what would break the loop: contradicting conditions, a prompt that is too long. @param {SideChoice} choice */
  check(choice) {
    const { layers, task } = this.parts;
    const policy = this.parts.policy(choice.policy);
    const { wiring, scene } = this.settings(choice);
    const { ids } = layers.promptNow(policy, task, wiring, scene);
    const most = policy.entry.longestPrompt;
    if (ids <= most) return;
    throw new Error(`The prompt has ${ids} token ids and the policy reads ${most}; say it in fewer words.`);
  }

  /** @param {SideChoice} choice */
  choose(choice) {
    this.#experiment.sides[this.number] = choice;
    this.holdPhysics();
  }

  /** Friction and weight, which the simulator holds. */
  holdPhysics() {
    this.parts.layers.physics(this.simulator, this.scene, this.#experiment.tweaks.mass ?? 1);
  }

  /** Go to the start, and show it. */
  restart() {
    this.steps = null;
    this.lines = [];
    this.success = null;
    const { wiring, scene } = this.settings();
    this.parts.layers.start(this.simulator, this.parts.task, wiring, scene);
    this.holdPhysics();
    this.show();
  }

  /** Draw what the policy would see now, without acting. */
  show() {
    const { layers, renderer, task, emit } = this.parts;
    const { wiring, scene } = this.settings();
    const { picture, pixels } = layers.look(this.simulator, renderer, wiring, scene);
    const prompt = layers.promptNow(this.#policy, task, wiring, scene);
    emit({ event: "look", letter: this.letter, shown: this.#shown(picture), pixels, ...prompt });
  }

  /** What the reader sees: the robot's camera, or another one. @param {Uint8Array} picture */
  #shown(picture) {
    const { view } = this.orbit;
    if (!view) return { rgb: picture, width: SIZE, height: SIZE, turned: true };
    return this.parts.layers.freePicture(this.simulator, this.parts.renderer, this.scene, view);
  }

  /** One control step. */
  async advance() {
    this.steps ??= this.#begin();
    const { value: step, done } = await this.steps.next();
    if (done || !step) {
      this.#end(false);
      return;
    }
    this.grip.afterStep();
    this.#tell(step);
    if (step.done) this.#end(true);
    else if (this.lines.length >= this.parts.task.stepLimit) this.#end(false);
  }

  #begin() {
    const { layers, renderer, task } = this.parts;
    const controls = {
      wiring: () => this.settings().wiring,
      scene: () => this.scene,
    };
    return layers.rollout({ policy: this.#policy, simulator: this.simulator, renderer, task, ...this.settings(), controls });
  }

  /** @param {import("./loop.js").Step} step */
  #tell(step) {
    const { layers, task, emit } = this.parts;
    const text = layers.stepLine(step);
    /** @type {LogLine} */
    const line = JSON.parse(text);
    this.lines.push(line);
    const { wiring, scene } = this.settings();
    const prompt = layers.promptNow(this.#policy, task, wiring, scene);
    const shown = this.#shown(step.picture);
    const { pixels, ms } = step;
    emit({ event: "step", letter: this.letter, line, text, shown, pixels, ms, ...prompt });
  }

  /** @param {boolean} success */
  #end(success) {
    this.success = success;
    this.steps = null;
    this.parts.emit({ event: "end", letter: this.letter, success, steps: this.lines.length });
  }

  /** The text of `episode.json` as it stands. @param {number} seconds */
  json(seconds) {
    const { layers, manifest, task } = this.parts;
    const { wiring, scene } = this.settings();
    const { policy: name } = this.choice;
    const warning = manifest.policies[name].warnings[task.suite];
    const { perturbation, suite, init, target, layout_seed: seed } = scene;
    const about = {
      suite,
      task: scene.task,
      init,
      ...(target === null ? {} : { target }),
      ...(seed === null ? {} : { layout_seed: seed }),
      instruction: instructionFor(scene, startOf(task, scene).instruction),
      conditions: this.choice.conditions,
      policy: { name, device: "browser", ...this.parts.provider(name), ...(warning && { warning }) },
      wiring,
      perturbation,
      versions: manifest.versions,
      warnings: [`MuJoCo ran in a web page, and not as the pinned ${wiring.mujoco}`],
    };
    const closes = closingSteps(this.lines);
    const { success, lines } = this;
    const first = closes.length ? closes[0] : null;
    const result = { success, steps: lines.length, seconds, first_close: first, closes: closes.length };
    return layers.episodeJson(about, result);
  }

  dispose() {
    this.simulator.dispose();
  }
}
