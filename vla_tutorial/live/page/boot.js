// What a browser must be able to do, said before anything is loaded. A classic script that needs
// nothing new: it also runs from a disk and in old browsers, where modules do not.
(function () {
  "use strict";
  var SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

  function problem() {
    if (location.protocol === "file:") {
      return "A browser does not let a page on a disk load its parts. In the folder of the site run “python3 -m http.server” and open http://localhost:8000, or watch the recorded runs in the book.";
    }
    if (typeof WebAssembly !== "object") {
      return "WebAssembly is switched off in this browser, and the physics and the policy need it. Allow it for this page, or use another browser.";
    }
    try {
      new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));
    } catch (error) {
      return "This server or browser forbids WebAssembly, which the physics and the policy need. Allow it for this page, or use another browser; the book has recorded runs.";
    }
    if (!WebAssembly.validate(new Uint8Array(SIMD))) {
      return "This browser lacks WebAssembly SIMD, which the policy needs. A browser from 2021 or later has it (Safari since 16.4); the book has recorded runs.";
    }
    if (typeof OffscreenCanvas === "undefined" || !new OffscreenCanvas(1, 1).getContext("webgl2")) {
      return "This browser has no WebGL 2 in a worker, which the robot's camera needs. Switch on hardware acceleration or update the browser; the book has recorded runs.";
    }
    return "";
  }

  window.vlaProblem = problem();
  if (!window.vlaProblem) return;
  document.addEventListener("DOMContentLoaded", function () {
    var text = document.createElement("p");
    text.className = "notice bad";
    text.setAttribute("role", "alert");
    text.textContent = window.vlaProblem;
    var live = document.getElementById("live");
    var notices = document.getElementById("notices");
    if (!live || !notices) return;
    notices.appendChild(text);
    live.dataset.state = "impossible";
    live.hidden = true;
    var copy = document.getElementById("copy");
    if (copy) copy.hidden = true;
    var book = document.getElementById("book");
    if (book) book.hidden = location.pathname.indexOf("/live/") < 0;
  });
})();
