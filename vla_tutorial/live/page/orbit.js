// The reader's own camera, which turns around a place over the table.

/** @typedef {import("./types").OrbitView} OrbitView */

/** Where it begins: over the table, the robot behind it. */
const START = { azimuth: 150, elevation: -35, distance: 1.3, lookat: [0, 0, 0.1] };

export class Orbit {
  /** null while the robot's camera is shown. @type {OrbitView | null} */
  view = null;

  /** @param {boolean} on */
  set(on) {
    this.view = on ? { ...START } : null;
  }

  /** @param {number} across @param {number} down shares of the picture @param {number} away */
  turn(across, down, away) {
    const { view } = this;
    if (!view) return;
    view.azimuth -= 180 * across;
    view.elevation = Math.min(Math.max(view.elevation - 120 * down, -89), -2);
    view.distance = Math.min(Math.max(view.distance * Math.exp(away), 0.3), 4);
  }
}
