// Running: begin, play, pause, step, and what hands do to the scene meanwhile.

import { find } from "./dom.js";
import { tell } from "./embed.js";
import { notice } from "./view.js";

const speed = () => Number(/** @type {HTMLSelectElement} */ (find("#speed")).value);

export class Run {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    /** Whether the engine holds the experiment at or after its start. */ this.arranged = false;
    this.playing = false;
    this.lookAround = false;
    /** Whether it goes on when the graphics are back. */ this.waiting = false;
    /** The body that is held. @type {string | null} */ this.held = null;
    /** When the episode began, in milliseconds. */ this.began = 0;
    /** What computes the policy. @type {any} */ this.serving = null;
  }

  /** Load what is missing, begin, and play. */
  async go() {
    await this.app.act(async () => {
      await this.arrange();
      await this.play();
    });
  }

  /** Put everything at its start. */
  async arrange() {
    const { stage, engine, experiment, measure } = this.app;
    if (measure.stop) throw new Error("The page is measuring and uses the same physics. Stop the measurement first.");
    try {
      for (const { policy } of experiment.sides) this.app.checkPolicy(policy);
    } catch (error) {
      await this.pause();
      this.arranged = false;
      throw error;
    }
    find("#live").dataset.state = "loading";
    stage.veil({ text: "Loading physics, scene and policy …", share: 0 });
    stage.forget();
    this.serving = await engine.call("arrange", experiment);
    this.arranged = true;
    find("#live").dataset.state = "ready";
    this.began = performance.now();
    stage.veil(null);
    for (const { view } of stage.sides) tell({ type: "begin", side: view.letter });
    stage.draw();
  }

  async play() {
    if (!this.arranged) await this.arrange();
    if (this.app.stage.sides.every((side) => side.success !== null)) await this.arrange();
    this.setPlaying(true);
    await this.app.engine.call("play", speed());
  }

  async pause() {
    this.waiting = false;
    await this.app.engine.call("pause");
    this.setPlaying(false);
  }

  toggle() {
    return this.app.act(() => (this.playing ? this.pause() : this.play()));
  }

  async stepOnce() {
    if (!this.arranged) await this.arrange();
    await this.app.engine.call("stepOnce");
  }

  /** From the same start again, running if it ran. */
  async restart() {
    const ran = this.playing;
    await this.arrange();
    if (ran) await this.play();
  }

  setSpeed() {
    if (this.playing) this.app.engine.call("play", speed());
  }

  /** @param {boolean} playing */
  setPlaying(playing) {
    this.playing = playing;
    find("#play").textContent = playing ? "Pause" : "Play";
    find("#live").dataset.playing = String(playing);
  }

  onHidden() {
    if (!document.hidden || !this.playing) return;
    this.app.act(() => this.pause());
    notice("The run was paused because its tab went to the background. A sweep continues there.");
  }

  /** @param {boolean} lost */
  async onGraphics(lost) {
    const goOn = !lost && this.waiting;
    this.waiting = lost && (this.waiting || this.playing);
    if (goOn) await this.play();
  }

  async disturb() {
    const { app } = this;
    if (!this.arranged) await this.arrange();
    app.experiment.seed += 1;
    await app.engine.call("disturb", app.experiment.seed);
    for (const side of app.stage.sides) app.stage.mark(side, "disturbed");
    app.address.keep();
  }

  /** Take hold of what is under the finger, and say what it is. @param {number} i @param {number[]} at */
  async grab(i, at) {
    const body = await this.app.engine.call("grab", i, at);
    this.held = body;
    const name = body && body.replace(/_main$/, "").replace(/_\d+(?=_|$)/g, "").replaceAll("_", " ");
    find("#clock").textContent = body
      ? `You hold: ${name}.${this.playing ? "" : " It moves when the run goes on."}`
      : "Nothing there can be moved.";
    if (body) this.app.stage.mark(this.app.stage.sides[i], `pulled ${name}`);
  }

  /** Pull an object of the goal a little. @param {number} i @param {number[]} way right and down */
  async tug(i, way) {
    const body = await this.app.engine.call("tug", i, ...way);
    if (!body) find("#clock").textContent = "This task moves no object. Pull a drawer, a door or a knob with the mouse.";
  }

  /** @param {number} i */
  async release(i) {
    this.held = null;
    find("#clock").textContent = "";
    await this.app.engine.call("release", i);
  }

  /** Let the reader's own camera show the scene, or the robot's. @param {boolean} on */
  async setLookAround(on) {
    this.lookAround = on;
    find("#camera").setAttribute("aria-pressed", String(on));
    find("#hint").textContent = on
      ? "Drag or use the arrow keys to turn the camera. The wheel or + and − move it. The policy still sees its own picture."
      : "Drag an object to pull it as with a spring. Space plays and pauses, the full stop makes one step, R restarts.";
    if (this.arranged) await this.app.engine.call("lookAround", on);
  }
}
