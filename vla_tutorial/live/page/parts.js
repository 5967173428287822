// What all episodes share: the manifest, one task with its renderer, MuJoCo and the policies.

/** How long one waits for graphics that are lost. */
const LOST_SECONDS = 60;

/** Size of the picture that is shown and, where the views are the same, that the policy gets. */
export const SIZE = 256;

export class Parts {
  /**
   * `layers` are the modules that do the work, so that tests replace them.
   * @param {import("./engine_types").Layers} layers @param {string} base address of the page's folder
   * @param {import("./engine_types").Emit} emit
   */
  constructor(layers, base, emit) {
    this.layers = layers;
    this.base = base;
    this.emit = emit;
    /** @type {any} */ this.manifest = null;
    /** @type {any} */ this.task = null;
    /** Those that have acted, by name. @type {Map<string, import("./policy.js").Policy>} */ this.policies = new Map();
    /** @type {any} */ this.renderer = null;
    /** @type {any} */ this.mujoco = null;
  }

  async open() {
    this.manifest = await this.layers.loadManifest(this.base);
    return this.manifest;
  }

  /** Whether a task is the one that is loaded. @param {string} suite @param {number} task */
  holds(suite, task) {
    return this.task?.suite === suite && this.task.task === task;
  }

  /**
   * Load physics, a task and the policies that act; what is there already stays.
   * @param {string} suite @param {number} number @param {string[]} policies
   */
  async load(suite, number, policies) {
    const { layers, base, manifest } = this;
    if (!this.holds(suite, number)) {
      this.#dropRenderer();
      this.task = await layers.loadTask(base, manifest, suite, number, { onProgress: this.#report("scene") });
    }
    this.mujoco ??= await layers.loadMujoco(base);
    for (const name of policies) {
      if (this.policies.has(name)) continue;
      const options = { base, manifest, name, onProgress: this.#report("policy") };
      this.policies.set(name, await layers.Policy.load(options));
    }
    this.renderer ??= this.#makeRenderer();
    await this.#graphics();
  }

  /** @param {string} what */
  #report(what) {
    return (/** @type {number} */ done, /** @type {number} */ all) =>
      this.emit({ event: "progress", what, done, all });
  }

  #makeRenderer() {
    const renderer = new this.layers.Renderer(new OffscreenCanvas(SIZE, SIZE), this.task);
    renderer.addEventListener("lost", () => this.emit({ event: "graphics", lost: true }));
    renderer.addEventListener("restored", () => this.emit({ event: "graphics", lost: false }));
    return renderer;
  }

  /** Wait for graphics that the browser took away. */
  async #graphics() {
    for (let waited = 0; this.renderer.lost && waited < LOST_SECONDS; waited++) {
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }

  #dropRenderer() {
    this.renderer?.dispose();
    this.renderer = null;
  }

  /** A policy that was loaded. @param {string} name */
  policy(name) {
    return /** @type {import("./policy.js").Policy} */ (this.policies.get(name));
  }

  /** What computes a policy. @param {string} name */
  provider(name) {
    const { provider, threads } = this.policy(name);
    return { provider, threads };
  }

  dispose() {
    this.#dropRenderer();
    for (const policy of this.policies.values()) policy.dispose();
  }
}
