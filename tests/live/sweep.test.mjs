// A sweep: order, resuming after a stop, errors, the table, and what is exported.
import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryStore } from "../../vla_tutorial/live/page/store.js";
import * as sweep from "../../vla_tutorial/live/page/sweep.js";

const about = { policy: { name: "mini" }, versions: { "vla-tutorial": "0.1.0" }, serving: {}, machine: { gpus: [], cpus: 2 } };
const plan = (more = {}) => ({ id: "one", started: "2026-01-01T00:00:00Z", suite: "libero_object", tasks: [0, 3], inits: [0, 1, 2], conditions: ["published", "no_flip"], about, ...more });
const statistics = { wilson: (k, n) => ({ low: k / n / 2, high: 1 }), mcnemar: (a, b) => (a === b ? 1 : 0.5) };
const ended = (key, success = true) => ({
  row: { suite: "libero_object", ...key, success, outcome: success ? "success" : "failure", steps: 9, first_close: 3, closes: 1, seconds: 1.5, attempt: 1, folder: sweep.folderOf(key), error: null, travel: 0.2501 },
  log: `{"step": 0}\n`,
});

test("a start is run under all conditions before the next one", () => {
  const order = sweep.episodesOf(plan()).map(({ condition, task, init }) => `${init}${task}${condition[0]}`);
  assert.deepEqual(order.slice(0, 5), ["00p", "00n", "03p", "03n", "10p"]);
  assert.equal(new Set(order).size, 12);
});

test("a sweep that was stopped resumes with what is left, and loses nothing", async () => {
  const store = memoryStore();
  await store.putSweep(plan());
  const run = [];
  const stop = new AbortController();
  await sweep.runSweep({
    plan: plan(), store, signal: stop.signal, onRow: () => {},
    runEpisode: async (key) => {
      run.push(key);
      if (run.length === 5) { stop.abort(); throw new Error("stopped"); }
      return ended(key, key.condition === "published");
    },
  });
  assert.equal((await store.rows("one")).length, 4);
  const rows = [];
  await sweep.runSweep({ plan: plan(), store, signal: new AbortController().signal, onRow: (row) => rows.push(row), runEpisode: async (key) => ended(key, key.condition === "published") });
  assert.equal(rows.length, 8);
  assert.equal((await store.rows("one")).length, 12);
  assert.equal((await store.logs("one")).size, 12);
  const [published, noFlip] = sweep.sweepTable(plan(), await store.rows("one"), statistics);
  assert.deepEqual([published.done, published.successes, noFlip.successes], [6, 6, 0]);
  assert.deepEqual(noFlip.paired, { pairs: 6, onlyFirst: 6, onlyThis: 0, pValue: 0.5 });
  assert.equal(published.paired, null);
});

test("an episode that breaks is tried twice, and is no failure", async () => {
  const store = memoryStore();
  await store.putSweep(plan({ tasks: [0], inits: [0], conditions: ["published"] }));
  let tries = 0;
  const given = { plan: plan({ tasks: [0], inits: [0], conditions: ["published"] }), store, signal: new AbortController().signal, onRow: () => {} };
  await sweep.runSweep({ ...given, runEpisode: async () => { tries++; throw new Error("the GPU is lost"); } });
  const [row] = await store.rows("one");
  assert.deepEqual([tries, row.outcome, row.success, row.attempt], [2, "error", null, 2]);
  assert.match(row.error, /the GPU is lost/);
  assert.deepEqual(sweep.sweepTable(given.plan, [row], statistics)[0].done, 0);
  await sweep.runSweep({ ...given, runEpisode: async (key) => ended(key) }); // an error is run again
  assert.equal((await store.rows("one"))[0].outcome, "success");
});

test("nothing to compare and nothing ended", () => {
  const rows = sweep.sweepTable(plan(), [], statistics);
  assert.deepEqual(rows.map(({ done, interval, paired }) => [done, interval, paired]), [[0, null, null], [0, null, null]]);
});

test("ranges of numbers", () => {
  assert.deepEqual(sweep.parseNumbers("0-2, 7,7", 9), [0, 1, 2, 7]);
  assert.equal(sweep.formatNumbers([7, 0, 1, 2, 2]), "0-2,7");
  for (const text of ["", "a", "3-1", "0-10", "-1", "1,,2", "1.5"]) assert.throws(() => sweep.parseNumbers(text, 9), /must be numbers from 0 to 9/, text);
});
