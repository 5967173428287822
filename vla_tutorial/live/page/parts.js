// What all episodes share: the manifest, one task with its renderer, MuJoCo and the policy.

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
    /** @type {any} */ this.policy = null;
    /** @type {any} */ this.renderer = null;
    /** @type {any} */ this.mujoco = null;
  }

  async open() {
    this.manifest = await this.layers.loadManifest(this.base);
    return this.manifest;
  }

  /** Load physics, policy and a task; what is there already stays. @param {number} number */
  async load(number) {
    const { layers, base, manifest } = this;
    if (this.task?.task !== number) {
      this.#dropRenderer();
      this.task = await layers.loadTask(base, manifest, number, { onProgress: this.#report("scene") });
    }
    this.mujoco ??= await layers.loadMujoco(base);
    if (!this.policy) {
      const options = { base, manifest, name: "mini", onProgress: this.#report("policy") };
      this.policy = await layers.Policy.load(options);
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

  /** What computes the policy. */
  get provider() {
    return { provider: this.policy?.provider ?? "wasm", threads: this.policy?.threads ?? 1 };
  }

  dispose() {
    this.#dropRenderer();
    this.policy?.dispose();
  }
}
