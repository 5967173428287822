// The worker: messages to the engine and back.

import { Engine } from "./engine.js";
import { sentenceOf } from "./errors.js";
import { layers } from "./layers.js";

// Without the slash at its end, as the layers take it.
const base = new URL(".", import.meta.url).href.slice(0, -1);
const engine = new Engine(layers, base, (event) => postMessage(event));

addEventListener("message", async ({ data: { id, method, given } }) => {
  try {
    const result = await /** @type {any} */ (engine)[method](...given);
    postMessage({ id, result });
  } catch (error) {
    postMessage({ id, error: sentenceOf(error) });
  }
});
