// The page in a notebook's cell: a frame, and messages between it and the kernel (anywidget).

/** @param {{model: any, el: HTMLElement}} given */
function render({ model, el }) {
  const frame = document.createElement("iframe");
  frame.src = model.get("address");
  frame.title = "Live: a robot policy acts here";
  frame.allow = "cross-origin-isolated; clipboard-write";
  Object.assign(frame.style, { width: "100%", border: "0", height: `${model.get("height")}px` });
  const hear = (/** @type {MessageEvent} */ event) => {
    if (event.source !== frame.contentWindow || event.data?.from !== "vla-live") return;
    const { height, ...message } = event.data;
    if (height) frame.style.height = `${height}px`;
    else model.send(message);
  };
  const tell = (/** @type {any} */ message) => frame.contentWindow?.postMessage({ to: "vla-live", ...message }, "*");
  addEventListener("message", hear);
  model.on("msg:custom", tell);
  el.append(frame);
  return () => {
    removeEventListener("message", hear);
    model.off("msg:custom", tell);
  };
}

export default { render };
