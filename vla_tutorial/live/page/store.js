// Sweeps that outlive a closed tab: IndexedDB, or the tab's memory where a browser forbids that.

/** @typedef {import("./types").SweepStore} SweepStore */
/** @typedef {import("./types").SweepPlan} SweepPlan */
/** @typedef {import("./types").EpisodeRow} EpisodeRow */

const NAME = "vla-tutorial-live";
const VERSION = 1;

/**
 * The store of this browser, and a sentence where it will not outlive the tab.
 * @returns {Promise<{store: SweepStore, note: string | null}>}
 */
export async function openStore() {
  try {
    const database = await asPromise(openRequest());
    return { store: indexedStore(database), note: null };
  } catch {
    const note =
      "This browser keeps no data for this page (a private window does not), so download the sweep before you close the tab.";
    return { store: memoryStore(), note };
  }
}

function openRequest() {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("sweeps", { keyPath: "id" });
    for (const name of ["rows", "logs"]) request.result.createObjectStore(name);
  };
  return request;
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function asPromise(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function committed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

/** @param {string} id @param {EpisodeRow} row */
const keyOf = (id, row) => [id, row.condition, row.task, row.init];
/** @param {string} id */
const all = (id) => IDBKeyRange.bound([id], [id, []]);

/** @param {IDBDatabase} database @returns {SweepStore} */
function indexedStore(database) {
  const read = (/** @type {string} */ name) => database.transaction(name).objectStore(name);
  const write = (/** @type {string[]} */ ...names) => database.transaction(names, "readwrite");
  return {
    sweeps: () => asPromise(read("sweeps").getAll()),
    rows: (id) => asPromise(read("rows").getAll(all(id))),
    async logs(id) {
      /** @type {{folder: string, log: string}[]} */
      const found = await asPromise(read("logs").getAll(all(id)));
      return new Map(found.map(({ folder, log }) => [folder, log]));
    },
    async putSweep(plan) {
      const change = write("sweeps");
      change.objectStore("sweeps").put(plan);
      await committed(change);
    },
    async putRow(id, row, log) {
      const change = write("rows", "logs");
      change.objectStore("rows").put(row, keyOf(id, row));
      if (row.folder) change.objectStore("logs").put({ folder: row.folder, log }, keyOf(id, row));
      await committed(change);
    },
    async remove(id) {
      const change = write("sweeps", "rows", "logs");
      change.objectStore("sweeps").delete(id);
      for (const name of ["rows", "logs"]) change.objectStore(name).delete(all(id));
      await committed(change);
    },
  };
}

/** The same in memory, for tests and for browsers that keep nothing. @returns {SweepStore} */
export function memoryStore() {
  /** @type {Map<string, {plan: SweepPlan, rows: Map<string, EpisodeRow>, logs: Map<string, string>}>} */
  const kept = new Map();
  return {
    sweeps: async () => [...kept.values()].map(({ plan }) => plan),
    rows: async (id) => [...(kept.get(id)?.rows.values() ?? [])],
    logs: async (id) => new Map(kept.get(id)?.logs),
    async putSweep(plan) {
      kept.set(plan.id, { rows: new Map(), logs: new Map(), ...kept.get(plan.id), plan });
    },
    async putRow(id, row, log) {
      const sweep = kept.get(id);
      if (!sweep) return;
      sweep.rows.set(keyOf(id, row).join("/"), row);
      if (row.folder) sweep.logs.set(row.folder, log);
    },
    async remove(id) {
      kept.delete(id);
    },
  };
}
