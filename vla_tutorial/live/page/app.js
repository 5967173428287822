// The page: its parts, what is pressed, and what the engine tells.

import { Address } from "./address.js";
import { suiteOf } from "./assets.js";
import { Choices } from "./choices.js";
import { find, h } from "./dom.js";
import { embed, embedded } from "./embed.js";
import { EngineClient } from "./engine_client.js";
import { keyboard } from "./hands.js";
import { LogPanel } from "./log_panel.js";
import { Measure } from "./measure.js";
import { forgetKept, registerServiceWorker } from "./offline.js";
import { Run } from "./run.js";
import { published } from "./share.js";
import { Stage } from "./stage.js";
import * as view from "./view.js";

const $ = (/** @type {string} */ id) => find(`#${id}`);
const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id));

export class App {
  constructor() {
    this.engine = new EngineClient((event) => this.#onEvent(event));
    this.experiment = published();
    /** @type {any} */ this.manifest = null;
    this.stage = new Stage(this);
    this.run = new Run(this);
    this.choices = new Choices(this);
    this.address = new Address(this);
    this.log = new LogPanel(this);
    this.measure = new Measure(this);
  }

  /** What the build has of the experiment's suite. */
  get suite() {
    return suiteOf(this.manifest, this.experiment.suite);
  }

  /** The suite's conditions by name. */
  get conditions() {
    return new Map(this.suite.conditions.map((condition) => [condition.name, condition]));
  }

  /** Refuse a policy where Python does not run it. @param {string} policy */
  checkPolicy(policy) {
    const refusal = this.manifest.policies[policy].refusals[this.experiment.suite];
    if (refusal) throw new Error(refusal);
  }

  /** Read what there is, and show the first state without loading anything heavy. */
  async open() {
    this.manifest = await this.engine.call("open");
    await this.log.open();
    this.choices.open();
    this.#listen();
    this.address.read();
    this.#showFoot();
    embed(this);
    this.measure.open();
    $("live").dataset.state = "idle";
    const asked = new URLSearchParams(location.hash.slice(1));
    const open = asked.get("open");
    for (const part of document.querySelectorAll("details")) if (part.id === open) part.open = true;
    if (asked.has("run")) await this.run.go();
  }

  #showFoot() {
    const { versions, policies } = this.manifest;
    const threads = crossOriginIsolated
      ? "as many threads as help"
      : "one thread (this page is not isolated, so it may not have more)";
    $("about").textContent =
      `Physics: MuJoCo ${versions.mujocoInPage ?? "3.3.8"} (npm mujoco-js ${versions["mujoco-js"]}); the library is pinned to ${versions.mujoco}. ` +
      `Policy: onnxruntime-web ${versions["onnxruntime-web"]}, ${threads}.`;
    $("twin").hidden = !("mini-narrow" in policies);
    $("book").hidden = embedded || !location.pathname.includes("/live/");
    $("large").hidden = !embedded;
  }

  #listen() {
    const { run, choices, address, log } = this;
    const press = (/** @type {string} */ id, /** @type {() => unknown} */ what) =>
      $(id).addEventListener("click", () => this.act(async () => what()));
    press("play", () => run.toggle());
    press("step", () => run.stepOnce());
    press("restart", () => run.restart());
    press("disturb", () => run.disturb());
    press("camera", () => run.setLookAround(!run.lookAround));
    press("next", () => choices.setInit(this.experiment.init + 1));
    press("previous", () => choices.setInit(this.experiment.init - 1));
    press("random", () => choices.randomLayout());
    press("copy", () => address.copy());
    press("diagnose", () => log.judge());
    press("download", () => log.downloadSteps());
    press("download-episode", () => log.downloadEpisode());
    field("init").addEventListener("change", () => choices.setInit(Number(field("init").value)));
    field("suite").addEventListener("change", () => choices.setSuite(field("suite").value));
    field("task").addEventListener("change", () => choices.setTask(Number(field("task").value)));
    field("speed").addEventListener("change", () => run.setSpeed());
    field("compare").addEventListener("change", () => choices.compare(field("compare").checked));
    field("judge").addEventListener("change", () => log.judgeFile());
    addEventListener("hashchange", () => address.follow());
    document.addEventListener("visibilitychange", () => run.onHidden());
    new ResizeObserver(() => this.stage.draw()).observe($("plot"));
    keyboard(this);
  }

  /** Do something that may fail, and say so in one sentence. @param {() => Promise<unknown>} what */
  async act(what) {
    try {
      await what();
    } catch (error) {
      this.#broken(error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {any} event */
  #onEvent(event) {
    if (event.event === "paused") this.run.setPlaying(false);
    else if (event.event === "progress") this.stage.onProgress(event);
    else if (event.event === "sweeping") this.measure.onStep(event);
    else if (event.event === "graphics") this.#onGraphics(event.lost);
    else if (event.event === "broken") this.#broken(event.sentence, event.over);
    else this.stage.onSide(event);
  }

  /** @param {boolean} lost */
  #onGraphics(lost) {
    if (lost) view.notice("The browser took the graphics away. The run waits until it gives them back.");
    else view.notice(`The graphics are back${this.run.waiting ? ", and the run goes on" : ""}.`);
    this.act(() => this.run.onGraphics(lost));
  }

  /** @param {string} sentence @param {boolean} [over] whether the episode must begin again */
  #broken(sentence, over = false) {
    this.run.setPlaying(false);
    if (over) this.run.arranged = false;
    if (sentence === "stopped") return;
    view.notice(sentence, "bad");
    const loading = $("live").dataset.state === "loading";
    // What was kept may be what is wrong. Without a network it is all that there is.
    if (loading && navigator.onLine) forgetKept();
    if (loading) $("live").dataset.state = "idle";
    if (!this.run.arranged) this.stage.veil({ text: sentence, button: "Try again" });
  }
}

/** Start, where boot.js found nothing in the way. */
async function main() {
  if (globalThis.vlaProblem) return;
  if (await registerServiceWorker()) return;
  const app = new App();
  Object.assign(globalThis, { vlaLive: app });
  try {
    await app.open();
  } catch (error) {
    view.notice(`This page could not start: ${error instanceof Error ? error.message : error}`, "bad");
  }
}

main();
