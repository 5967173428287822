/* Two recorded episodes side by side: video, and gripper, height, motion and tokens on one time axis.
 *
 * A classic script, because a page that was opened from a disk may not load modules or fetch files. It defines
 *   VlaPlayer.mount(root, source, options) → function that takes it down again
 *   VlaPlayer.live(model, root)            → the same inside JupyterLab, where `model` is an anywidget
 * and brings every <div data-vla-player> of the page to life. A source is where episodes come from:
 *   index() → manifest   series(key) → episode   video(key) → URL   still(key, "poster" | "end") → URL   (each a promise)
 *
 * How an episode ends is hidden until it was played to its end: the verdict, the caption, and what lies ahead in the plot.
 *
 * For tests and style sheets: root[data-state="ready|failed"], root[data-step], section[data-side][data-key][data-known][data-state="loading|ready|failed|none"],
 * input[data-side][data-condition], .vla-preset, .vla-plot (the slider), .vla-play, .vla-skip, .vla-enlarge, .vla-cursor, .vla-status. */
(() => {
  "use strict";
  const FPS = 20, FIRST_BIN = 31744, PUBLISHED = "published", SIDES = ["left", "right"], LETTER = { left: "A", right: "B" };
  const BOUNDARIES = { pixels: "observation → pixels", prompt: "instruction → prompt", motion: "tokens → motion", simulator: "simulator", shift: "distribution shift", language: "language", chance: "chance" };
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

  const PUBLISHED_WORDS = "Published settings";
  /* The same presets, in the same words, as the live page's. */
  const PRESETS = [
    [PUBLISHED_WORDS, []],
    ["Picture upside down", ["no_flip"]],
    ["Another prompt", ["wrong_prompt"]],
    ["Another robot’s units", ["wrong_unnorm_key"]],
  ];
  const same = (names, others) => names.length === others.length && names.every((n) => others.includes(n));
  const presetOf = (names) => PRESETS.find(([, wanted]) => same(names, wanted));
  const codes = (names) => names.join(" + ");
  const breakable = (name) => name.split(/(?<=_)/).flatMap((part) => [part, h("wbr")]); // a long name goes on in the next line
  const nameOf = (names) => {
    const preset = presetOf(names);
    if (!preset) return codes(names);
    return names.length ? `${preset[0]} (${codes(names)})` : preset[0];
  };
  const verdictOf = (e) => ({ true: `✓ done at step ${e.steps}`, false: `✗ no success in ${e.steps} steps`, null: `… stopped at step ${e.steps}` })[e.success];
  const shown = (value) => (value === null ? "none" : typeof value === "string" ? value.replaceAll("\n", "↵") : JSON.stringify(value));
  const tokensAt = (series, step) => Array.from({ length: 7 }, (_, i) => FIRST_BIN + parseInt(series.tokens.substr(14 * step + 2 * i, 2), 16));
  const tokenWords = (tokens) => `tokens: x y z ${tokens.slice(0, 3).join(" ")} · rotation ${tokens.slice(3, 6).join(" ")} · gripper ${tokens[6]}`;
  const command = (value) => (value > 0 ? "closes" : "opens");

  // ---- What the policy sees

  const CROP = Math.sqrt(0.9); // the side of the middle 90 % of the area (pixels.CROP_AREA)

  /* The video shows what the camera saw, upright. The settings say how the policy's picture differs from it. Null: it is another camera's. */
  function pathOfPicture(changes) {
    const now = (name, usual) => (changes[name] ? changes[name][1] : usual);
    if (now("camera", "agentview") !== "agentview") return null;
    return { orientation: now("orientation", "rotate_180"), crop: now("center_crop", true), swapped: now("colour_order", "rgb") === "bgr", late: now("frame_delay", 0) };
  }

  function drawView(canvas, video, how) {
    const pen = canvas.getContext("2d"), size = canvas.width, side = video.videoWidth * (how.crop ? CROP : 1), from = (video.videoWidth - side) / 2;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    if (how.orientation === "raw") pen.setTransform(-1, 0, 0, -1, size, size);
    if (how.orientation === "flip_vertical") pen.setTransform(-1, 0, 0, 1, size, 0); // the camera's rows alone reversed is a mirror image of the video
    pen.imageSmoothingQuality = "high";
    pen.drawImage(video, from, from, side, side, 0, 0, size, size);
  }

  /* Red and blue change places. A filter works on a page from a disk too, where a script may not read a video's pixels. */
  function swapFilter(id) {
    const filter = s("filter", { id, "color-interpolation-filters": "sRGB" }), svg = s("svg", { width: 0, height: 0, "aria-hidden": "true", class: "vla-filter" });
    filter.append(s("feColorMatrix", { values: "0 0 1 0 0  0 1 0 0 0  1 0 0 0 0  0 0 0 1 0" }));
    svg.append(filter);
    return svg;
  }

  // ---- The plot

  const PANELS = [
    { of: "gripper", title: "gripper command", height: 38, low: -1.3, high: 1.3, ticks: [[-1, "open"], [1, "close"]], stepped: true },
    { of: "height", title: "height of the hand above the floor, cm", short: "height of the hand, cm", height: 84, low: 0, high: 34 },
    { of: "motion", title: "commanded motion (x, y, z), share of full speed", short: "motion, share of full speed", height: 70, low: 0, high: 1.08, ticks: [[0, "0"], [0.5, "½"], [1, "1"]] },
  ];
  const TOKEN_ROWS = [["x y z", 1.5], ["rotation", 4.5], ["gripper", 6.5]];
  const LEFT = 60, RIGHT = 52, LANE = 20, TITLE = 20, GAP = 7, ROW = 8, AXIS = 36;
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

  /* One lane an episode: how long it lasts, the first close, the verdict. */
  function drawLane(put, side, x, middle, width, bottom) {
    const e = side.entry, mark = `vla-${side.name}`, end = x(e.steps);
    put("line", { x1: x(0), x2: end, y1: middle, y2: middle, class: `vla-life ${mark}` });
    const at = e.first_close == null ? null : x(e.first_close), words = `first close ${e.first_close}`, room = 92;
    const before = at != null && at > LEFT + room, after = at != null && !before && end - at > room;
    const behind = at != null && !before && !after && end + 48 + room < width ? ` · ${words}` : "";
    put("text", { x: end + 5, y: middle + 4, class: `vla-end ${mark}` }, `${{ true: "✓", false: "✗", null: "…" }[e.success]} ${e.steps}${behind}`);
    if (at == null) return;
    put("line", { x1: at, x2: at, y1: middle, y2: bottom, class: `vla-close ${mark}` });
    put("circle", { cx: at, cy: middle, r: 4.5, class: `vla-dot ${mark}` });
    if (before || after) put("text", { x: at + (before ? -8 : 8), y: middle + 4, class: `vla-note ${mark}`, "text-anchor": before ? "end" : "start" }, words);
  }

  /* What a side did is drawn into a layer of its own, of which only the part that was played is seen; on paper, all. */
  function drawPlot(svg, width, sides, steps) {
    const inner = width - LEFT - RIGHT, x = (step) => LEFT + (inner * step) / steps, parts = [], layers = {};
    const put = (tag, attributes, text) => parts.push(s(tag, attributes, text));
    for (const side of sides) layers[side.name] = s("g", { class: "vla-seen", "clip-path": `url(#${side.mask.parentNode.id})` });
    const into = (side) => (tag, attributes, text) => layers[side.name].append(s(tag, attributes, text));
    const total = plotHeight(sides.length), drawn = sides.filter((side) => side.entry);
    const from = LEFT + 6, narrow = width < 420; // a telephone has no room for a long title
    let top = 4;
    for (const side of sides) {
      const middle = top + LANE / 2;
      put("text", { x: LEFT - 8, y: middle + 4, class: `vla-end vla-${side.name}`, "text-anchor": "end" }, LETTER[side.name]);
      if (side.entry) drawLane(into(side), side, x, middle, width, total - AXIS);
      top += LANE;
    }
    for (const base of PANELS) {
      const most = Math.max(base.high, ...drawn.flatMap((side) => (side.data && !base.stepped ? side.data.series[base.of] : [])));
      const panel = { ...base, high: most }, every = most > 60 ? 20 : 10;
      const title = top + 15, above = top + TITLE, y = (v) => above + (panel.height * (panel.high - Math.min(v, panel.high))) / (panel.high - panel.low);
      put("text", { x: from, y: title, class: "vla-name" }, (narrow && panel.short) || panel.title);
      for (const [value, label] of panel.ticks || Array.from({ length: Math.floor(most / every) + 1 }, (_, n) => [n * every, n * every])) {
        put("line", { x1: LEFT, x2: LEFT + inner, y1: y(value), y2: y(value), class: "vla-grid" });
        put("text", { x: LEFT - 6, y: y(value) + 4, class: "vla-tick", "text-anchor": "end" }, label);
      }
      for (const side of drawn) if (side.data) into(side)("path", { d: path(side.data.series[panel.of], x, y, panel.stepped), class: `vla-line vla-${side.name}` });
      top = above + panel.height + GAP;
    }
    for (const side of sides) {
      put("text", { x: from, y: top + 15, class: "vla-name" }, `tokens of ${LETTER[side.name]}: ${narrow ? "purple is low" : "low bins purple, high bins green"}`);
      top += TITLE;
      put("rect", { x: LEFT, y: top, width: inner, height: 7 * ROW, class: "vla-field" });
      if (side.data) into(side)("image", { href: side.picture ||= raster(side.data.series.tokens), x: LEFT, y: top, width: x(side.data.steps) - LEFT, height: 7 * ROW, preserveAspectRatio: "none", class: "vla-raster" });
      for (const [label, row] of TOKEN_ROWS) put("text", { x: LEFT - 6, y: top + row * ROW + 4, class: "vla-tick", "text-anchor": "end" }, label);
      top += 7 * ROW + GAP;
    }
    const gap = [10, 20, 50, 100].find((n) => (inner * n) / steps > 44) || 200;
    for (let step = 0; step <= steps; step += gap) {
      put("line", { x1: x(step), x2: x(step), y1: total - AXIS, y2: total - AXIS + 4, class: "vla-grid" });
      put("text", { x: x(step), y: total - AXIS + 17, class: "vla-tick", "text-anchor": "middle" }, step);
    }
    put("text", { x: LEFT + inner, y: total - 3, class: "vla-tick", "text-anchor": "end" }, "control step, 20 a second");
    const masks = s("defs", {});
    for (const side of sides) {
      masks.append(side.mask.parentNode);
      side.mask.setAttribute("height", total);
    }
    svg.setAttribute("width", width);
    svg.setAttribute("height", total);
    svg.setAttribute("viewBox", `0 0 ${width} ${total}`); // so that paper can shrink it
    svg.replaceChildren(masks, ...parts, ...Object.values(layers));
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
    const scenes = new Map();
    for (const e of index.episodes) if (!scenes.has(`${e.task}_${e.init}`)) scenes.set(`${e.task}_${e.init}`, e);
    let scene = `${options.task ?? 0}_${options.init ?? 0}`;
    if (!scenes.has(scene)) scene = [...scenes.keys()][0];
    const ordered = (names) => [...conditions.keys()].filter((n) => names.has(n));
    const keyOf = (names) => `${scene}/${ordered(names).join("+") || PUBLISHED}`;
    const here = () => index.episodes.filter((e) => `${e.task}_${e.init}` === scene);

    let time = 0, playing = false, rate = 1, last = 0, frame = 0, ended = false, onScreen = false, guess = null;
    const sides = SIDES.slice(0, free ? Math.min(2, index.episodes.length) : 2).map(makeSide);
    const length = () => Math.max(20, ...sides.map((side) => (side.entry ? side.entry.steps : 0)));
    const span = () => (free ? length() : Math.max(length(), ...here().map((e) => e.steps))); // one axis for all: its end gives nothing away
    const stepNow = () => Math.min(length() - 1, Math.floor(time * FPS + 1e-6));
    const guessed = sides[1] && !free ? sides[1] : null;

    // What there is to see, from the top to the bottom

    const task = h("select", { id: `${id}task`, onchange: (e) => toScene(e.target.value) },
      ...[...scenes].map(([value, e]) => h("option", { value, selected: value === scene }, `${e.instruction}${e.init ? ` (initial state ${e.init})` : ""}`)));
    const presets = h("fieldset", { class: "vla-presets" });
    const status = h("p", { class: "vla-status", role: "status" });
    const predict = h("fieldset", { class: "vla-predict" });
    const button = h("button", { type: "button", class: "vla-play", onclick: () => (playing ? pause() : play()) });
    const clock = h("span", { class: "vla-clock" });
    const speed = h("select", { id: `${id}speed`, onchange: (e) => { rate = +e.target.value; sides.forEach((side) => { side.video.playbackRate = rate; }); } },
      ...SPEEDS.map((v) => h("option", { value: v, selected: v === rate }, `${v}×`)));
    const large = h("button", { type: "button", class: "vla-enlarge", "aria-pressed": "false", onclick: () => enlarge(!root.classList.contains("vla-large")) }, "Enlarge");
    const run = h("a", { class: "vla-run" }, "Run this live");
    const svg = s("svg", { "aria-hidden": "true" });
    const cursor = h("div", { class: "vla-cursor" });
    const plot = h("div", { class: "vla-plot", role: "slider", tabindex: 0, "aria-label": "Time: control step", "aria-valuemin": 0, "aria-orientation": "horizontal" }, svg, cursor);
    const height = plotHeight(sides.length);
    plot.style.height = `${height}px`;
    cursor.style.height = `${height - AXIS}px`;
    const switches = h("div", { class: "vla-switches" });
    const folded = h("details", { class: "vla-more" }, h("summary", {}), switches);

    root.replaceChildren(
      free ? picker() : h("div", { class: "vla-head" }, h("label", { for: `${id}task` }, "Task"), task),
      ...(free ? [] : [presets, folded]),
      h("div", { class: "vla-pair", "data-count": sides.length }, ...sides.map((side) => side.section)),
      ...(guessed ? [predict] : []),
      h("div", { class: "vla-bar" }, button, clock, h("span", { class: "vla-speed" }, h("label", { for: `${id}speed` }, "Speed"), speed),
        h("button", { type: "button", class: "vla-skip", onclick: () => { if (playing) pause(); toStep(length() - 1); } }, "To the end"), large, free ? null : run),
      status,
      plot,
      h("div", { class: "vla-read" }, ...sides.map((side) => side.readout)),
      h("div", { class: "vla-pair vla-notes", "data-count": sides.length }, ...sides.map((side) => side.says)),
      h("p", { class: "vla-keys" }, "Drag in the plot, or: space plays and pauses · ← → one step (with Shift 20) · Home, End. Each token stands for one of 256 bins of a number's range."),
      swapFilter(`${id}swap`),
    );
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", "Player of recorded episodes");
    if (!free) fillSwitches();
    quiet();
    label();

    function makeSide(name) {
      const side = { name, names: new Set((options[name] || []).filter((n) => conditions.has(n))), entry: null, data: null, ready: false, seen: -1, how: null, ticket: 0 };
      const letter = LETTER[name];
      side.badge = () => h("span", { class: `vla-badge vla-${name}` }, letter);
      side.known = () => Boolean(side.entry) && (free || side.seen >= side.entry.steps - 1);
      side.title = h("span", { class: "vla-title" });
      side.verdict = h("span", { class: "vla-verdict" });
      side.waits = h("span", { class: "vla-waits" });
      side.video = h("video", { width: 256, height: 256, playsinline: true, preload: "auto", "aria-label": `Episode ${letter}: the camera, turned upright` });
      side.video.muted = true;
      side.over = h("p", { class: "vla-over", hidden: true });
      side.message = h("div", { class: "vla-message", hidden: true });
      side.sees = h("img", { width: 224, height: 224, alt: "" });
      side.view = h("canvas", { width: 224, height: 224, hidden: true, "aria-hidden": "true" }); // the picture below it has the words
      side.viewWords = h("figcaption", {});
      side.about = h("p", { class: "vla-about" });
      side.end = h("img", { class: "vla-end-still", width: 256, height: 256, alt: "" }); // paper shows it in place of the video
      side.says = h("div", { class: "vla-says" });
      side.readout = h("div", { class: "vla-now" });
      side.mask = s("rect", { x: 0, y: 0, width: 0, height: 0 });
      s("clipPath", { id: `${id}${name}` }).append(side.mask);
      side.video.addEventListener("click", () => (playing ? pause() : play()));
      side.video.addEventListener("error", () => side.video.getAttribute("src") && fail(side, new Error("the file is missing or broken")));
      side.video.addEventListener("loadeddata", () => arrive(side));
      side.video.addEventListener("seeked", () => look(side));
      side.section = h("section", { tabindex: -1, "data-side": name, "aria-label": `Episode ${letter}` },
        h("p", { class: "vla-line1" }, side.badge(), side.title), h("p", { class: "vla-line2" }, side.verdict, side.waits),
        h("div", { class: "vla-stage" }, side.video, side.end, side.over, side.message),
        h("div", { class: "vla-below" }, h("figure", { class: "vla-sees" }, h("span", {}, side.sees, side.view), side.viewWords), side.about));
      return side;
    }

    function presetRow([words, names]) {
      const key = names.join("+") || PUBLISHED;
      return h("label", { class: "vla-preset" },
        h("input", { type: "radio", name: `${id}preset`, value: key, onchange: () => { const side = sides.at(-1); side.names = new Set(names); choose(side); } }),
        h("span", {}, words, names.length ? h("small", {}, `${words ? " " : ""}${codes(names)}`) : null));
    }

    /* Presets and switches that some clip of this task shows; the rest is said, and where it runs. */
    function fillSwitches() {
      const offered = PRESETS.filter(([, names]) => entries.has(keyOf(new Set(names))));
      const singles = here().filter((e) => e.conditions.length === 1 && !presetOf(e.conditions)).map((e) => ["", e.conditions]);
      presets.replaceChildren(h("legend", {}, sides.at(-1).badge(), " runs with"), ...[...offered, ...(offered.length < PRESETS.length ? singles : [])].map(presetRow));
      const shownHere = new Set(here().flatMap((e) => e.conditions));
      const rows = index.conditions.filter((c) => shownHere.has(c.name)), missing = conditions.size - rows.length;
      folded.firstChild.textContent = rows.length === 1 ? "The one switch that was recorded for this task" : `All ${rows.length} switches that were recorded for this task`;
      const boundaries = [...new Set(rows.map((c) => c.boundary))];
      switches.replaceChildren(...boundaries.map((boundary) => h("fieldset", {}, h("legend", {}, BOUNDARIES[boundary] || boundary),
        h("div", { class: "vla-row vla-letters", "aria-hidden": "true" }, ...sides.map((side) => side.badge())),
        ...rows.filter((c) => c.boundary === boundary).map(switchRow))),
      h("p", { class: "vla-rest" }, `${recorded()}${missing ? ` ${missing} more switches were recorded only for another task or initial state.` : ""} `,
        "Any other combination was not recorded. The live page runs it."));
      quiet();
    }

    function switchRow(c) {
      return h("div", { class: "vla-row" },
        ...sides.map((side) => h("input", {
          type: "checkbox", class: `vla-${side.name}`, checked: side.names.has(c.name), "data-side": side.name, "data-condition": c.name, "aria-label": `${LETTER[side.name]}: ${c.name}`,
          "aria-describedby": `${id}about-${c.name}`, onchange: (e) => flip(side, c, e.target.checked),
        })), h("p", {}, h("b", {}, ...breakable(c.name)), h("span", { id: `${id}about-${c.name}` }, c.teaches)));
    }

    function picker() {
      return h("div", { class: "vla-head", hidden: index.episodes.length < 2 || null }, ...sides.flatMap((side, i) => [
        h("label", { for: id + side.name }, `${LETTER[side.name]} shows`),
        h("select", { id: id + side.name, onchange: (e) => show(side, e.target.value) },
          ...index.episodes.map((e, k) => h("option", { value: e.key, selected: k === i }, e.label))),
      ]));
    }

    // JupyterLab would take the arrows, the space and letters for itself; it asks the focused element before the ones around it
    function quiet() {
      for (const node of [root, ...root.querySelectorAll("input, select, button, summary, a, [tabindex]")]) node.setAttribute("data-lm-suppress-shortcuts", "true");
    }

    function askGuess() {
      if (!guessed) return;
      guess = null;
      const choice = (words, value) => h("label", {}, h("input", { type: "radio", name: `${id}guess`, onchange: () => { guess = value; } }), ` ${words}`);
      predict.replaceChildren(h("legend", {}, "Before you play: will ", guessed.badge(), " do the task?"), h("span", {}, choice("yes", true), choice("no", false)));
      predict.disabled = !guessed.entry;
      quiet();
    }

    // Choosing

    function toScene(wanted) {
      scene = wanted;
      task.value = wanted;
      fillSwitches();
      sides.forEach((side) => choose(side));
    }

    /* Flip one switch. Where the result was not recorded, the new switch replaces the others, and the status says so. */
    function flip(side, condition, on) {
      const letter = LETTER[side.name], before = ordered(side.names);
      if (!on) {
        side.names.delete(condition.name);
        choose(side);
        return;
      }
      const clash = before.map((name) => [name, conditions.get(name).settings.find((setting) => condition.settings.includes(setting))]).find(([, setting]) => setting);
      side.names.add(condition.name);
      if (clash) side.names.delete(clash[0]);
      let note = clash ? `${clash[0]} was switched off, because ${condition.name} changes the same setting (${clash[1]}). ` : "";
      if (!entries.has(keyOf(side.names)) && entries.has(keyOf(new Set([condition.name])))) {
        side.names = new Set([condition.name]);
        note = clash ? note : `${condition.name} together with ${codes(before)} was not recorded, so ${codes(before)} was switched off for ${letter}. The live page can run both. `;
      }
      choose(side, note);
    }

    function choose(side, note = "") {
      for (const box of root.querySelectorAll(`input[data-side=${side.name}]`)) box.checked = side.names.has(box.dataset.condition);
      show(side, keyOf(side.names), note);
    }

    /* What of all combinations of switches was recorded, in words. */
    function recorded() {
      const count = (n) => here().filter((e) => e.conditions.length === n).length, pairs = count(2);
      return `Recorded for this task: the published settings, each of the ${count(1)} switches alone${pairs ? `, and ${pairs} pairs of them` : ""}.`;
    }

    /* Recorded combinations of this scene that differ least, at most two. */
    function nearest(side) {
      const far = (e) => e.conditions.filter((c) => !side.names.has(c)).length * 1.5 + [...side.names].filter((c) => !e.conditions.includes(c)).length;
      return here().sort((a, b) => far(a) - far(b)).slice(0, 2);
    }

    function show(side, key, note = "") {
      const ticket = ++side.ticket, entry = entries.get(key) || null, letter = LETTER[side.name];
      Object.assign(side, { entry, data: null, picture: null, ready: false, seen: -1, how: entry && pathOfPicture(entry.changes) });
      side.section.dataset.key = key;
      side.section.dataset.state = entry ? "loading" : "none";
      side.message.hidden = true;
      side.message.classList.remove("vla-low");
      side.message.replaceChildren();
      side.video.removeAttribute("poster");
      side.view.hidden = true;
      side.view.style.filter = side.how && side.how.swapped ? `url(#${id}swap)` : "";
      side.sees.parentNode.parentNode.style.visibility = entry ? "" : "hidden";
      side.viewWords.textContent = side.how ? "What the policy sees, redrawn from the video" : "What the policy sees at step 0";
      side.end.removeAttribute("src");
      side.title.replaceChildren(...breakable(entry && entry.label ? entry.label : nameOf(ordered(side.names))));
      side.about.textContent = free ? "" : ordered(side.names).map((n) => conditions.get(n).teaches).join(" ") || "Every setting is as published.";
      describe(side);
      if (time > 0 && !playing) seek(0);
      if (side === guessed) askGuess();
      for (const radio of presets.querySelectorAll("input")) radio.checked = radio.value === (ordered(sides.at(-1).names).join("+") || PUBLISHED);
      live();
      status.textContent = `${note}${letter} shows ${side.title.textContent}. ${entry ? "Play shows what happens." : "This combination was not recorded."}`;
      if (!entry) { missing(side); seek(time); return; }
      source.still(key, "poster").then((url) => { if (side.ticket === ticket) { side.sees.src = url; side.sees.alt = `First picture that the policy was given in episode ${letter}`; } }, () => {});
      source.still(key, "end").then((url) => { if (side.ticket === ticket) { side.end.src = url; side.end.alt = `The camera at the end of episode ${letter}`; } }, () => {});
      source.series(key).then((data) => { if (side.ticket === ticket) side.data = data; }, (error) => {
        if (side.ticket === ticket) status.textContent = `The curves of ${key} are missing (${error.message}). The video still plays.`;
      }).then(() => { if (side.ticket === ticket) draw(); });
      draw();
      if (onScreen) film(side);
    }

    /* The address at which the live page runs what is chosen here. */
    function live() {
      run.hidden = free || !home;
      if (run.hidden) return;
      const [number, init] = scene.split("_"), [a, b] = sides.map((side) => ordered(side.names).join("."));
      run.href = new URL(`../live/index.html#task=${number}&init=${init}&a=${a}&b=${b}`, home).href;
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
      side.message.replaceChildren(h("p", {}, "This combination was not recorded. The nearest one is:"),
        ...nearest(side).map((e) => h("button", { type: "button", onclick: () => { side.names = new Set(e.conditions); choose(side); side.section.focus(); } }, nameOf(e.conditions))),
        ...(run.hidden ? [] : [h("a", { href: run.href }, "Run it live")]));
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
      side.viewWords.textContent = "What the policy sees at step 0";
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
      look(side);
      if (playing && time < side.entry.steps / FPS) side.video.play().catch(() => {});
    }

    /* Draw what the policy sees now, from the frame that the video shows. */
    function look(side) {
      if (!side.ready || !side.how || side.video.readyState < 2) return;
      drawView(side.view, side.video, side.how);
      side.view.hidden = false;
      if (side.how.late) side.viewWords.textContent = `What the policy sees, redrawn from the video. The picture that it got was ${side.how.late} step${side.how.late > 1 ? "s" : ""} older`;
    }

    function describe(side) {
      const e = side.entry, known = side.known(), rows = e ? Object.entries(e.changes) : [];
      side.verdict.textContent = e ? verdictOf(e) : "not recorded";
      side.verdict.dataset.success = e ? String(e.success) : "";
      side.verdict.hidden = Boolean(e) && !known;
      side.waits.textContent = known || !e ? "" : "not played yet";
      side.over.textContent = e ? { true: `${LETTER[side.name]} is done: ended at step ${e.steps}`, false: `${LETTER[side.name]} ended at step ${e.steps}, without success`, null: `${LETTER[side.name]} was stopped at step ${e.steps}` }[e.success] : "";
      side.section.dataset.known = known;
      const others = e && e.conditions.length ? index.episodes.filter((o) => o.task === e.task && o.init !== e.init && same(o.conditions, e.conditions)) : [];
      side.says.replaceChildren(
        h("p", { class: "vla-line1" }, side.badge(), h("b", {}, "What is changed")),
        rows.length ? h("ul", {}, ...rows.map(([name, [before, after]]) => h("li", {}, h("code", {}, name), " ", h("del", {}, shown(before)), " → ", h("ins", {}, shown(after))))) :
          h("p", {}, e ? "Nothing was changed. Every setting is as published." : "This combination was not recorded."),
        h("p", { class: "vla-caption", hidden: !known }, h("b", {}, "What happened: "), e ? e.caption : ""),
        ...others.map((o) => h("button", { type: "button", onclick: () => toScene(`${o.task}_${o.init}`) }, `Show the recording from initial state ${o.init}`)));
      quiet();
    }

    /* The end of an episode was reached for the first time. */
    function reveal(side) {
      describe(side);
      if (free || !sides.every((one) => one.known())) return;
      const words = sides.map((one) => `${LETTER[one.name]}: ${verdictOf(one.entry).slice(2)}.`).join(" ");
      const right = guess === null || guessed.entry.success === null ? "" : ` You expected ${LETTER[guessed.name]} ${guess ? "to do the task" : "not to do the task"}, and ${guess === guessed.entry.success ? "you were right" : "you were wrong"}.`;
      status.textContent = words + right;
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
      running.forEach(look);
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
      if (plot.clientWidth) drawPlot(svg, plot.clientWidth, sides, span());
      tell();
    }

    function readout(side, step) {
      const data = side.data, of = data && data.series, at = data && Math.min(step, data.steps - 1);
      if (!data) return ["–"];
      if (step >= data.steps) return ["ended"];
      return [`gripper ${command(of.gripper[at])}`, `height ${of.height[at].toFixed(1)} cm`, `motion ${of.motion[at].toFixed(2)}`,
        `picture's mean ${of.image_mean[at].toFixed(0)} of 255`, tokenWords(tokensAt(of, at))];
    }

    function tell() {
      const step = stepNow(), inner = plot.clientWidth - LEFT - RIGHT, across = (n) => LEFT + (inner * Math.min(n, span())) / span();
      const spoken = [`step ${step}`];
      cursor.style.transform = `translateX(${across(step + 0.5).toFixed(1)}px)`;
      clock.textContent = `step ${step} · ${(step / FPS).toFixed(1)} s`;
      for (const side of sides) {
        const was = side.known(), cells = readout(side, step);
        if (side.entry && time > 0) side.seen = Math.max(side.seen, step);
        side.mask.setAttribute("width", side.known() ? plot.clientWidth : across(side.seen + 1.5));
        side.over.hidden = !side.known() || step < side.entry.steps - 1;
        side.readout.replaceChildren(side.badge(), ...cells.map((c, i) => h("span", { class: i === 4 && "vla-tokens" }, c)));
        spoken.push(`${LETTER[side.name]}: ${cells.slice(0, 2).join(", ")}`);
        if (side.known() && !was) reveal(side);
      }
      root.dataset.step = step;
      plot.setAttribute("aria-valuemax", length() - 1);
      plot.setAttribute("aria-valuenow", step);
      plot.setAttribute("aria-valuetext", spoken.join("; "));
    }

    function drag(event) {
      const box = plot.getBoundingClientRect(), inner = box.width - LEFT - RIGHT;
      toStep(Math.min(length() - 1, Math.floor(((event.clientX - box.left - LEFT) / inner) * span())));
    }
    plot.addEventListener("pointerdown", (e) => { if (e.button === 0) { plot.setPointerCapture(e.pointerId); drag(e); } });
    plot.addEventListener("pointermove", (e) => { if (plot.hasPointerCapture(e.pointerId)) drag(e); });

    /* Fill the screen; where the browser does not allow it, the window. */
    function enlarge(on) {
      root.classList.toggle("vla-large", on);
      large.setAttribute("aria-pressed", String(on));
      large.textContent = on ? "Back to the page" : "Enlarge";
      if (on && root.requestFullscreen) root.requestFullscreen().catch(() => {});
      else if (!on && document.fullscreenElement === root) document.exitFullscreen();
    }
    root.addEventListener("fullscreenchange", () => { if (document.fullscreenElement !== root) enlarge(false); });

    root.addEventListener("keydown", keys);
    function keys(e) {
      if (e.altKey || e.ctrlKey || e.metaKey || e.target.tagName === "SELECT" || e.target.type === "radio") return;
      const by = e.shiftKey ? 20 : 1, step = stepNow();
      const moves = { ArrowRight: step + by, ArrowUp: step + by, ArrowLeft: step - by, ArrowDown: step - by, PageUp: step + 20, PageDown: step - 20, Home: 0, End: length() - 1 };
      if (e.key in moves) toStep(moves[e.key]);
      else if (e.key === "Escape" && root.classList.contains("vla-large")) enlarge(false);
      else if (e.key === " " && !["A", "BUTTON", "INPUT", "SUMMARY"].includes(e.target.tagName)) { if (playing) pause(); else play(); }
      else return;
      e.preventDefault();
      e.stopPropagation();
    }

    // Clips one switch away, once the reader has shown interest
    function ahead() {
      if (!source.ahead || (navigator.connection && navigator.connection.saveData)) return;
      const near = new Set([...(folded.open ? conditions.keys() : []), ...PRESETS.flatMap(([, names]) => names)].flatMap((name) => sides.map((side) => {
        const other = new Set(folded.open ? side.names : []);
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
      status.textContent = unknown.length ? `No clip knows a condition called ${unknown.join(", ")}.` : free ? `“${index.episodes[0].instruction}”` : "Both runs begin in the same initial state. Only the settings of B differ. What will happen?";
      if (!unknown.length && !free && ordered(sides[0].names).length) status.textContent = "Both runs begin in the same initial state. Only their settings differ. What will happen?";
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
    const resized = new ResizeObserver(() => { if (!matchMedia("print").matches) draw(); }); // paper shrinks what the screen shows
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

  const home = document.currentScript && document.currentScript.src ? new URL(".", document.currentScript.src).href : null;
  const list = (text) => (text || "").split("+").filter(Boolean);

  function upgrade() {
    for (const root of document.querySelectorAll("[data-vla-player]:not([data-state])")) {
      const inside = root.querySelector("script[type='application/json']"), d = root.dataset;
      root.dataset.state = "loading";
      const source = inside ? fromPage(JSON.parse(inside.textContent)) : fromFolder(new URL(d.clips || "", home).href);
      mount(root, source, { task: d.task, init: d.init, left: list(d.left), right: list(d.right) });
    }
  }

  function live(model, root) {
    return mount(root, fromKernel(model), model.get("options"));
  }

  globalThis.VlaPlayer = { mount, live };
  if (home) {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", upgrade);
    else upgrade();
  }
})();
