// Beside the theme's “Skip to main content”: one press to the run that can be started here, one to Play of the recorded ones.
(() => {
  "use strict";
  const TARGETS = [["Skip to the live run", ".live-run"], ["Skip to the recorded runs", ".vla-play"]];

  function offer(place, words, wanted) {
    const link = document.createElement("a");
    link.href = "#main-content";
    link.textContent = words;
    link.addEventListener("click", (event) => {
      const target = document.querySelector(wanted);
      if (!target) return; // its page does not run: the main content is next
      event.preventDefault();
      target.focus();
      target.scrollIntoView({ block: "center" });
    });
    place.append(link);
  }

  function upgrade() {
    const place = document.querySelector("#pst-skip-link");
    const here = { ".live-run": "[data-vla-live]", ".vla-play": "[data-vla-player]" };
    for (const [words, wanted] of place ? TARGETS : []) if (document.querySelector(here[wanted])) offer(place, words, wanted);
  }

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", upgrade);
  else upgrade();
})();
