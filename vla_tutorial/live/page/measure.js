// The form “Measure”: plan, run, stop, resume, export.

import { suiteOf } from "./assets.js";
import { download, find, h } from "./dom.js";
import { PRESETS } from "./presets.js";
import { mcnemar, wilson } from "./statistics.js";
import { openStore } from "./store.js";
import * as sweep from "./sweep.js";
import * as view from "./view.js";
import { zip } from "./zip.js";

/** @typedef {import("./types").SweepPlan} SweepPlan */
/** @typedef {import("./types").SweepStore} SweepStore */

const LOCK = "vla-tutorial-live-sweep";
const $ = (/** @type {string} */ id) => find(`#${id}`);
const field = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ ($(id));

export class Measure {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
    /** @type {SweepStore | null} */ this.store = null;
    /** @type {AbortController | null} */ this.stop = null;
  }

  async open() {
    const { store, note } = await openStore();
    this.store = store;
    if (note) $("plan-says").textContent = note;
    const listed = PRESETS.map((preset) => preset.conditions[0] ?? sweep.PUBLISHED);
    for (const name of listed) this.#offer(name, name !== "wrong_unnorm_key");
    $("plan").addEventListener("submit", (event) => {
      event.preventDefault();
      this.app.act(() => this.#begin());
    });
    $("pause-sweep").addEventListener("click", () => this.halt());
    await this.#listKept();
  }

  /** @param {string} name @param {boolean} on */
  #offer(name, on) {
    const box = h("input", { type: "checkbox", value: name, checked: on });
    $("measured").append(h("label", {}, box, h("code", {}, name)));
  }

  /** Conditions that are on in the page, as one that can be measured too. */
  #now() {
    const { sides } = this.app.experiment;
    return sides[sides.length - 1].conditions.join("+");
  }

  async #begin() {
    const starts = /** @type {SweepPlan["starts"]} */ (field("starts-kind").value);
    const { sides } = this.app.experiment;
    const { policy } = sides[sides.length - 1];
    this.app.checkPolicy(policy);
    const { suite, initialStates, tasks: known } = this.app.suite;
    const count = starts === "layouts" ? known[0].layouts.length : initialStates;
    const inits = sweep.parseNumbers(field("starts").value, count - 1);
    const tasks = sweep.parseNumbers(field("tasks").value, known.length - 1);
    const boxes = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("#measured input")]);
    const conditions = boxes.filter((box) => box.checked).map((box) => box.value);
    const now = this.#now();
    if (now && !boxes.some((box) => box.value === now)) {
      this.#offer(now, true);
      conditions.push(now);
    }
    if (!conditions.length) throw new Error("No condition is ticked; tick at least one.");
    for (const name of conditions.flatMap((one) => one.split("+"))) {
      const refused = known.find(({ task, refusals }) => tasks.includes(task) && name in refusals);
      if (refused) throw new Error(`Task ${refused.task} cannot have ${name}. ${refused.refusals[name]}`);
    }
    const plan = {
      id: new Date().toISOString(),
      started: new Date().toISOString().replace(/\.\d+Z$/, "+00:00"),
      suite,
      tasks,
      inits,
      starts,
      conditions,
      about: this.#about(policy),
    };
    await this.#kept().putSweep(plan);
    await this.run(plan);
  }

  #kept() {
    if (!this.store) throw new Error("The page is still opening its store; try again in a second.");
    return this.store;
  }

  /** What a shard says of where it ran. Threads and provider may differ between shards. @param {string} name of the policy */
  #about(name) {
    const { manifest, run, experiment } = this.app;
    const { sha256, warnings } = manifest.policies[name];
    const warning = warnings[experiment.suite];
    const checkpoint = `vla_tutorial/weights/${name.replaceAll("-", "_")}`;
    const policy = { name, checkpoint, device: "browser", weights: sha256.slice(0, 16) };
    return {
      policy: warning ? { ...policy, warning } : policy,
      versions: Object.fromEntries(Object.entries(manifest.versions).map(([key, value]) => [key, String(value)])),
      serving: run.serving ?? {},
      machine: { gpus: [], cpus: navigator.hardwareConcurrency || 1, cpu: navigator.userAgent.slice(0, 200) },
    };
  }

  /** Run what is left of a sweep; one tab at a time. @param {SweepPlan} plan */
  async run(plan) {
    suiteOf(this.app.manifest, plan.suite); // a sweep may have been kept by a page with other suites
    const alone = await navigator.locks.request(LOCK, { ifAvailable: true }, async (lock) => {
      if (lock) await this.#runAlone(plan);
      return lock !== null;
    });
    if (!alone) view.notice("Another tab of this browser is measuring. Stop it there, or wait.");
  }

  /** @param {SweepPlan} plan */
  async #runAlone(plan) {
    const { app } = this;
    const store = this.#kept();
    this.stop = new AbortController();
    this.#busy(true);
    await app.run.pause();
    this.rows = await store.rows(plan.id);
    this.#draw(plan);
    try {
      await sweep.runSweep({
        plan,
        store,
        signal: this.stop.signal,
        runEpisode: (key) => app.engine.call("runEpisode", key, { suite: plan.suite, starts: plan.starts, policy: plan.about.policy.name }),
        onRow: (row) => {
          this.rows = [...(this.rows ?? []).filter((old) => !same(old, row)), row];
          this.#draw(plan);
        },
      });
    } finally {
      this.stop = null;
      this.#busy(false);
      app.run.arranged = false;
      await this.#listKept();
    }
    const left = sweep.episodesLeft(plan, await store.rows(plan.id)).length;
    $("plan-says").textContent = left ? `Stopped with ${left} episodes left. You can resume below.` : "All episodes have ended.";
  }

  async halt() {
    this.stop?.abort();
    await this.app.engine.call("pause");
  }

  /** @param {boolean} busy */
  #busy(busy) {
    for (const id of ["measure", "play", "step", "restart"]) $(id).toggleAttribute("disabled", busy);
    $("pause-sweep").toggleAttribute("disabled", !busy);
  }

  /** @param {{key: import("./types").EpisodeKey, steps: number, shown: any}} event */
  onStep({ key, steps, shown }) {
    $("plan-says").textContent = `Now: ${key.condition}, task ${key.task}, initial state ${key.init}, step ${steps}.`;
    const first = this.app.stage.sides[0].view;
    first.showVeil(null);
    first.showPicture(shown);
  }

  /** @param {SweepPlan} plan */
  #draw(plan) {
    view.drawTable(sweep.sweepTable(plan, this.rows ?? [], { wilson, mcnemar }));
  }

  async #listKept() {
    const store = this.#kept();
    const plans = await store.sweeps();
    const items = await Promise.all(plans.map((plan) => this.#item(plan)));
    $("kept").replaceChildren(...(items.length ? [h("ul", { class: "kept" }, ...items)] : []));
  }

  /** @param {SweepPlan} plan */
  async #item(plan) {
    const store = this.#kept();
    const rows = await store.rows(plan.id);
    const left = sweep.episodesLeft(plan, rows).length;
    const kind = plan.starts === "layouts" ? "random layouts" : "initial states";
    const more = this.app.manifest.suites.length > 1 ? ` of ${plan.suite}` : "";
    const starts = `${kind} ${sweep.formatNumbers(plan.inits)}, tasks ${sweep.formatNumbers(plan.tasks)}${more}`;
    const total = sweep.episodesOf(plan).length;
    const show = async () => {
      this.rows = await store.rows(plan.id);
      this.#draw(plan);
    };
    const button = (/** @type {string} */ text, /** @type {() => Promise<unknown>} */ what) =>
      h("button", { type: "button", onclick: () => this.app.act(what) }, text);
    return h("li", {},
      h("span", {}, `${plan.started.slice(0, 16).replace("T", " ")}: ${plan.conditions.join(", ")}; ${starts}; ${total - left} of ${total} ended`),
      left > 0 && button("Resume", async () => this.run(plan)),
      button("Show", show),
      button("Download shard", async () => this.#export(plan)),
      button("Delete", async () => {
        await store.remove(plan.id);
        await this.#listKept();
      }),
    );
  }

  /** @param {SweepPlan} plan */
  async #export(plan) {
    const store = this.#kept();
    const files = sweep.shardFiles(plan, await store.rows(plan.id), await store.logs(plan.id));
    download(`shard_${sweep.formatNumbers(plan.inits)}.zip`, await zip(files));
  }
}

/** @param {import("./types").EpisodeRow} a @param {import("./types").EpisodeRow} b */
const same = (a, b) => a.condition === b.condition && a.task === b.task && a.init === b.init;
