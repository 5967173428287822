// A link that holds a whole experiment, and an experiment from a link.

/** @typedef {import("./types").Experiment} Experiment */
/** @typedef {import("./types").Known} Known */
/** @typedef {import("./types").Tweaks} Tweaks */

export const LINK_FORMAT = 2;
/** What a link of format 1 means, which knows neither suites nor policies. */
export const FIRST = { suite: "libero_object", policy: "mini" };
export const LONGEST_SENTENCE = 2000;

/** Lowest and highest value of a slider, as `Perturbation` allows them. */
export const RANGES = /** @type {const} */ ({
  camera: [-90, 90],
  light: [0, 2],
  noise: [0, 128],
  friction: [0.1, 10],
  mass: [0.1, 10],
});
export const TWEAKS = /** @type {(keyof Tweaks)[]} */ (Object.keys(RANGES));

/** @returns {Tweaks} */
export const noTweaks = () => ({ camera: null, light: null, noise: null, friction: null, mass: null });

/** The published settings on the first task. @returns {Experiment} */
export const published = () => ({
  suite: FIRST.suite,
  task: 0,
  init: 0,
  layout: null,
  sides: [{ conditions: [], sentence: null, policy: FIRST.policy }],
  tweaks: noTweaks(),
  seed: 0,
});

/**
 * The part of an address behind "#".
 * @param {Experiment} experiment
 * @param {string} version of vla_tutorial, so that another one can say that it is another
 */
export function toLink(experiment, version) {
  const { suite, sides } = experiment;
  const isOld = suite === FIRST.suite && sides.every(({ policy }) => policy === FIRST.policy);
  const found = new URLSearchParams({ v: String(isOld ? 1 : LINK_FORMAT), from: version });
  if (suite !== FIRST.suite) found.set("suite", suite);
  found.set("task", String(experiment.task));
  found.set("init", String(experiment.init));
  if (experiment.layout !== null) found.set("layout", String(experiment.layout));
  if (experiment.seed) found.set("seed", String(experiment.seed));
  sides.forEach((side, i) => {
    found.set("ab"[i], side.conditions.join("."));
    if (side.sentence !== null) found.set(`say_${"ab"[i]}`, side.sentence);
    if (side.policy !== FIRST.policy) found.set(`policy_${"ab"[i]}`, side.policy);
  });
  for (const name of TWEAKS) {
    const value = experiment.tweaks[name];
    if (value !== null) found.set(name, String(value));
  }
  return `#${found}`;
}

/**
 * What a link asks for. Whatever it asks for that does not exist is left out, with a sentence.
 * @param {string} hash with or without "#"
 * @param {Known} known
 * @returns {{experiment: Experiment, notes: string[]}}
 */
export function fromLink(hash, known) {
  const asked = new URLSearchParams(hash.replace(/^#/, ""));
  const experiment = published();
  /** @type {string[]} */
  const notes = [];
  const version = asked.get("from");
  if (version && version !== known.version) {
    notes.push(
      `This link was made by version ${version.slice(0, 20)}, and this page is version ` +
        `${known.version}: the run may differ.`,
    );
  }
  if (Number(asked.get("v") ?? LINK_FORMAT) > LINK_FORMAT) {
    notes.push("This link was made by a newer kind of page. What this page does not know is left out.");
  }
  const suite = suiteIn(asked, known, notes);
  experiment.suite = suite.suite;
  experiment.task = whole(asked, "task", suite.tasks, notes);
  experiment.init = whole(asked, "init", [...Array(suite.inits).keys()], notes);
  if (asked.has("layout")) experiment.layout = whole(asked, "layout", suite.layouts, notes);
  const seed = Number(asked.get("seed") ?? 0);
  experiment.seed = Number.isSafeInteger(seed) && seed >= 0 ? seed : 0;
  const may = { conditions: suite.conditions, policies: known.policies };
  experiment.sides = [sideOf(asked, "a", may, notes)];
  if (asked.has("b")) experiment.sides.push(sideOf(asked, "b", may, notes));
  for (const name of TWEAKS) experiment.tweaks[name] = tweakOf(asked, name, notes);
  return { experiment, notes };
}

/**
 * The suite of a link. Where this page lacks it, what is asked for within it means nothing here.
 * @param {URLSearchParams} asked @param {Known} known @param {string[]} notes
 */
function suiteIn(asked, { suites }, notes) {
  const name = asked.get("suite") ?? FIRST.suite;
  const found = suites.find(({ suite }) => suite === name);
  if (found) return found;
  const [first] = suites;
  if (asked.has("suite") || asked.has("task")) {
    const listed = suites.map(({ suite }) => suite).join(", ");
    notes.push(`The link asks for the suite ${name.slice(0, 40)}; this page has ${listed}, and it starts with ${first.suite}.`);
    for (const key of ["task", "init", "layout", "say_a", "say_b"]) asked.delete(key);
  }
  return first;
}

/** @param {URLSearchParams} asked @param {string} key @param {number[]} allowed @param {string[]} notes */
function whole(asked, key, allowed, notes) {
  const text = asked.get(key);
  if (text === null) return allowed[0] ?? 0;
  const value = Number(text);
  if (text.trim() !== "" && allowed.includes(value)) return value;
  const last = allowed[allowed.length - 1];
  const range = last - allowed[0] < allowed.length ? `${allowed[0]} to ${last}` : allowed.join(", ");
  notes.push(`The link asks for ${key} ${text.slice(0, 20)}; the page has ${range}. It starts with ${allowed[0]}.`);
  return allowed[0] ?? 0;
}

/** @param {URLSearchParams} asked @param {"a" | "b"} letter @param {{conditions: string[], policies: string[]}} known @param {string[]} notes */
function sideOf(asked, letter, known, notes) {
  const names = (asked.get(letter) ?? "").split(/[.+ ]/).filter(Boolean);
  const conditions = [...new Set(names.filter((name) => known.conditions.includes(name)))];
  const unknown = names.filter((name) => !known.conditions.includes(name));
  if (unknown.length) {
    const listed = unknown.slice(0, 3).map((name) => name.slice(0, 40));
    notes.push(`The link names conditions that this page does not have: ${listed.join(", ")}.`);
  }
  let sentence = asked.get(`say_${letter}`);
  if (sentence !== null && sentence.length > LONGEST_SENTENCE) {
    notes.push(`The link's sentence has ${sentence.length} letters; the first ${LONGEST_SENTENCE} are kept.`);
    sentence = sentence.slice(0, LONGEST_SENTENCE);
  }
  let policy = asked.get(`policy_${letter}`) ?? FIRST.policy;
  if (!known.policies.includes(policy)) {
    const lacks = `The link asks for the policy ${policy.slice(0, 40)}; this page has ${known.policies.join(", ")}.`;
    if (asked.has(`policy_${letter}`)) notes.push(lacks);
    policy = known.policies[0];
  }
  return { conditions, sentence, policy };
}

/** @param {URLSearchParams} asked @param {keyof Tweaks} name @param {string[]} notes */
function tweakOf(asked, name, notes) {
  const text = asked.get(name);
  if (text === null) return null;
  const value = Number(text);
  const [low, high] = RANGES[name];
  if (text.trim() === "" || Number.isNaN(value)) {
    notes.push(`The link's ${name} is not a number, so the page keeps its own.`);
    return null;
  }
  if (value >= low && value <= high) return value;
  notes.push(`The link asks for ${name} ${text.slice(0, 20)}; the page allows ${low} to ${high}, and takes the nearer end.`);
  return Math.min(Math.max(value, low), high);
}
