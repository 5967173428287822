// Pointer and keyboard on the picture: pull an object, or turn the camera.

/** @typedef {import("./side_view").SideView} SideView */

/**
 * Drag on a side's picture: pulls what was hit, or turns the camera while one looks around.
 * @param {import("./app.js").App} app @param {SideView} view @param {number} i number of the side
 */
export function pointer(app, view, i) {
  const canvas = view.picture;
  const at = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  /** @type {number[] | null} */
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!app.run.arranged) return;
    canvas.setPointerCapture(event.pointerId);
    const start = at(event);
    from = start;
    canvas.classList.add("held");
    if (!app.run.lookAround) app.act(() => app.run.grab(i, start));
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const now = at(event);
    if (app.run.lookAround) {
      app.engine.call("orbit", now[0] - from[0], now[1] - from[1], 0);
      from = now;
    } else if (!app.run.held) {
      return;
    } else {
      app.engine.call("drag", i, now);
      spring(view, from, now);
    }
  });
  const release = () => {
    if (!from) return;
    from = null;
    canvas.classList.remove("held");
    spring(view, null, null);
    if (!app.run.lookAround) app.act(() => app.run.release(i));
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("wheel", (event) => {
    if (!app.run.lookAround) return;
    event.preventDefault();
    app.engine.call("orbit", 0, 0, event.deltaY / 800);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => onArrow(app, i, event));
}

/** Arrows on the picture: the same without a mouse. @param {import("./app.js").App} app @param {number} i @param {KeyboardEvent} event */
function onArrow(app, i, event) {
  /** @type {Record<string, number[]>} */
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const zoom = { "+": -0.1, "-": 0.1 }[event.key];
  const way = ways[event.key];
  if (!app.run.arranged || (!way && zoom === undefined)) return;
  event.preventDefault();
  if (app.run.lookAround) app.engine.call("orbit", ...(way ?? [0, 0]).map((x) => 0.05 * x), zoom ?? 0);
  else if (way) app.act(() => app.run.tug(i, way));
}

/** The spring as a line over the picture, or none. @param {SideView} view @param {number[] | null} from @param {number[] | null} to */
function spring(view, from, to) {
  const box = /** @type {SVGSVGElement} */ (view.root.querySelector("svg.spring"));
  box.replaceChildren();
  if (!from || !to) return;
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const share = (/** @type {number} */ x) => `${100 * x}%`;
  const ends = { x1: share(from[0]), y1: share(from[1]), x2: share(to[0]), y2: share(to[1]) };
  for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
  box.append(line);
}

/** Keys for the whole page, where no field has the focus. @param {import("./app.js").App} app */
export function keyboard(app) {
  document.addEventListener("keydown", (event) => {
    const target = /** @type {HTMLElement} */ (event.target);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest("input, select, textarea, button, summary, a")) return;
    if (event.key === " ") app.run.toggle();
    else if (event.key === ".") app.act(() => app.run.stepOnce());
    else if (event.key.toLowerCase() === "r") app.act(() => app.run.restart());
    else return;
    event.preventDefault();
  });
}
