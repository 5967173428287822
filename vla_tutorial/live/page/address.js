// The address bar: it always holds the whole experiment, and an address begins one.

import { fromLink, toLink } from "./share.js";
import { notice } from "./view.js";

export class Address {
  /** @param {import("./app.js").App} app */
  constructor(app) {
    this.app = app;
  }

  /** What a link may name. @returns {import("./types").Known} */
  get known() {
    /** @type {import("./assets.js").Manifest} */
    const { suites, policies, versions } = this.app.manifest;
    return {
      version: versions.vla_tutorial,
      suites: suites.map(({ suite, tasks, conditions, initialStates }) => ({
        suite,
        tasks: tasks.map(({ task }) => task),
        inits: initialStates,
        layouts: tasks[0].layouts.map(({ seed }) => seed),
        conditions: conditions.filter(({ supported }) => supported).map(({ name }) => name),
      })),
      policies: Object.keys(policies),
    };
  }

  get #link() {
    return toLink(this.app.experiment, this.known.version);
  }

  /** Make the experiment what the address asks for. */
  read() {
    const { experiment, notes } = fromLink(location.hash, this.known);
    this.app.experiment = experiment;
    for (const note of notes) notice(note);
    this.app.choices.fit();
    this.app.stage.rebuild();
    this.app.choices.show();
  }

  /** The address was changed while the page was open. */
  follow() {
    const begun = this.app.run.arranged;
    this.read();
    if (begun) this.app.act(() => this.app.run.go());
  }

  /** Write the experiment into the address. */
  keep() {
    history.replaceState(null, "", this.#link);
  }

  async copy() {
    const link = new URL(this.#link, location.href).href;
    history.replaceState(null, "", link);
    try {
      await navigator.clipboard.writeText(link);
      notice("The link is copied. Whoever opens it gets the same task, initial state, conditions and sentence.");
    } catch {
      notice(`This browser does not let the page copy. The link stands in the address bar: ${link}`);
    }
  }
}
