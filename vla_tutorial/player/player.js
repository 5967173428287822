/* Two recorded episodes side by side: video, and gripper, height, motion and tokens on one time axis.
 *
 * A classic script, because a page that was opened from a disk may not load modules or fetch files. It defines
 *   VlaPlayer.mount(root, source, options) → function that takes it down again
 *   VlaPlayer.live(model, root)            → the same inside JupyterLab, where `model` is an anywidget
 * and brings every <div data-vla-player> of the page to life. A source is where episodes come from:
 *   index() → manifest   series(key) → episode   video(key) → URL   still(key, "poster" | "end") → URL   (each a promise)
 *
 * For tests and style sheets: root[data-state="ready|failed"], root[data-step], section[data-side][data-key][data-state="loading|ready|failed|none"],
 * input[data-side][data-condition], .vla-plot (the slider), .vla-play, .vla-cursor, .vla-status. */
(() => {
  "use strict";
  const FPS = 20, FIRST_BIN = 31744, PUBLISHED = "published", SIDES = ["left", "right"], LETTER = { left: "A", right: "B" };
  const BOUNDARIES = { pixels: "observation → pixels", prompt: "instruction → prompt", motion: "tokens → motion", simulator: "simulator", shift: "distribution shift", language: "language", chance: "chance" };
  const SHOWN = 2; // conditions of a boundary that stand open; the others fold away
  const SPEEDS = [0.25, 0.5, 1, 2, 4];
  const PLAY = "M3 1.5v13l11-6.5z", PAUSE = "M3 2h3.6v12H3zM9.4 2H13v12H9.4z";
  let ids = 0;

  // ---- Elements

  function h(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((c) => c != null));
    return node;
  }

  function s(tag, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text != null) node.textContent = text;
    return node;
  }

  const icon = (path) => {
    const svg = s("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" });
    svg.append(s("path", { d: path, fill: "currentColor" }));
    return svg;
  };

  // ---- Where episodes come from

  const loaded = new Map();
  const once = (name, make) => {
    if (!loaded.has(name)) loaded.set(name, make().catch((e) => { loaded.delete(name); throw e; }));
    return loaded.get(name);
  };

  const script = (url) => once(url, () => new Promise((done, fail) => {
    const node = h("script", { src: url, onload: done, onerror: () => fail(new Error(`cannot load ${url}`)) });
    document.head.append(node);
  }));

  // Whole clips as Blobs: a server without Range support would make a video that cannot be sought in, and clips are small.
  const blob = (url) => once(url, async () => {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error(`${url}: HTTP ${answer.status}`);
    return URL.createObjectURL(new Blob([await answer.arrayBuffer()], { type: "video/mp4" }));
  });

  function fromFolder(base) {
    const web = /^https?:/.test(base);
    return {
      index: async () => { await script(`${base}manifest.js`); return globalThis.VLA_CLIPS; },
      series: async (key) => {
        await script(`${base}${key}/episode.js`);
        const found = (globalThis.VLA_EPISODES || {})[key];
        if (!found) throw new Error(`${key}/episode.js is broken`);
        return found;
      },
      video: async (key) => (web ? blob(`${base}${key}/episode.mp4`) : `${base}${key}/episode.mp4`),
      still: async (key, name) => `${base}${key}/${name}.webp`,
      ahead: web ? "video" : "series",
      early: "series", // with the stills some 50 KB an episode: they are loaded before anybody scrolls to the player
    };
  }

  const fromBytes = (bytes, type) => URL.createObjectURL(new Blob([bytes], { type }));
  const fromBase64 = (text, type) => fromBytes(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), type);

  function fromPage(everything) {
    const part = async (key, name, type) => {
      const text = everything.media[key][name];
      if (!text) throw new Error("it was not recorded");
      return fromBase64(text, type);
    };
    return {
      index: async () => everything.index,
      series: async (key) => everything.episodes[key],
      video: (key) => part(key, "video", "video/mp4"),
      still: (key, name) => part(key, name, "image/webp"),
      early: "video", // it is all here already
    };
  }

  function fromKernel(model) {
    const waiting = new Map(), urls = [];
    const listen = (message, buffers) => {
      const ask = waiting.get(message.key);
      if (message.type !== "episode" || !ask) return;
      const media = {};
      message.media.forEach(([name, type], i) => { media[name] = fromBytes(buffers[i], type); urls.push(media[name]); });
      if (message.data || message.media.length) ask.done({ data: message.data, media });
      else ask.fail(new Error(message.error));
    };
    model.on("msg:custom", listen);
    const want = (key) => {
      if (!waiting.has(key)) {
        const ask = {};
        ask.answer = new Promise((done, fail) => Object.assign(ask, { done, fail }));
        ask.answer.catch(() => waiting.delete(key));
        setTimeout(() => ask.fail(new Error("the kernel does not answer; run the cell again")), 15000);
        waiting.set(key, ask);
        model.send({ type: "want", key });
      }
      return waiting.get(key).answer;
    };
    const part = async (key, name) => {
      const url = (await want(key)).media[name];
      if (!url) throw new Error(`${key}: there is no ${name} on the disk`);
      return url;
    };
    return {
      index: async () => model.get("index"),
      series: async (key) => { const { data } = await want(key); if (!data) throw new Error(`${key}: no series on the disk`); return data; },
      video: (key) => part(key, "video"),
      still: part,
      close: () => { model.off("msg:custom", listen); urls.forEach((url) => URL.revokeObjectURL(url)); },
    };
  }

  // ---- Words

  const nameOf = (names) => names.join(" + ") || "published protocol";
  const verdictOf = (e) => ({ true: `✓ done at step ${e.steps}`, false: `✗ no success in ${e.steps} steps`, null: `… stopped at step ${e.steps}` })[e.success];
  const shown = (value) => (typeof value === "string" ? value.replaceAll("\n", "↵") : JSON.stringify(value));
  const tokensAt = (series, step) => Array.from({ length: 7 }, (_, i) => FIRST_BIN + parseInt(series.tokens.substr(14 * step + 2 * i, 2), 16));
  const command = (value) => (value > 0 ? "close" : "open");

  // ---- The plot

  const PANELS = [
    { of: "gripper", title: "gripper command", height: 38, low: -1.3, high: 1.3, ticks: [[-1, "open"], [1, "close"]], stepped: true },
    { of: "height", title: "end-effector height, cm", height: 84, low: 0, high: 34 },
    { of: "motion", title: "commanded |action|, 1 = full speed", height: 70, low: 0, high: 1.08, ticks: [[0, "0"], [0.5, "½"], [1, "1"]] },
  ];
  const LEFT = 42, RIGHT = 52, LANE = 20, TITLE = 19, GAP = 7, ROW = 7, AXIS = 34;
  const plotHeight = (sides) => 6 + sides * (LANE + TITLE + 7 * ROW + GAP) + PANELS.reduce((sum, p) => sum + TITLE + p.height + GAP, 0) + AXIS;

  function path(values, x, y, stepped) {
    return values.map((v, i) => {
      const at = `${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
      return i === 0 ? `M${at}` : stepped ? `H${x(i).toFixed(1)}V${y(v).toFixed(1)}` : `L${at}`;
    }).join("") + (stepped ? `H${x(values.length).toFixed(1)}` : "");
  }

  /* Seven rows of bins over time as a picture: purple is the low end of a dimension's range, green the high end. Token 31999 is bin 0. */
  function raster(hex) {
    const steps = hex.length / 14, canvas = h("canvas", { width: steps, height: 7 }), pen = canvas.getContext("2d");
    const image = pen.createImageData(steps, 7);
    for (let step = 0; step < steps; step++) for (let row = 0; row < 7; row++) {
      const level = (127.5 - parseInt(hex.substr(14 * step + 2 * row, 2), 16)) / 127.5, at = 4 * (row * steps + step);
      image.data.set([...(level < 0 ? [150, 70, 180] : [20, 150, 80]), Math.round(20 + 235 * Math.abs(level) ** 0.8)], at);
    }
    pen.putImageData(image, 0, 0);
    return canvas.toDataURL();
  }

  function drawPlot(svg, width, sides, steps) {
    const inner = width - LEFT - RIGHT, x = (step) => LEFT + (inner * step) / steps, parts = [];
    const put = (tag, attributes, text) => parts.push(s(tag, attributes, text));
    const total = plotHeight(sides.length), drawn = sides.filter((side) => side.entry);
    let top = 4;
    for (const side of sides) {  // one lane an episode: how long it lasts, the first close, the verdict
      const middle = top + LANE / 2, e = side.entry, mark = `vla-${side.name}`;
      put("text", { x: LEFT - 8, y: middle + 4, class: `vla-end ${mark}`, "text-anchor": "end" }, LETTER[side.name]);
      if (e) {
        put("line", { x1: x(0), x2: x(e.steps), y1: middle, y2: middle, class: `vla-life ${mark}` });
        const at = e.first_close == null ? null : x(e.first_close), words = `first close ${e.first_close}`, room = 92;
        const before = at != null && at > LEFT + room, after = at != null && !before && x(e.steps) - at > room;
        const behind = at != null && !before && !after && x(e.steps) + 48 + room < width ? ` · ${words}` : "";
        put("text", { x: x(e.steps) + 5, y: middle + 4, class: `vla-end ${mark}` }, `${{ true: "✓", false: "✗", null: "…" }[e.success]} ${e.steps}${behind}`);
        if (at != null) {
          put("line", { x1: at, x2: at, y1: middle, y2: total - AXIS, class: `vla-close ${mark}` });
          put("circle", { cx: at, cy: middle, r: 4.5, class: `vla-dot ${mark}` });
          if (before || after) put("text", { x: at + (before ? -8 : 8), y: middle + 4, class: `vla-note ${mark}`, "text-anchor": before ? "end" : "start" }, words);
        }
      }
      top += LANE;
    }
    for (const base of PANELS) {
      const most = Math.max(base.high, ...drawn.flatMap((side) => (side.data && !base.stepped ? side.data.series[base.of] : [])));
      const panel = { ...base, high: most }, every = most > 60 ? 20 : 10;
      const title = top + 14, above = top + TITLE, y = (v) => above + (panel.height * (panel.high - Math.min(v, panel.high))) / (panel.high - panel.low);
      put("text", { x: LEFT + 8, y: title, class: "vla-name" }, panel.title);
      for (const [value, label] of panel.ticks || Array.from({ length: Math.floor(most / every) + 1 }, (_, n) => [n * every, n * every])) {
        put("line", { x1: LEFT, x2: LEFT + inner, y1: y(value), y2: y(value), class: "vla-grid" });
        put("text", { x: LEFT - 6, y: y(value) + 4, class: "vla-tick", "text-anchor": "end" }, label);
      }
      for (const side of drawn) if (side.data) put("path", { d: path(side.data.series[panel.of], x, y, panel.stepped), class: `vla-line vla-${side.name}` });
      top = above + panel.height + GAP;
    }
    for (const side of sides) {
      put("text", { x: LEFT + 8, y: top + 14, class: "vla-name" }, `tokens of ${LETTER[side.name]}, purple low, green high`);
      top += TITLE;
      put("rect", { x: LEFT, y: top, width: inner, height: 7 * ROW, class: "vla-field" });
      if (side.data) put("image", { href: side.picture ||= raster(side.data.series.tokens), x: LEFT, y: top, width: x(side.data.steps) - LEFT, height: 7 * ROW, preserveAspectRatio: "none", class: "vla-raster" });
      for (const [label, row] of [["x y z", 1.5], ["turn", 4.5], ["grip", 6.5]]) put("text", { x: LEFT - 6, y: top + row * ROW + 4, class: "vla-tick", "text-anchor": "end" }, label);
      top += 7 * ROW + GAP;
    }
    const gap = [10, 20, 50, 100].find((n) => (inner * n) / steps > 44) || 200;
    for (let step = 0; step <= steps; step += gap) {
      put("line", { x1: x(step), x2: x(step), y1: total - AXIS, y2: total - AXIS + 4, class: "vla-grid" });
      put("text", { x: x(step), y: total - AXIS + 16, class: "vla-tick", "text-anchor": "middle" }, step);
    }
    put("text", { x: LEFT + inner, y: total - 3, class: "vla-tick", "text-anchor": "end" }, "control step, 20 a second");
    svg.setAttribute("width", width);
    svg.setAttribute("height", total);
    svg.setAttribute("viewBox", `0 0 ${width} ${total}`); // so that paper can shrink it
    svg.replaceChildren(...parts);
  }

  // ---- One player

  function mount(root, source, options = {}) {
    root.replaceChildren(h("p", { class: "vla-wait" }, "The player is loading …"));
    root.classList.add("vla-player");
    let player = null, closed = false;
    source.index().then(
      (index) => { if (!closed) player = build(root, source, index, options); },
      (error) => {
        root.dataset.state = "failed";
        root.replaceChildren(h("p", { role: "alert", class: "vla-wait" }, `The player cannot find its clips: ${error.message}. Make them with: vla-tutorial clips --out book/clips`));
      },
    );
    return () => { closed = true; if (player) player(); if (source.close) source.close(); };
  }

  function build(root, source, index, options) {
    const id = `vla${++ids}`, free = index.conditions.length === 0;
    const entries = new Map(index.episodes.map((e) => [e.key, e]));
    const conditions = new Map(index.conditions.map((c) => [c.name, c]));
    const scenes = new Map(index.episodes.map((e) => [`${e.task}_${e.init}`, e]));
    let scene = `${options.task ?? 0}_${options.init ?? 0}`;
    if (!scenes.has(scene)) scene = [...scenes.keys()][0];
    const keyOf = (names) => `${scene}/${[...conditions.keys()].filter((n) => names.has(n)).join("+") || PUBLISHED}`;

    let time = 0, playing = false, rate = 1, last = 0, frame = 0, ended = false, onScreen = false;
    const sides = SIDES.slice(0, free ? Math.min(2, index.episodes.length) : 2).map(makeSide);
    const length = () => Math.max(20, ...sides.map((side) => (side.entry ? side.entry.steps : 0)));
    const stepNow = () => Math.min(length() - 1, Math.floor(time * FPS + 1e-6));

    // What there is to see, from the top to the bottom

    const task = h("select", { id: `${id}task`, onchange: (e) => { scene = e.target.value; sides.forEach(choose); } },
      ...[...scenes].map(([value, e]) => h("option", { value, selected: value === scene }, e.instruction)));
    const status = h("p", { class: "vla-status", role: "status" });
    const button = h("button", { type: "button", class: "vla-play", onclick: () => (playing ? pause() : play()) });
    const clock = h("span", { class: "vla-clock" });
    const speed = h("select", { id: `${id}speed`, onchange: (e) => { rate = +e.target.value; sides.forEach((side) => { side.video.playbackRate = rate; }); } },
      ...SPEEDS.map((v) => h("option", { value: v, selected: v === rate }, `${v}×`)));
    const svg = s("svg", { "aria-hidden": "true" });
    const cursor = h("div", { class: "vla-cursor" });
    const plot = h("div", { class: "vla-plot", role: "slider", tabindex: 0, "aria-label": "Time: control step", "aria-valuemin": 0, "aria-orientation": "horizontal" }, svg, cursor);
    const height = plotHeight(sides.length);
    plot.style.height = `${height}px`;
    cursor.style.height = `${height - AXIS}px`;

    const names = free ? picker() : switches();
    root.replaceChildren(
      h("div", { class: "vla-head", hidden: free || null }, h("label", { for: `${id}task` }, "Task"), task),
      names, status,
      h("div", { class: "vla-pair", "data-count": sides.length }, ...sides.map((side) => side.section)),
      h("div", { class: "vla-bar" }, button, clock, h("span", { class: "vla-speed" }, h("label", { for: `${id}speed` }, "Speed"), speed)),
      plot,
      h("div", { class: "vla-read" }, ...sides.map((side) => side.readout)),
      h("div", { class: "vla-pair vla-notes", "data-count": sides.length }, ...sides.map((side) => side.says)),
      h("p", { class: "vla-keys" }, "Drag in the plot, or: space plays and pauses · ← → one step (with Shift 20) · Home, End"),
    );
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", "Player of recorded episodes");
    // JupyterLab would take the arrows, the space and letters for itself; it asks the focused element before the ones around it
    for (const node of [root, ...root.querySelectorAll("input, select, button, summary, [tabindex]")]) node.setAttribute("data-lm-suppress-shortcuts", "true");
    label();

    function makeSide(name) {
      const side = { name, names: new Set((options[name] || []).filter((n) => conditions.has(n))), entry: null, data: null, ready: false, ticket: 0 };
      side.badge = () => h("span", { class: `vla-badge vla-${name}` }, LETTER[name]);
      side.title = h("span", { class: "vla-title" });
      side.verdict = h("span", { class: "vla-verdict" });
      side.video = h("video", { width: 256, height: 256, playsinline: true, preload: "auto", "aria-label": `Episode ${LETTER[name]}: the camera, turned upright` });
      side.video.muted = true;
      side.message = h("div", { class: "vla-message", hidden: true });
      side.sees = h("img", { width: 224, height: 224, alt: "" });
      side.end = h("img", { class: "vla-end-still", width: 256, height: 256, alt: "" }); // paper shows it in place of the video
      side.says = h("div", { class: "vla-says" });
      side.readout = h("div", { class: "vla-now" });
      side.video.addEventListener("click", () => (playing ? pause() : play()));
      side.video.addEventListener("error", () => side.video.getAttribute("src") && fail(side, new Error("the file is missing or broken")));
      side.video.addEventListener("loadeddata", () => arrive(side));
      side.section = h("section", { tabindex: -1, "data-side": name, "aria-label": `Episode ${LETTER[name]}` },
        h("p", { class: "vla-line1" }, side.badge(), side.title), h("p", { class: "vla-line2" }, side.verdict),
        h("div", { class: "vla-views" },
          h("div", { class: "vla-stage" }, side.video, side.end, side.message),
          h("figure", { class: "vla-sees" }, side.sees, h("figcaption", {}, "what the policy sees at step 0"))));
      return side;
    }

    function switches() {
      const found = [...new Set(index.conditions.map((c) => c.boundary))];
      return h("div", { class: "vla-switches" }, ...found.map((boundary) => {
        const rows = index.conditions.filter((c) => c.boundary === boundary), few = rows.slice(0, SHOWN), more = rows.slice(SHOWN);
        const open = more.some((c) => sides.some((side) => side.names.has(c.name)));
        return h("fieldset", {}, h("legend", {}, BOUNDARIES[boundary] || boundary),
          h("div", { class: "vla-row vla-letters", "aria-hidden": "true" }, ...sides.map((side) => side.badge())), ...few.map(switchRow),
          more.length ? h("details", { open }, h("summary", {}, `${more.length} more`), ...more.map(switchRow)) : null);
      }));
    }

    function switchRow(c) {
      return h("div", { class: "vla-row", title: c.teaches },
        ...sides.map((side) => h("input", {
          type: "checkbox", class: `vla-${side.name}`, "data-side": side.name, "data-condition": c.name, "aria-label": `${LETTER[side.name]}: ${c.name}`,
          onchange: (e) => flip(side, c, e.target.checked),
        })), h("span", {}, ...c.name.split(/(?<=_)/).flatMap((part) => [part, h("wbr")])));
    }

    function picker() {
      return h("div", { class: "vla-head", hidden: index.episodes.length < 2 || null }, ...sides.flatMap((side, i) => [
        h("label", { for: id + side.name }, `${LETTER[side.name]} shows`),
        h("select", { id: id + side.name, onchange: (e) => show(side, e.target.value) },
          ...index.episodes.map((e, k) => h("option", { value: e.key, selected: k === i }, e.label))),
      ]));
    }

    // Choosing

    function flip(side, condition, on) {
      const off = [];
      if (on) for (const name of side.names) {
        const same = conditions.get(name).settings.find((setting) => condition.settings.includes(setting));
        if (same) { side.names.delete(name); off.push(`${name} was switched off, because ${condition.name} changes the same setting (${same}). `); }
      }
      if (on) side.names.add(condition.name); else side.names.delete(condition.name);
      choose(side, off.join(""));
    }

    function choose(side, note) {
      for (const box of root.querySelectorAll(`input[data-side=${side.name}]`)) box.checked = side.names.has(box.dataset.condition);
      show(side, keyOf(side.names), typeof note === "string" ? note : "");
    }

    const here = () => index.episodes.filter((e) => keyOf(new Set(e.conditions)) === e.key);

    /* What of all combinations of switches was recorded, in words. */
    function recorded() {
      const count = (n) => here().filter((e) => e.conditions.length === n).length;
      return `Recorded for this task: the published protocol, each of the ${count(1)} switches alone, and ${count(2)} pairs of them. Give A and B different faults and play.`;
    }

    /* Recorded combinations of this scene that differ least, at most two. */
    function nearest(side) {
      const far = (e) => e.conditions.filter((c) => !side.names.has(c)).length * 1.5 + [...side.names].filter((c) => !e.conditions.includes(c)).length;
      return here().sort((a, b) => far(a) - far(b)).slice(0, 2);
    }

    function show(side, key, note = "") {
      const ticket = ++side.ticket, entry = entries.get(key) || null, letter = LETTER[side.name];
      Object.assign(side, { entry, data: null, picture: null, ready: false });
      side.section.dataset.key = key;
      side.section.dataset.state = entry ? "loading" : "none";
      side.message.hidden = true;
      side.message.classList.remove("vla-low");
      side.message.replaceChildren();
      side.video.removeAttribute("poster");
      side.sees.style.visibility = entry ? "" : "hidden";
      side.end.removeAttribute("src");
      side.title.textContent = entry && entry.label ? entry.label : nameOf([...conditions.keys()].filter((n) => side.names.has(n)));
      side.title.title = side.title.textContent;
      side.verdict.textContent = entry ? verdictOf(entry) : "not recorded";
      side.verdict.dataset.success = entry ? String(entry.success) : "";
      describe(side);
      status.textContent = `${note}${letter} shows ${side.title.textContent}. ${entry ? entry.caption : "This combination was not recorded."}`;
      if (!entry) { missing(side); seek(time); return; }
      source.still(key, "poster").then((url) => { if (side.ticket === ticket) { side.sees.src = url; side.sees.alt = `First picture that the policy was given in episode ${letter}`; } }, () => {});
      source.still(key, "end").then((url) => { if (side.ticket === ticket) { side.end.src = url; side.end.alt = `The camera at the end of episode ${letter}`; } }, () => {});
      source.series(key).then((data) => { if (side.ticket === ticket) side.data = data; }, (error) => {
        if (side.ticket === ticket) status.textContent = `The series of ${key} are missing (${error.message}); the video still plays.`;
      }).then(() => { if (side.ticket === ticket) { draw(); tell(); } });
      draw();
      if (onScreen) film(side);
    }

    async function film(side) {
      const ticket = side.ticket;
      try {
        const url = await source.video(side.entry.key);
        if (side.ticket === ticket) { side.video.src = url; side.video.load(); }
      } catch (error) { if (side.ticket === ticket) fail(side, error); }
    }

    function missing(side) {
      blank(side);
      side.message.replaceChildren(h("p", {}, "This combination was not recorded. Nearest:"),
        ...nearest(side).map((e) => h("button", { type: "button", onclick: () => { side.names = new Set(e.conditions); choose(side); side.section.focus(); } }, nameOf(e.conditions))));
      side.message.hidden = false;
      draw();
    }

    function blank(side) {
      side.video.removeAttribute("src");
      side.video.load();
    }

    function fail(side, error) {
      const codec = side.video.canPlayType('video/mp4; codecs="avc1.64000d"');
      blank(side);
      side.ready = false;
      side.section.dataset.state = "failed";
      const why = codec ? `The clip cannot be shown: ${error.message}.` : "This browser has no decoder for H.264 video.";
      side.message.replaceChildren(h("p", {}, `${why} The plot still works.`));
      side.message.classList.add("vla-low");
      side.message.hidden = false;
      status.textContent = `${LETTER[side.name]}: ${why} The plot still works.`;
      const ticket = side.ticket;  // the last picture says more than a grey square
      source.still(side.entry.key, "end").then((url) => { if (side.ticket === ticket) side.video.poster = url; }, () => {});
    }

    function arrive(side) {
      side.ready = true;
      side.section.dataset.state = "ready";
      side.video.playbackRate = rate;
      place(side);
      if (playing && time < side.entry.steps / FPS) side.video.play().catch(() => {});
    }

    function describe(side) {
      const e = side.entry, on = [...conditions.values()].filter((c) => side.names.has(c.name));
      const rows = e ? Object.entries(e.changes) : [];
      side.says.replaceChildren(
        h("p", { class: "vla-caption" }, side.badge(), e ? ` ${e.caption}` : " This combination was not recorded."),
        ...on.map((c) => h("p", {}, c.teaches)),
        rows.length ? h("ul", {}, ...rows.map(([name, [before, after]]) => h("li", {}, h("code", {}, name), " ", h("del", {}, shown(before)), " → ", h("ins", {}, shown(after))))) :
          e && !free ? h("p", {}, "Every setting as published.") : "");
    }

    // Time

    function play() {
      if (stepNow() >= length() - 1) time = 0;
      playing = true;
      last = performance.now();
      for (const side of sides) {
        place(side);
        if (side.ready && time < side.entry.steps / FPS) side.video.play().catch(() => {});
      }
      label();
      frame = requestAnimationFrame(tick);
    }

    function pause() {
      playing = false;
      cancelAnimationFrame(frame);
      sides.forEach((side) => side.video.pause());
      label();
      tell();
    }

    /* The longest clip that plays is the clock; without any, the plot runs by itself. */
    function tick(now) {
      if (!playing || ended) return;
      const running = sides.filter((side) => side.ready && !side.video.paused && !side.video.ended).sort((a, b) => b.entry.steps - a.entry.steps);
      time = running.length ? running[0].video.currentTime : time + (Math.max(0, now - last) / 1000) * rate;  // a frame's time may lie before the click
      last = now;
      for (const side of running.slice(1)) if (Math.abs(side.video.currentTime - time) > 0.2 * Math.max(1, rate)) place(side);
      if (time >= length() / FPS - 0.01) { time = length() / FPS; pause(); return; }
      tell();
      frame = requestAnimationFrame(tick);
    }

    function place(side) {  // the middle of a frame, so that rounding cannot show its neighbour
      if (side.ready) side.video.currentTime = Math.min(playing ? time : (stepNow() + 0.5) / FPS, (side.entry.steps - 0.5) / FPS);
    }

    function seek(seconds) {
      time = Math.max(0, Math.min(seconds, (length() - 1) / FPS));
      sides.forEach((side) => { place(side); if (playing && side.ready && side.video.paused) side.video.play().catch(() => {}); });
      tell();
    }

    const toStep = (step) => seek((Math.max(0, step) + 1e-4) / FPS);

    // Showing where we are

    function label() {
      button.replaceChildren(icon(playing ? PAUSE : PLAY), h("span", {}, playing ? "Pause" : "Play"));
    }

    function draw() {
      if (plot.clientWidth) drawPlot(svg, plot.clientWidth, sides, length());
      tell();
    }

    function tell() {
      const step = stepNow(), inner = plot.clientWidth - LEFT - RIGHT;
      const spoken = [`step ${step}`];
      cursor.style.transform = `translateX(${(LEFT + (inner * Math.min(step + 0.5, length())) / length()).toFixed(1)}px)`;
      clock.textContent = `step ${step} of ${length()} · ${(step / FPS).toFixed(1)} s`;
      for (const side of sides) {
        const data = side.data, letter = LETTER[side.name], over = data && step >= data.steps, at = data && Math.min(step, data.steps - 1), of = data && data.series;
        const cells = !data ? ["–"] : [
          over ? "ended" : `gripper ${command(of.gripper[at])}`, `height ${of.height[at].toFixed(1)} cm`, `|action| ${of.motion[at].toFixed(2)}`,
          `picture mean ${of.image_mean[at].toFixed(0)}`, `tokens ${tokensAt(of, at).join(" ")}`];
        side.readout.replaceChildren(side.badge(), ...cells.map((c, i) => h("span", { class: i === 4 && "vla-tokens" }, c)));
        if (data) spoken.push(`${letter}: ${over ? "ended" : cells.slice(0, 2).join(", ")}`);
      }
      root.dataset.step = step;
      plot.setAttribute("aria-valuemax", length() - 1);
      plot.setAttribute("aria-valuenow", step);
      plot.setAttribute("aria-valuetext", spoken.join("; "));
    }

    function drag(event) {
      const box = plot.getBoundingClientRect(), inner = box.width - LEFT - RIGHT;
      toStep(Math.min(length() - 1, Math.floor(((event.clientX - box.left - LEFT) / inner) * length())));
    }
    plot.addEventListener("pointerdown", (e) => { if (e.button === 0) { plot.setPointerCapture(e.pointerId); drag(e); } });
    plot.addEventListener("pointermove", (e) => { if (plot.hasPointerCapture(e.pointerId)) drag(e); });

    root.addEventListener("keydown", keys);
    function keys(e) {
      if (e.altKey || e.ctrlKey || e.metaKey || e.target.tagName === "SELECT") return;
      const by = e.shiftKey ? 20 : 1, step = stepNow();
      const moves = { ArrowRight: step + by, ArrowUp: step + by, ArrowLeft: step - by, ArrowDown: step - by, PageUp: step + 20, PageDown: step - 20, Home: 0, End: length() - 1 };
      if (e.key in moves) toStep(moves[e.key]);
      else if (e.key === " " && !["BUTTON", "INPUT", "SUMMARY"].includes(e.target.tagName)) { if (playing) pause(); else play(); }
      else return;
      e.preventDefault();
      e.stopPropagation();
    }

    // Clips one switch away, once the reader has shown interest
    function ahead() {
      if (!source.ahead || (navigator.connection && navigator.connection.saveData)) return;
      const near = new Set(sides.flatMap((side) => [...conditions.keys()].map((name) => {
        const other = new Set(side.names);
        if (!other.delete(name)) other.add(name);
        return keyOf(other);
      })));
      for (const key of near) if (entries.has(key)) { source.series(key).catch(() => {}); if (source.ahead === "video") source.video(key).catch(() => {}); }
    }
    const idle = globalThis.requestIdleCallback || ((f) => setTimeout(f, 300));
    root.addEventListener("pointerenter", () => idle(ahead), { once: true });
    root.addEventListener("focusin", () => idle(ahead), { once: true });
    root.addEventListener("change", () => idle(ahead));

    // Videos wait until the player is near the screen: a page may hold several. Words, stills and curves do not, so that paper has them
    const begin = () => {
      if (root.dataset.state === "ready") return;
      root.dataset.state = "ready";
      sides.forEach((side, i) => { if (free) show(side, index.episodes[i].key); else choose(side); });
      const unknown = SIDES.flatMap((name) => options[name] || []).filter((n) => !conditions.has(n));
      status.textContent = unknown.length ? `No clip knows a condition called ${unknown.join(", ")}.` : free ? `“${index.episodes[0].instruction}”` : recorded();
    };
    const watch = new IntersectionObserver((seen) => {
      if (ended || !seen.some((e) => e.isIntersecting)) return;
      watch.disconnect();
      onScreen = true;
      if (root.dataset.state === "ready") sides.forEach((side) => side.entry && film(side));
      else begin();
    }, { rootMargin: "400px" });
    watch.observe(root);
    if (source.early) idle(() => {
      onScreen ||= source.early === "video";
      if (!ended) begin();
    });
    const resized = new ResizeObserver(draw);
    resized.observe(plot);
    return () => {
      ended = true;
      watch.disconnect();
      resized.disconnect();
      root.removeEventListener("keydown", keys);
      sides.forEach((side) => { side.ticket++; side.video.pause(); side.video.removeAttribute("src"); });
    };
  }

  // ---- Hosts

  const here = document.currentScript && document.currentScript.src ? new URL(".", document.currentScript.src).href : null;
  const list = (text) => (text || "").split("+").filter(Boolean);

  function upgrade() {
    for (const root of document.querySelectorAll("[data-vla-player]:not([data-state])")) {
      const inside = root.querySelector("script[type='application/json']"), d = root.dataset;
      root.dataset.state = "loading";
      const source = inside ? fromPage(JSON.parse(inside.textContent)) : fromFolder(new URL(d.clips || "", here).href);
      mount(root, source, { task: d.task, init: d.init, left: list(d.left), right: list(d.right) });
    }
  }

  function live(model, root) {
    return mount(root, fromKernel(model), model.get("options"));
  }

  globalThis.VlaPlayer = { mount, live };
  if (here) {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", upgrade);
    else upgrade();
  }
})();
