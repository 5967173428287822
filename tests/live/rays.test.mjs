// Rays: a point that is dragged stays under the finger.
import assert from "node:assert/strict";
import { test } from "node:test";
import { depthOf, freeEye, pointAt, robotEye } from "../../vla_tutorial/live/page/rays.js";

const near = (a, b) => a.forEach((x, i) => assert.ok(Math.abs(x - b[i]) < 1e-9, `${a} and ${b}`));
const view = { azimuth: 90, elevation: -30, distance: 2, lookat: [0.1, 0.2, 0.3] };

test("the middle of the free camera's picture is what it looks at", () => near(pointAt(freeEye(view), 0.5, 0.5, 2), view.lookat));

test("a point's depth and place are found again", () => {
  const eye = freeEye(view);
  for (const [x, y, depth] of [[0.2, 0.7, 1.5], [0.9, 0.1, 0.3]]) assert.ok(Math.abs(depthOf(eye, pointAt(eye, x, y, depth)) - depth) < 1e-9);
});

test("right is right and up is up: a camera at azimuth 90 looks along +y", () => {
  const eye = freeEye({ ...view, elevation: 0 });
  const middle = pointAt(eye, 0.5, 0.5, 1);
  assert.ok(pointAt(eye, 0.6, 0.5, 1)[0] > middle[0]);
  assert.ok(pointAt(eye, 0.5, 0.4, 1)[2] > middle[2]);
});

test("the robot's camera walks around its pivot", () => {
  const camera = { position: [1, 0, 1], matrix: [0, 0, 1, 1, 0, 0, 0, 1, 0], fovy: 45 };
  near(robotEye(camera, [0, 0, 0], 90).position, [0, 1, 1]);
  near(pointAt(robotEye(camera, [0, 0, 1], 180), 0.5, 0.5, 1), [0, 0, 1]);
});
