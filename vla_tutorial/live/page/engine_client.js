// The page's end of the worker: calls that answer, and events.

/** @typedef {(event: any) => void} Listener */

export class EngineClient {
  /** @param {Listener} onEvent */
  constructor(onEvent) {
    this.worker = new Worker(new URL("engine_worker.js", import.meta.url), { type: "module" });
    /** @type {Map<number, {resolve: (value: any) => void, reject: (error: Error) => void}>} */
    this.waiting = new Map();
    this.last = 0;
    this.worker.onmessage = ({ data }) => {
      if (data.event) onEvent(data);
      else this.#answer(data);
    };
    this.worker.onerror = (event) => {
      const why = event.message || "a part of this page could not be loaded";
      const error = new Error(`The worker stopped: ${why}. Load the page again.`);
      for (const { reject } of this.waiting.values()) reject(error);
      this.waiting.clear();
      onEvent({ event: "broken", sentence: error.message });
    };
  }

  /** @param {{id: number, result?: any, error?: string}} answer */
  #answer({ id, result, error }) {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (error === undefined) waiting?.resolve(result);
    else waiting?.reject(new Error(error));
  }

  /** Call a method of the engine. @param {string} method @param {...any} given @returns {Promise<any>} */
  call(method, ...given) {
    const id = ++this.last;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, method, given });
    });
  }

  dispose() {
    this.worker.terminate();
  }
}
