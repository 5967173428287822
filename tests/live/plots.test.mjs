// Plots as marks: growing, in bounds, one curve a side.
import assert from "node:assert/strict";
import { test } from "node:test";
import { episodePlot, linePath, plotHeight, spanOf, timeShares, tokenBins, tokenRaster } from "../../vla_tutorial/live/page/plots.js";

const line = (step, close = false) => ({
  step, img_mean: 1, img_quarters: [1, 1, 1, 1], reward: 0, gripper_qpos: [0.04, -0.04],
  action: [0.3, 0, 0.4, 0, 0, 0, close ? 1 : -1], tokens: [31999, 31745, 31872, 31999, 31999, 31999, 31745], eef_pos: [0, 0, 0.2],
});
const side = (n, more = {}) => ({ letter: "A", lines: Array.from({ length: n }, (_, k) => line(k, k >= 40)), success: null, events: [], ...more });
const of = (marks, tag, name) => marks.filter(([t, a]) => t === tag && String(a.class).split(" ").includes(name));

test("an empty episode has axes and no curve", () => {
  const marks = episodePlot([side(0)], 600);
  assert.equal(of(marks, "path", "line").length, 0);
  assert.ok(of(marks, "text", "tick").length > 10);
});

test("curves grow, and the axis with them", () => {
  assert.deepEqual([side(0), side(140), side(141), side(300)].map((one) => spanOf([one])), [140, 140, 280, 300]);
  const last = (n) => Number(of(episodePlot([side(n)], 600), "path", "line")[1][1].d.match(/L([\d.]+) [\d.]+$/)[1]);
  assert.ok(last(20) < last(21));
  assert.equal(of(episodePlot([side(30)], 600), "circle", "dot").length, 0);
  assert.equal(of(episodePlot([side(50)], 600), "circle", "dot").length, 1);
});

test("two sides have three curves each, and everything stays inside", () => {
  const marks = episodePlot([side(280, { success: false, events: [{ step: 270, text: "no_flip on" }] }), side(127, { letter: "B", success: true })], 360);
  assert.equal(of(marks, "path", "side-A").length, 3);
  assert.equal(of(marks, "path", "side-B").length, 3);
  for (const [, at] of marks) for (const key of ["x", "x1", "x2", "cx"]) if (key in at) assert.ok(at[key] >= 0 && at[key] <= 360, `${key} ${at[key]}`);
  for (const [, at] of marks) for (const key of ["y", "y1", "y2", "cy"]) if (key in at) assert.ok(at[key] >= 0 && at[key] <= plotHeight(2), `${key} ${at[key]}`);
  assert.match(of(marks, "text", "end").map((mark) => mark[2]).join(" "), /✗ 280.*✓ 127/);
});

test("a stepped curve holds its value", () => {
  assert.equal(linePath([1, 2], (k) => k * 10, (v) => v, true), "M0.0 1.0H10.0V2.0H20.0");
  assert.equal(linePath([], (k) => k, (v) => v, true), "");
});

test("tokens as bins: 31999 is the lowest, 31745 the highest, and what lies beyond is clipped", () => {
  const bins = tokenBins({ ...line(0, true), tokens: [31999, 31745, 31872, 32500, 100, 31998, 31745] });
  assert.deepEqual(bins.map((b) => b.bin), [0, 254, 127, 0, 254, 1, 254]);
  assert.deepEqual([bins[0].text, bins[1].text, bins[6].text], ["+0.300", "+0.000", "close"]);
  assert.equal(tokenBins({ ...line(0), action: [0, 0, 0, 0, 0, 0, 0] })[6].text, "stay");
});

test("the raster has a column a step, and shares add up", () => {
  assert.equal(tokenRaster([line(0), line(1), line(2)]).length, 4 * 7 * 3);
  const shares = timeShares({ physics: 5, picture: 15, policy: 80 });
  assert.deepEqual(shares.map((part) => part.share), [0.05, 0.15, 0.8]);
  assert.deepEqual(timeShares({ physics: 0, picture: 0, policy: 0 }).map((part) => part.share), [0, 0, 0]);
});
