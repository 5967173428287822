/** What computes beside the page: the policy's graph in onnxruntime-web (see policy.js). */
import { VOCABULARY } from "./actions.js";
import { fetchBytes, loadFile } from "./assets.js";
import { LiveError } from "./errors.js";
import { SIZE } from "./pixels.js";
import { tokensAfterEnd } from "./policy.js";

/** @typedef {import("./policy.js").PolicyEntry} PolicyEntry */
/** @typedef {import("./policy.js").Provider} Provider */
/** @typedef {typeof import("onnxruntime-web")} Runtime */
/** @typedef {import("onnxruntime-web").InferenceSession} Session */
/** @typedef {{base: string, entry: PolicyEntry, provider: Provider | "auto", threads: number}} Load */

/** @type {Graph | null} */
let graph = null;

class Graph {
  /**
   * @param {Runtime} runtime
   * @param {Session} session
   * @param {PolicyEntry} entry
   */
  constructor(runtime, session, entry) {
    this.runtime = runtime;
    this.session = session;
    this.entry = entry;
  }

  /**
   * @param {Load} given
   * @param {Provider} provider
   * @param {Uint8Array} content
   */
  static async open({ base, entry, threads }, provider, content) {
    const part = provider === "webgpu" ? "ort.webgpu.bundle.min.mjs" : "ort.wasm.bundle.min.mjs";
    /** @type {Runtime} */
    const runtime = await import(`${base}/vendor/onnxruntime/${part}`);
    runtime.env.wasm.wasmPaths = `${base}/vendor/onnxruntime/`;
    runtime.env.wasm.numThreads = threads;
    const session = await runtime.InferenceSession.create(content, {
      executionProviders: [provider],
      graphOptimizationLevel: "all",
    });
    return new Graph(runtime, session, entry);
  }

  /**
   * @param {Uint8Array} pixels
   * @param {number[]} ids
   * @returns {Promise<Int32Array>}
   */
  async predict(pixels, ids) {
    const { Tensor } = this.runtime;
    const found = await this.session.run({
      picture: new Tensor("uint8", pixels, [SIZE, SIZE, 3]),
      ids: new Tensor("int64", BigInt64Array.from(ids, BigInt), [ids.length]),
    });
    const [name] = this.session.outputNames;
    const generated = Array.from(/** @type {BigInt64Array} */ (found[name].data), Number);
    const tokens = tokensAfterEnd(ids, generated, this.entry.endOfSequence);
    return Int32Array.from(tokens, (token) => token + VOCABULARY - this.entry.vocabulary);
  }

  /**
   * Whether the pictures that come with the policy give the tokens that Python gets.
   * @param {Uint8Array} pictures
   */
  async agrees(pictures) {
    const length = SIZE * SIZE * 3;
    for (const [i, ids] of this.entry.check.ids.entries()) {
      const tokens = await this.predict(pictures.subarray(i * length, (i + 1) * length), ids);
      if (tokens.join() !== this.entry.check.tokens[i].join()) return false;
    }
    return true;
  }
}

/**
 * Load the graph with the best provider that there is.
 * @param {Load} given
 */
async function open(given) {
  const { base, entry, threads } = given;
  const content = await unpack(await load(base, entry, readAloud), entry.runs);
  let reason = "it was not asked for";
  if (given.provider !== "wasm") {
    reason = await openWithGpu(given, content).catch((error) => `it failed: ${error.message}`);
  }
  if (reason) {
    graph = await Graph.open(given, "wasm", content);
  }
  return { provider: reason ? "wasm" : "webgpu", threads: reason ? threads : 1, reason };
}

/**
 * Try WebGPU.
 * @param {Load} given
 * @param {Uint8Array} content
 * @returns {Promise<string>} why it cannot be used; empty where it can, and `graph` is set then
 */
async function openWithGpu(given, content) {
  const { gpu } = /** @type {any} */ (navigator);
  const adapter = await gpu?.requestAdapter();
  if (!adapter) return "this browser offers no WebGPU";
  if (adapter.info?.isFallbackAdapter || adapter.isFallbackAdapter) {
    return "WebGPU is computed by the CPU here";
  }
  const tried = await Graph.open(given, "webgpu", content);
  const pictures = await load(given.base, given.entry.check, fetchBytes);
  if (await tried.agrees(pictures)) {
    graph = tried;
    return "";
  }
  await tried.session.release();
  return "it gives other tokens than Python";
}

/**
 * A file of the policy, compared with its hash.
 * @param {string} base
 * @param {import("./policy.js").FileEntry} entry
 * @param {(url: string) => Promise<Uint8Array>} read
 */
function load(base, entry, read) {
  const manifest = /** @type {any} */ ({ files: { [entry.file]: entry } });
  return loadFile(base, manifest, entry.file, { read });
}

/**
 * Like `fetchBytes`, and the page hears how far it is.
 * @param {string} url
 */
async function readAloud(url) {
  const answer = await fetch(url);
  if (!answer.ok || !answer.body) throw new LiveError(`${url} is missing (${answer.status}).`);
  const parts = [];
  let done = 0;
  for await (const part of stream(answer.body)) {
    parts.push(part);
    done += part.length;
    postMessage({ progress: done });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/**
 * The graph of a file (`live/policy_file.py`): decompressed, and the bytes of weights in order.
 * @param {Uint8Array} file
 * @param {PolicyEntry["runs"]} runs
 */
async function unpack(file, runs) {
  const whole = new Blob([/** @type {BlobPart} */ (file)]).stream();
  const stream = whole.pipeThrough(new DecompressionStream("gzip"));
  const content = new Uint8Array(await new Response(stream).arrayBuffer());
  for (const [start, count] of runs) {
    const sorted = content.slice(start, start + 2 * count);
    for (let i = 0; i < count; i++) {
      content[start + 2 * i] = sorted[i];
      content[start + 2 * i + 1] = sorted[count + i];
    }
  }
  return content;
}

/** @param {ReadableStream<Uint8Array<ArrayBuffer>>} body */
async function* stream(body) {
  // Not every browser can iterate over a stream itself.
  const reader = body.getReader();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    yield value;
  }
}

/** @param {{load?: Load, predict?: {pixels: Uint8Array, ids: number[]}}} question */
async function answerTo(question) {
  if (question.load) return open(question.load);
  if (!graph || !question.predict) throw new Error("it is not loaded");
  const started = performance.now();
  const tokens = await graph.predict(question.predict.pixels, question.predict.ids);
  return { tokens, ms: performance.now() - started };
}

globalThis.onmessage = async ({ data }) => {
  const { id, ...question } = data;
  try {
    postMessage({ id, answer: await answerTo(question) });
  } catch (error) {
    postMessage({ id, problem: sentence(error) });
  }
};

/** @param {unknown} error */
function sentence(error) {
  if (error instanceof LiveError) return error.message;
  const why = error instanceof Error ? error.message : String(error);
  return `The policy failed: ${why.slice(0, 300)}. Reload the page.`;
}
