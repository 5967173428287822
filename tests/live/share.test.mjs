// Links: what goes in comes out, and a link of another version or with nonsense says what was left out.
import assert from "node:assert/strict";
import { test } from "node:test";
import { LONGEST_SENTENCE, fromLink, noTweaks, published, toLink } from "../../vla_tutorial/live/page/share.js";

const OBJECT = { suite: "libero_object", tasks: [0, 1, 2], inits: 50, layouts: [0, 1, 2, 3, 4], conditions: ["no_flip", "wrong_prompt", "light_50"] };
const LONG = { suite: "libero_10", tasks: [0, 2, 4], inits: 20, layouts: [0, 1], conditions: ["no_flip"] };
const KNOWN = { version: "0.1.0", suites: [OBJECT], policies: ["mini"] };
const FOUR = { ...KNOWN, suites: [OBJECT, LONG], policies: ["mini", "mini-narrow"] };

test("an experiment survives its link", () => {
  const sentences = [null, "", "take the can & put it in #1", "把汤罐放进篮子里", "x".repeat(LONGEST_SENTENCE), "a\nb+c=d%20"];
  for (const sentence of sentences) {
    const experiment = {
      suite: "libero_object",
      task: 2,
      init: 49,
      layout: sentence === "" ? 4 : null,
      sides: [{ conditions: ["no_flip", "wrong_prompt"], sentence, policy: "mini" }, { conditions: [], sentence: null, policy: "mini" }],
      tweaks: { ...noTweaks(), camera: -12.5, light: 0.5, mass: 3 },
      seed: 123456789,
    };
    const { experiment: found, notes } = fromLink(toLink(experiment, "0.1.0"), KNOWN);
    assert.deepEqual(found, experiment);
    assert.deepEqual(notes, []);
  }
});

test("suite and policies survive a link, and the page of one suite says what it lacks", () => {
  const sides = [{ conditions: ["no_flip"], sentence: "go", policy: "mini" }, { conditions: [], sentence: null, policy: "mini-narrow" }];
  const experiment = { ...published(), suite: "libero_10", task: 4, init: 19, sides };
  const link = toLink(experiment, "0.1.0");
  assert.deepEqual(fromLink(link, FOUR), { experiment, notes: [] });
  const { experiment: found, notes } = fromLink(link, KNOWN);
  assert.deepEqual([found.suite, found.task, found.init, found.sides.map((side) => side.policy)], ["libero_object", 0, 0, ["mini", "mini"]]);
  assert.deepEqual(found.sides[0], { ...sides[0], sentence: null });
  assert.equal(notes.length, 2);
  assert.match(notes[0], /^The link asks for the suite libero_10; this page has libero_object, and it starts with libero_object\.$/);
  assert.match(notes[1], /policy mini-narrow; this page has mini\.$/);
});

test("a link without a suite means libero_object, and one to it is as it was", () => {
  const old = "#v=1&from=0.1.0&task=2&init=49&a=no_flip";
  const { experiment, notes } = fromLink(old, FOUR);
  assert.deepEqual([experiment.suite, experiment.task, experiment.init, notes], ["libero_object", 2, 49, []]);
  assert.equal(toLink(experiment, "0.1.0"), old);
  const { notes: said } = fromLink(old, { ...KNOWN, suites: [LONG] });
  assert.deepEqual(said, ["The link asks for the suite libero_object; this page has libero_10, and it starts with libero_10."]);
  assert.deepEqual(fromLink("", { ...KNOWN, suites: [LONG] }).notes, []);
});

test("tasks and starts are those of the link's suite", () => {
  assert.match(fromLink("#suite=libero_10&task=1", FOUR).notes.join(), /task 1; the page has 0, 2, 4/);
  assert.match(fromLink("#suite=libero_10&task=2&init=20", FOUR).notes.join(), /init 20; the page has 0 to 19/);
  assert.match(fromLink("#suite=libero_10&a=light_50", FOUR).notes.join(), /does not have: light_50/);
});

test("an empty link is the published protocol", () => {
  for (const hash of ["", "#", "#nonsense"]) {
    assert.deepEqual(fromLink(hash, KNOWN), { experiment: published(), notes: [] });
  }
});

test("a link of another version says so, and keeps what still exists", () => {
  const { experiment, notes } = fromLink("#v=9&from=7.0&a=no_flip.gone_since&task=1", KNOWN);
  assert.deepEqual(experiment.sides, [{ conditions: ["no_flip"], sentence: null, policy: "mini" }]);
  assert.equal(experiment.task, 1);
  assert.match(notes.join(" "), /version 7\.0.*newer kind.*gone_since/);
});

for (const [hash, expected] of [
  ["#task=99", /task 99/],
  ["#task=1.5", /task 1\.5/],
  ["#init=-1", /init -1/],
  ["#init=", /init/],
  ["#layout=99", /layout 99; the page has 0 to 4/],
  ["#camera=abc", /camera is not a number/],
  ["#light=9", /light 9; the page allows 0 to 2/],
  [`#say_a=${"x".repeat(3000)}`, /3000 letters/],
]) {
  test(`one sentence for ${hash.slice(0, 20)}`, () => {
    const { experiment, notes } = fromLink(hash, KNOWN);
    assert.equal(notes.length, 1);
    assert.match(notes[0], expected);
    assert.ok(experiment.task === 0 && experiment.init === 0);
  });
}

test("names that stand there twice count once", () => {
  assert.deepEqual(fromLink("#a=no_flip.no_flip&b=", KNOWN).experiment.sides.length, 2);
  assert.deepEqual(fromLink("#a=no_flip.no_flip", KNOWN).experiment.sides[0].conditions, ["no_flip"]);
});
