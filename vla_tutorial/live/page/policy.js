/**
 * A policy in a worker: a picture and a prompt's ids in, seven action tokens out.
 *
 * onnxruntime-web runs it: with WebGPU where that gives the same tokens on the pictures that come
 * with the policy, else with WebAssembly.
 */
import { loadFile } from "./assets.js";
import { LiveError } from "./errors.js";
import { Tokenizer } from "./tokenizer.js";

/**
 * @typedef {"wasm" | "webgpu"} Provider
 * @typedef {{file: string, bytes: number, sha256: string}} FileEntry
 * @typedef {FileEntry & {ids: number[][], tokens: number[][]}} PolicyCheck
 * @typedef {FileEntry & {
 *   runs: [start: number, count: number][], tokenizer: string, vocabulary: number,
 *   endOfSequence: number, longestPrompt: number,
 *   check: PolicyCheck, statistics: Record<string, import("./types").Statistics>,
 *   warnings: Record<string, string>, refusals: Record<string, string>,
 * }} PolicyEntry `statistics`: by unnorm key; `warnings`: by suites that it does not know;
 *   `refusals`: by suites where it does not run
 * @typedef {{tokens: Int32Array, ms: number}} Prediction
 * @typedef {{
 *   base: string, manifest: import("./assets.js").Manifest, name: string,
 *   threads?: number, provider?: Provider | "auto",
 *   onProgress?: (done: number, all: number) => void,
 * }} PolicyOptions
 */

/** More threads than this gain little for a model of this size. */
const MOST_THREADS = 4;

/** How many threads there may be: one, unless the page is isolated from others. */
export function possibleThreads() {
  if (!globalThis.crossOriginIsolated) return 1;
  return Math.max(1, Math.min(MOST_THREADS, navigator.hardwareConcurrency));
}

export class Policy {
  /** @type {Worker} */ #worker;
  /** @type {Map<number, {resolve: (answer: any) => void, reject: (error: Error) => void}>} */
  #waiting = new Map();
  #questions = 0;
  #onProgress;
  /** @type {Provider} What computes. */ provider = "wasm";
  threads = 1;
  /** Why it is not WebGPU; empty where it is. */ reason = "";

  /**
   * @param {PolicyEntry} entry
   * @param {Tokenizer} tokenizer
   * @param {(done: number, all: number) => void} onProgress
   */
  constructor(entry, tokenizer, onProgress) {
    this.entry = entry;
    this.tokenizer = tokenizer;
    this.statistics = entry.statistics;
    this.#onProgress = onProgress;
    this.#worker = new Worker(new URL("./policy_worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#hear(data);
    this.#worker.onerror = (event) => this.#fail(event.message || "its worker did not start");
  }

  /**
   * Load the policy, ready to predict.
   * @param {PolicyOptions} options `base` is the address of the page's folder, without a slash at its
   *   end; `threads` beyond what is possible are left out; `onProgress` gets bytes
   * @returns {Promise<Policy>}
   */
  static async load({ base, manifest, name, threads, provider = "auto", onProgress = () => {} }) {
    const entry = manifest.policies[name];
    if (!entry) {
      const known = Object.keys(manifest.policies).join(", ");
      throw new LiveError(`Unknown policy '${name}'. Known: ${known}.`);
    }
    const most = possibleThreads();
    const read = await loadFile(base, manifest, entry.tokenizer);
    const tokenizer = new Tokenizer(JSON.parse(new TextDecoder().decode(read)));
    const policy = new Policy(entry, tokenizer, onProgress);
    try {
      const address = new URL(`${base}/`, globalThis.location.href).href;
      const given = { base: address.slice(0, -1), entry, provider, threads: Math.min(threads ?? most, most) };
      Object.assign(policy, await policy.#ask({ load: given }));
    } catch (error) {
      policy.dispose();
      throw error;
    }
    return policy;
  }

  /**
   * The greedy action.
   * @param {{pixels: Uint8Array, ids: number[]}} input pixels (224, 224, 3), ids with BOS in front
   * @returns {Promise<Prediction>} tokens (7) in OpenVLA's numbering, and how long they took
   */
  predict({ pixels, ids }) {
    const { longestPrompt } = this.entry;
    if (ids.length <= longestPrompt) return this.#ask({ predict: { pixels, ids } });
    const room = `there is room for ${longestPrompt}`;
    const problem = `A prompt has ${ids.length} ids; beside the image and 7 actions ${room}.`;
    return Promise.reject(new LiveError(`${problem} Shorten the instruction.`));
  }

  /** Stop the worker. What waits for an answer is rejected. */
  dispose() {
    this.#worker.terminate();
    this.#fail("it was closed");
  }

  /**
   * @param {object} question
   * @returns {Promise<any>}
   */
  #ask(question) {
    const id = this.#questions++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ...question });
    });
  }

  /** @param {{id?: number, answer?: any, problem?: string, progress?: number}} message */
  #hear({ id, answer, problem, progress }) {
    if (progress) return this.#onProgress(progress, this.entry.bytes);
    const waiting = this.#waiting.get(Number(id));
    this.#waiting.delete(Number(id));
    if (problem === undefined) return waiting?.resolve(answer);
    return waiting?.reject(new LiveError(problem));
  }

  /** @param {string} why */
  #fail(why) {
    const error = new LiveError(`The policy stopped: ${why}. Reload the page.`);
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/**
 * The ids that are decoded into an action: the sequence's last ones up to an early
 * end-of-sequence id, the prompt's among them, as in the published code.
 * @param {number[]} prompt
 * @param {number[]} generated
 * @param {number} end
 */
export function tokensAfterEnd(prompt, generated, end) {
  const at = generated.indexOf(end);
  const kept = at < 0 ? generated : generated.slice(0, at + 1);
  return [...prompt, ...kept].slice(-generated.length);
}
