/** The only loop: look, read, act, again. As vla_tutorial/loop.py, and as short. */
import * as actions from "./actions.js";
import { instructionFor } from "./conditions.js";
import * as pixels from "./pixels.js";
import * as prompt from "./prompt.js";
import { normal } from "./random.js";
import { startOf } from "./starts.js";
import { Timing } from "./timing.js";

/** @typedef {import("./conditions.js").Wiring} Wiring */
/** @typedef {import("./conditions.js").Scene} Scene */
/**
 * One control step: what the policy saw, what it answered and what came of it. `picture` is the
 * simulator's, with row 0 at the bottom; `eefPos` and `gripperQpos` are from before the action.
 * `waiting`: the policy was still thinking about an older picture.
 * @typedef {{
 *   step: number, picture: Uint8Array, pixels: Uint8Array, tokens: Int32Array, action: number[],
 *   reward: number, done: boolean, waiting: boolean, eefPos: number[], gripperQpos: number[],
 *   ms: {physics: number, picture: number, policy: number},
 * }} Step
 *
 * What the loop asks anew at each step, so that conditions may change while it runs.
 * @typedef {{wiring: () => Wiring, scene: () => Scene}} Controls
 * @typedef {{
 *   policy: import("./policy.js").Policy, simulator: import("./simulator.js").Simulator,
 *   renderer: import("./renderer.js").Renderer, task: import("./assets.js").Task,
 *   wiring: Wiring, scene: Scene, controls?: Controls, seed?: number,
 * }} Episode
 */

/**
 * Run one episode, yielding each step; it ends with success or at the step limit.
 * @param {Episode} episode `seed` is the camera noise's
 * @returns {AsyncGenerator<Step, void, void>}
 */
export async function* rollout({ policy, simulator, renderer, task, ...given }) {
  const controls = given.controls ?? { wiring: () => given.wiring, scene: () => given.scene };
  const limit = given.wiring.max_steps ?? task.stepLimit;
  const camera = new Camera(renderer, given.seed ?? given.scene.init);
  const timing = new Timing(policy);
  start(simulator, task, given.wiring, given.scene);
  for (let step = 0; step < limit; step++) {
    const clock = new Clock();
    const wiring = controls.wiring();
    const scene = controls.scene();
    const picture = camera.take(simulator, scene, wiring.frame_delay);
    const seen = pixels.prepare(camera.oldest, wiring);
    const ids = prompt.tokenIds(promptOf(wiring, scene, task), policy.tokenizer);
    const statistics = actions.asWired(actions.findStatistics(wiring.unnorm_key, policy.statistics), wiring);
    clock.ends("picture");
    const { answer, waiting } = await timing.turn({ pixels: seen, ids }, wiring, statistics);
    const decoded = actions.decodeAnswer(answer, statistics, wiring.vocabulary);
    const action = actions.toLibero(decoded, wiring.gripper, wiring.translation_gain);
    clock.ends("policy");
    const before = simulator.observation();
    const { reward, done } = simulator.step(action, scene.perturbation);
    clock.ends("physics");
    const tokens = actions.nearestTokens(answer, statistics);
    yield { step, picture, pixels: seen, tokens, action, reward, done, waiting, ...before, ms: clock.ms };
    if (done) return;
  }
}

/**
 * Put the simulator where an episode starts.
 * @param {Episode["simulator"]} simulator
 * @param {Episode["task"]} task
 * @param {Wiring} wiring
 * @param {Scene} scene
 */
export function start(simulator, task, wiring, scene) {
  const { state, settleSteps, ...asked } = startOf(task, scene);
  const most = Math.min(wiring.settle_steps, settleSteps);
  simulator.reset(state, { settleSteps: most, scene: { ...scene, ...asked } });
}

/**
 * The prompt that the policy gets.
 * @param {Wiring} wiring
 * @param {Scene} scene
 * @param {Episode["task"]} task
 */
export function promptOf(wiring, scene, task) {
  return prompt.build(wiring, instructionFor(scene, startOf(task, scene).instruction));
}

/** Takes pictures and keeps the last ones, for wirings whose pictures are late. */
export class Camera {
  /** @type {Uint8Array[]} */ #frames = [];
  #renderer;
  #draw;

  /**
   * @param {Episode["renderer"]} renderer
   * @param {number} seed
   */
  constructor(renderer, seed) {
    this.#renderer = renderer;
    this.#draw = normal(seed);
  }

  /**
   * A picture (256, 256, 3), row 0 at the bottom.
   * @param {Episode["simulator"]} simulator
   * @param {Scene} scene
   * @param {number} delay control steps by which `oldest` is late
   */
  take(simulator, { perturbation }, delay) {
    this.#renderer.draw(simulator.pose, {
      cameraDegrees: perturbation.camera_degrees,
      light: perturbation.light,
      secondCan: simulator.secondCan,
      srgbTextures: perturbation.srgb_textures,
    });
    const picture = pixels.addNoise(this.#renderer.pixels(), perturbation.camera_noise, this.#draw);
    this.#frames = [...this.#frames, picture].slice(-1 - delay);
    return picture;
  }

  /** The picture that the policy gets; until there are enough, the first. */
  get oldest() {
    return this.#frames[0];
  }
}

/** Splits a step's time. */
class Clock {
  ms = { physics: 0, picture: 0, policy: 0 };
  #since = performance.now();

  /** @param {"physics" | "picture" | "policy"} part that ends now */
  ends(part) {
    const now = performance.now();
    this.ms[part] += now - this.#since;
    this.#since = now;
  }
}
