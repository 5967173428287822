// The page inside another one: a frame of the book, or of a notebook that drives it.

/** Whether the page is in a frame. */
export const embedded = window.parent !== window;

/** Tell whoever shows the frame; nothing in it is secret. @param {object} message */
export function tell(message) {
  if (embedded) window.parent.postMessage({ from: "vla-live", ...message }, "*");
}

/** Keep the frame as high as its content, and obey what the parent asks. @param {import("./app.js").App} app */
export function embed(app) {
  if (!embedded) return;
  document.body.classList.add("embedded");
  new ResizeObserver(() => tell({ height: Math.ceil(document.body.getBoundingClientRect().height) + 8 })).observe(document.body);
  addEventListener("message", ({ source, data }) => {
    if (source !== window.parent || data?.to !== "vla-live") return;
    if (data.do === "play") app.act(() => app.run.play());
    else if (data.do === "pause") app.act(() => app.run.pause());
    else if (data.do === "restart") app.act(() => app.run.restart());
    else if (data.do === "open") location.hash = String(data.link);
    else if (data.do === "theme") document.documentElement.dataset.theme = data.theme === "dark" ? "dark" : "light";
  });
}
