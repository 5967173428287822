/**
 * When the policy is asked, and what the arm does until its answer is there. As
 * vla_tutorial/policies/timing.py, for a policy that answers with one action.
 */
import { decodeAnswer } from "./actions.js";

/** @typedef {import("./conditions.js").Wiring} Wiring */
/** @typedef {import("./types").Statistics} Statistics */
/** @typedef {import("./actions.js").Answer} Answer */

/** No motion, gripper open, in a policy's numbers: what the arm gets before the first answer. */
const REST = Object.freeze([0, 0, 0, 0, 0, 0, 1]);

/** Asks the policy of one episode. A question that was asked is waited for, whatever changes meanwhile. */
export class Timing {
  #policy;
  /** The answer on its way. @type {Answer | null} */ #coming = null;
  /** Control steps until it is there. */ #wait = 0;
  /** @type {Answer} */ #last = REST;

  /** @param {import("./loop.js").Episode["policy"]} policy */
  constructor(policy) {
    this.#policy = policy;
  }

  /**
   * What the arm does in this control step, whose picture and prompt are `input`.
   * @param {{pixels: Uint8Array, ids: number[]}} input
   * @param {Wiring} wiring
   * @param {Statistics} statistics
   * @returns {Promise<{answer: Answer, waiting: boolean}>} waiting: whether the policy was still thinking
   */
  async turn(input, wiring, statistics) {
    if (this.#coming === null) {
      this.#coming = (await this.#policy.predict(input)).tokens;
      this.#wait = wiring.latency;
    }
    if (this.#wait > 0) {
      this.#wait -= 1;
      return { answer: this.#meanwhile(wiring, statistics), waiting: true };
    }
    this.#last = this.#coming;
    this.#coming = null;
    return { answer: this.#last, waiting: false };
  }

  /** @param {Wiring} wiring @param {Statistics} statistics @returns {Answer} */
  #meanwhile(wiring, statistics) {
    if (wiring.while_waiting === "last") return this.#last;
    const gripper = decodeAnswer(this.#last, statistics, wiring.vocabulary)[6];
    return [...REST.slice(0, 6), gripper];
  }
}
