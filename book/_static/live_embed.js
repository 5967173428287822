// The live page inside the book: <div data-vla-live data-link="task=0&a=no_flip">, with a button that starts it there.
// A <figure data-vla-loop> plays its muted videos by itself, unless the reader's system asks for less motion.
(() => {
  "use strict";
  const here = new URL("../live/", document.currentScript.src).href;
  const theme = () => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

  function problem() {
    if (location.protocol === "file:") return "From a disk a browser plays recorded runs only. To run it live: make serve, or “python3 -m http.server” in the site's folder.";
    const simd = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11);
    if (typeof WebAssembly !== "object" || !WebAssembly.validate(simd)) return "This browser cannot run it live (it lacks WebAssembly with SIMD); the recorded runs work.";
    if (typeof OffscreenCanvas === "undefined" || !new OffscreenCanvas(1, 1).getContext("webgl2")) return "This browser cannot run it live (it lacks WebGL 2); the recorded runs work.";
    if (navigator.deviceMemory && navigator.deviceMemory < 2) return "This device has too little memory to run it live; the recorded runs work.";
    return "";
  }

  /* Put the page where the button was. */
  function run(box, link) {
    const frame = document.createElement("iframe");
    frame.src = `${here}index.html?embed=1#${link}&run=1`;
    frame.title = "Live: a robot policy acts here";
    frame.allow = "cross-origin-isolated; clipboard-write; fullscreen";
    frame.className = "live-frame";
    addEventListener("message", ({ source, data }) => {
      if (source === frame.contentWindow && data?.from === "vla-live" && data.height) frame.style.height = `${data.height}px`;
    });
    const tellTheme = () => frame.contentWindow?.postMessage({ to: "vla-live", do: "theme", theme: theme() }, "*");
    frame.addEventListener("load", tellTheme);
    new MutationObserver(tellTheme).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    const loop = box.closest("[data-vla-loop]");
    for (const video of loop?.querySelectorAll("video") ?? []) video.pause();
    (loop ?? box).replaceWith(frame);
    frame.focus();
  }

  function offer(box) {
    const link = box.dataset.link ?? "";
    const why = problem();
    if (why) {
      const text = document.createElement("p");
      text.className = "live-why";
      text.textContent = why;
      box.replaceChildren(text);
      return;
    }
    const button = document.createElement("button");
    button.type = "button";
    button.className = "live-run";
    button.textContent = box.dataset.label ?? "Run it here";
    button.addEventListener("click", () => run(box, link));
    const text = document.createElement("p");
    text.className = "live-why";
    const large = document.createElement("a");
    large.href = `${here}index.html#${link}`;
    large.textContent = "open it large";
    text.append("Physics, camera and policy run in your browser (about 25 MB, once). Or ", large, ".");
    box.replaceChildren(button, text);
  }

  function loop(figure) {
    const videos = [...figure.querySelectorAll("video")];
    const button = document.createElement("button");
    button.type = "button";
    button.className = "live-pause";
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const show = () => { button.textContent = videos.some((video) => !video.paused) ? "Pause the videos" : "Play the videos"; };
    button.addEventListener("click", () => {
      const playing = videos.some((video) => !video.paused);
      for (const video of videos) if (playing) video.pause(); else video.play().catch(() => {});
    });
    for (const video of videos) {
      video.muted = true;
      video.addEventListener("play", show);
      video.addEventListener("pause", show);
      // The shorter one waits at its end, so that both begin together.
      video.addEventListener("ended", () => {
        if (!videos.every((one) => one.ended)) return;
        setTimeout(() => { if (document.contains(figure)) for (const one of videos) one.play().catch(() => {}); }, 1200);
      });
      if (!still) video.play().catch(() => {});
    }
    show();
    figure.querySelector("figcaption")?.append(" ", button);
  }

  function upgrade() {
    for (const box of document.querySelectorAll("[data-vla-live]")) offer(box);
    for (const figure of document.querySelectorAll("[data-vla-loop]")) loop(figure);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", upgrade);
  else upgrade();
})();
