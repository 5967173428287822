// What runs in the worker: one or two episodes beside each other, or a sweep's episodes one by one.
// It knows nothing of the page, which calls its methods by name (engine_client.js).

import { Episode } from "./episode.js";
import { sentenceOf } from "./errors.js";
import { Orbit } from "./orbit.js";
import { Parts } from "./parts.js";
import { runToEnd } from "./sweep_episode.js";

/** @typedef {import("./types").Experiment} Experiment */
/** @typedef {import("./types").SideChoice} SideChoice */
/** @typedef {import("./types").Tweaks} Tweaks */
/** @typedef {import("./types").EpisodeKey} EpisodeKey */

export class Engine {
  /** @param {import("./engine_types").Layers} layers @param {string} base address of the page's folder @param {import("./engine_types").Emit} emit */
  constructor(layers, base, emit) {
    this.emit = emit;
    this.parts = new Parts(layers, base, (event) => {
      if (event.lost) this.stopAsked = true;
      emit(event);
      if (event.lost === false) this.#showNow(...this.episodes);
    });
    this.orbitView = new Orbit();
    /** @type {Episode[]} */ this.episodes = [];
    /** @type {Experiment | null} */ this.experiment = null;
    /** @type {Promise<void> | null} */ this.running = null;
    this.stopAsked = false;
    this.rate = 0;
    /** Ends when what was begun last has its scene. @type {Promise<unknown>} */ this.arranging = Promise.resolve();
    /** How often it was told to play or pause; the last counts. */ this.asked = 0;
  }

  /** Read the manifest. */
  open() {
    return this.parts.open();
  }

  /** Load a task and all that is missing. @param {string} suite @param {number} task @param {string[]} policies */
  async #load(suite, task, policies) {
    if (!this.parts.holds(suite, task)) this.#drop();
    await this.parts.load(suite, task, policies);
  }

  #drop() {
    for (const episode of this.episodes) episode.dispose();
    this.episodes = [];
  }

  /**
   * Put everything as an experiment says, at its start. Loading a task takes seconds, in which a
   * reader may choose another one or press Play: both wait, or two tasks would be loaded into one place.
   * @param {Experiment} experiment
   */
  arrange(experiment) {
    const done = this.arranging.then(() => this.#arrange(experiment));
    this.arranging = done.catch(() => {});
    return done;
  }

  /** @param {Experiment} experiment */
  async #arrange(experiment) {
    await this.#halt();
    const policies = experiment.sides.map((side) => side.policy);
    await this.#load(experiment.suite, experiment.task, policies);
    this.experiment = experiment;
    while (this.episodes.length > experiment.sides.length) this.episodes.pop()?.dispose();
    experiment.sides.forEach((_, i) => {
      this.episodes[i] ??= new Episode(this.parts, this.orbitView, i);
      this.episodes[i].experiment = experiment;
    });
    for (const episode of this.episodes) episode.check(episode.choice);
    for (const episode of this.episodes) episode.restart();
    return this.parts.provider(policies[policies.length - 1]);
  }

  /** Change what a side runs, at once where that is possible. @param {number} i @param {SideChoice} choice */
  choose(i, choice) {
    const episode = this.episodes[i];
    if (!episode) return;
    episode.check(choice);
    episode.choose(choice);
    this.#showNow(episode);
  }

  /** Move a slider. @param {Tweaks} tweaks */
  tweak(tweaks) {
    const experiment = /** @type {Experiment} */ (this.experiment);
    experiment.tweaks = tweaks;
    for (const episode of this.episodes) episode.holdPhysics();
    this.#showNow(...this.episodes);
  }

  /** Draw again what no next step will draw. @param {...Episode} episodes */
  #showNow(...episodes) {
    if (!this.running && !this.parts.renderer.lost) for (const episode of episodes) episode.show();
  }

  /** Let it run. @param {number} rate control steps a second at most; 0 is as fast as it can */
  async play(rate) {
    this.rate = rate;
    const asked = ++this.asked;
    await this.arranging;
    if (this.running || asked !== this.asked) return;
    this.stopAsked = false;
    this.running = this.#run(Infinity).finally(() => {
      this.running = null;
      this.emit({ event: "paused" });
    });
    this.running.catch(() => {});
  }

  /** One control step of each side. */
  async stepOnce() {
    await this.arranging;
    await this.#halt();
    this.stopAsked = false;
    this.running = this.#run(1);
    try {
      await this.running;
    } finally {
      this.running = null;
    }
  }

  pause() {
    this.asked += 1;
    return this.#halt();
  }

  async #halt() {
    this.stopAsked = true;
    await this.running?.catch(() => {});
  }

  /** @param {number} rounds */
  async #run(rounds) {
    for (let round = 0; round < rounds && !this.stopAsked; round++) {
      const began = performance.now();
      const active = this.episodes.filter((episode) => episode.success === null);
      if (!active.length) return;
      if (this.parts.renderer.lost) {
        this.emit({ event: "graphics", lost: true });
        return;
      }
      try {
        for (const episode of active) await episode.advance();
      } catch (error) {
        // A loop that has thrown is over: the episode begins again from its start.
        for (const episode of this.episodes) episode.steps = null;
        this.emit({ event: "broken", sentence: sentenceOf(error), over: true });
        return;
      }
      const left = this.rate ? 1000 / this.rate - (performance.now() - began) : 0;
      await new Promise((resolve) => setTimeout(resolve, Math.max(left, 0)));
    }
  }

  /** Take hold of what is under a place of the picture. @param {number} i @param {number[]} at (x, y), 0 … 1 */
  grab(i, at) {
    const { grip, scene } = this.episodes[i];
    return grip.grab(at, scene);
  }

  /** @param {number} i @param {number[]} at */
  drag(i, at) {
    const { grip, scene } = this.episodes[i];
    grip.drag(at, scene);
  }

  /** @param {number} i */
  release(i) {
    this.episodes[i].grip.release();
  }

  /** Pull an object of the goal a little, for those without a mouse; its body. @param {number} i @param {number} right @param {number} down */
  tug(i, right, down) {
    const { grip, scene } = this.episodes[i];
    return grip.tug([right, down], scene);
  }

  /** Turn each arm joint a little, as `nudge_1` does before an episode. @param {number} seed */
  disturb(seed) {
    for (const { simulator } of this.episodes) simulator.nudge(seed);
  }

  /** Show the scene from another place, or as the robot's camera again. @param {boolean} on */
  lookAround(on) {
    this.orbitView.set(on);
    this.#showNow(...this.episodes);
  }

  /** Turn the reader's camera. @param {number} across @param {number} down shares of the picture @param {number} away */
  orbit(across, down, away) {
    this.orbitView.turn(across, down, away);
    this.#showNow(...this.episodes);
  }

  /** The text of `episode.json` for a side as it stands. @param {number} i @param {number} seconds */
  episodeJson(i, seconds) {
    return this.episodes[i].json(seconds);
  }

  /** Run one episode of a sweep to its end. @param {EpisodeKey} key @param {import("./sweep_episode.js").Plan} plan */
  async runEpisode(key, plan) {
    await this.arranging;
    await this.#halt();
    this.stopAsked = false;
    await this.#load(plan.suite, key.task, [plan.policy]);
    return runToEnd(this.parts, key, plan, () => this.stopAsked);
  }

  dispose() {
    this.#drop();
    this.parts.dispose();
  }
}
