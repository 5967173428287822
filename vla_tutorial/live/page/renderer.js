/**
 * MuJoCo's picture in WebGL2.
 *
 * What has not moved since a target's last picture is neither lit nor, outside of the rectangle that
 * the moved things cover, painted again. A picture depends only on its pose and options, not on
 * what was drawn before.
 */
import { LiveError } from "./errors.js";
import { around, covered, inside, NOWHERE, overlap, placed } from "./renderer_boxes.js";
import { hit, OPAQUE, partsOf } from "./renderer_parts.js";
import { mirrorOf, switchedOn } from "./renderer_mirror.js";
import { compile, DRAW, DRAW_MIRRORED, LIGHT, MOST_LIGHTS, NOTHING, PAINT, PAINT_MIRRORED } from "./renderer_shaders.js";
import { applied, appliedBack, cameraOf, projection, rayThrough } from "./renderer_view.js";

/**
 * @typedef {import("./assets.js").Task} Task
 * @typedef {import("./simulator.js").Pose} Pose
 * @typedef {import("./simulator.js").SecondCan} SecondCan
 * @typedef {import("./renderer_parts.js").Part} Part
 * @typedef {import("./renderer_view.js").View} View
 * @typedef {import("./renderer_view.js").Camera} Camera
 */

/**
 * How a picture is taken. light: share of every lamp's brightness. samples: a pixel, 1 or 4.
 * @typedef {{cameraDegrees?: number, light?: number, secondCan?: SecondCan | null,
 *   srgbTextures?: boolean, samples?: number, width?: number, height?: number, view?: View}} Options
 */

/**
 * A part as it stands in one target: its rotation and place, its colours, and the box that it covers.
 * @typedef {{part: Uploaded, body: number, move: number[] | null, turn: Float32Array,
 *   shift: Float32Array, moved: boolean, on: boolean, direct: Coloured, reflected: Coloured | null,
 *   box: Box}} Instance
 * @typedef {{vao: WebGLVertexArrayObject, lit: WebGLBuffer}} Coloured as the camera or a mirror sees it
 * @typedef {import("./renderer_boxes.js").Box} Box
 * @typedef {NonNullable<ReturnType<typeof mirrorOf>>} Mirror
 * @typedef {{part: Part, buffers: WebGLBuffer[], lighting: WebGLVertexArrayObject,
 *   corners: WebGLBuffer, vertices: number}} Uploaded
 */

/**
 * Where pictures of one size and kind of view are drawn, and what was drawn there last.
 * @typedef {{width: number, height: number, drawn: WebGLFramebuffer, shown: WebGLFramebuffer,
 *   held: (WebGLRenderbuffer | null)[], instances: Instance[], settings: string,
 *   copy: SecondCan | null}} Target
 */

const LOST = "The browser took the graphics away. Wait a moment, or reload the page.";

/** It tells "lost" and "restored" as events when the browser takes WebGL away and gives it back. */
export class Renderer extends EventTarget {
  /** @type {WebGL2RenderingContext} */ #gl;
  /** @type {any} */ #light;
  /** @type {any} */ #draw;
  /** Draws what a mirror shows; null where nothing of the scene reflects. @type {any} */ #mirrored;
  /** @type {Uploaded[]} */ #uploaded = [];
  /** @type {Map<string, WebGLTexture>} */ #textures = new Map();
  /** @type {Map<string, Target>} */ #targets = new Map();
  /** @type {Target | null} */ #last = null;

  /** @param {HTMLCanvasElement | OffscreenCanvas} canvas @param {Task} task with pictures loaded */
  constructor(canvas, task) {
    super();
    this.task = task;
    this.canvas = canvas;
    this.parts = partsOf(task);
    const attributes = { antialias: false, alpha: false, depth: false };
    const gl = /** @type {WebGL2RenderingContext | null} */ (canvas.getContext("webgl2", attributes));
    if (!gl) {
      throw new LiveError("This browser has no WebGL 2, which draws the scene. Try a newer browser.");
    }
    this.#gl = gl;
    canvas.addEventListener("webglcontextlost", this.#onLost);
    canvas.addEventListener("webglcontextrestored", this.#onRestored);
    this.#build();
  }

  #onLost = (/** @type {Event} */ event) => {
    event.preventDefault();
    this.dispatchEvent(new Event("lost"));
  };

  #onRestored = () => {
    this.#build();
    this.dispatchEvent(new Event("restored"));
  };

  get lost() {
    return this.#gl.isContextLost();
  }

  /** Everything that lives on the graphics card. */
  #build() {
    const gl = this.#gl;
    this.#targets.clear();
    this.#textures.clear();
    this.#last = null;
    this.#light = compile(gl, LIGHT, NOTHING, ["lit"]);
    this.#draw = compile(gl, DRAW, PAINT);
    const mirror = this.parts.some((part) => part.mirror.length);
    this.#mirrored = mirror ? compile(gl, DRAW_MIRRORED, PAINT_MIRRORED) : null;
    this.#uploaded = this.parts.map((part) => this.#upload(part));
    for (const setting of [gl.UNPACK_FLIP_Y_WEBGL, gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL]) gl.pixelStorei(setting, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.enable(gl.CULL_FACE);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
    gl.clearColor(0, 0, 0, 1);
  }

  /** @param {Part} part @returns {Uploaded} */
  #upload(part) {
    const gl = this.#gl;
    const lighting = gl.createVertexArray();
    gl.bindVertexArray(lighting);
    const arrays = [part.positions, part.normals, part.colours, part.materials];
    const buffers = arrays.map((array, i) => this.#attribute(i, array, 3));
    if (part.coordinates) {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, part.coordinates, gl.STATIC_DRAW);
      buffers.push(buffer);
    }
    gl.bindVertexArray(null);
    const corners = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, corners);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, part.corners, gl.STATIC_DRAW);
    return { part, buffers, lighting, corners, vertices: part.positions.length / 3 };
  }

  /** @param {number} location @param {Float32Array} array @param {number} width */
  #attribute(location, array, width) {
    const gl = this.#gl;
    const buffer = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(location);
    gl.vertexAttribPointer(location, width, gl.FLOAT, false, 0, 0);
    return buffer;
  }

  /**
   * Draw the scene; `pixels` returns the picture.
   * @param {Pose} pose @param {Options} [options]
   */
  draw(pose, options = {}) {
    const gl = this.#gl;
    if (gl.isContextLost()) throw new LiveError(LOST);
    const { view = "agentview", width = 256, height = 256, samples = 4 } = options;
    const { cameraDegrees = 0, light = 1, secondCan = null, srgbTextures = false } = options;
    const target = this.#target(view === "agentview" ? view : "free", width, height, samples);
    this.#last = target;
    const camera = cameraOf(view, this.task, cameraDegrees);
    const { near, far } = this.task.scene;
    const matrix = projection(camera, width / height, near, far);
    const settings = JSON.stringify([camera, light, srgbTextures]);
    const anew = settings !== target.settings || secondCan !== target.copy;
    if (secondCan !== target.copy) this.#exchangeCopy(target, secondCan);
    const dirty = this.#place(target, pose, matrix, anew);
    target.settings = settings;
    if (dirty[0] >= dirty[2] || dirty[1] >= dirty[3]) return;
    const shown = target.instances.filter(({ part }) => switchedOn(part.part.switch, pose));
    const touched = shown.filter(({ box }) => overlap(box, dirty));
    // A mirror shows things that cover none of the pixels.
    const seen = this.#mirrored ? shown : touched;
    const glass = shown.find(({ part }) => part.part.mirror.length);
    const mirror = glass && mirrorOf(glass, matrix, camera);
    this.#lamps(camera, light);
    if (mirror) this.#lightUp(glass.moved ? shown : seen.filter((one) => one.moved), mirror.eye, mirror.reflectance);
    this.#lightUp(seen.filter((one) => one.moved), camera.position);
    this.#begin(target, dirty);
    if (mirror) this.#reflect(shown, glass, mirror, matrix, srgbTextures);
    this.#paint(target, touched, matrix, srgbTextures);
  }

  /** @param {string} kind @param {number} width @param {number} height @param {number} samples */
  #target(kind, width, height, samples) {
    const key = [kind, width, height, samples].join();
    const known = this.#targets.get(key);
    if (known) return known;
    const gl = this.#gl;
    /** @param {number} format @param {number} count */
    const buffer = (format, count) => {
      const made = gl.createRenderbuffer();
      gl.bindRenderbuffer(gl.RENDERBUFFER, made);
      gl.renderbufferStorageMultisample(gl.RENDERBUFFER, count, format, width, height);
      return made;
    };
    /** @param {WebGLRenderbuffer | null} colour @param {WebGLRenderbuffer | null} depth */
    const frame = (colour, depth) => {
      const made = gl.createFramebuffer();
      gl.bindFramebuffer(gl.FRAMEBUFFER, made);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.RENDERBUFFER, colour);
      gl.framebufferRenderbuffer(gl.FRAMEBUFFER, this.#mirrored ? gl.DEPTH_STENCIL_ATTACHMENT : gl.DEPTH_ATTACHMENT, gl.RENDERBUFFER, depth);
      return made;
    };
    const count = samples > 1 ? samples : 0;
    const depth = this.#mirrored ? gl.DEPTH32F_STENCIL8 : gl.DEPTH_COMPONENT32F;
    const held = [buffer(gl.RGBA8, count), buffer(depth, count), buffer(gl.RGBA8, 0)];
    const made = {
      width,
      height,
      held,
      drawn: frame(held[0], held[1]),
      shown: frame(held[2], null),
      instances: this.#uploaded.map((part) => this.#instance(part, null)),
      settings: "",
      copy: null,
    };
    this.#targets.set(key, made);
    return made;
  }

  /** @param {Uploaded} part @param {number[] | null} move @returns {Instance} */
  #instance(part, move) {
    const direct = this.#coloured(part);
    const reflected = this.#mirrored && this.#coloured(part);
    const turn = new Float32Array(9);
    const shift = new Float32Array(3);
    return { part, body: part.part.body, move, turn, shift, moved: true, on: true, direct, reflected, box: NOWHERE };
  }

  /** Where the colours of a part's vertices go. @param {Uploaded} part @returns {Coloured} */
  #coloured(part) {
    const gl = this.#gl;
    const lit = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, lit);
    gl.bufferData(gl.ARRAY_BUFFER, 12 * part.vertices, gl.DYNAMIC_COPY);
    const vao = gl.createVertexArray();
    gl.bindVertexArray(vao);
    const attributes = [[part.buffers[0], 3], [lit, 3], [part.buffers[4], 2]];
    attributes.forEach(([buffer, width], location) => {
      if (!buffer) return;
      gl.bindBuffer(gl.ARRAY_BUFFER, /** @type {WebGLBuffer} */ (buffer));
      gl.enableVertexAttribArray(location);
      gl.vertexAttribPointer(location, /** @type {number} */ (width), gl.FLOAT, false, 0, 0);
    });
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, part.corners);
    gl.bindVertexArray(null);
    gl.bindBuffer(gl.ARRAY_BUFFER, null);
    return { vao, lit };
  }

  /** @param {Instance} one */
  #forget(one) {
    for (const { lit, vao } of [one.direct, ...(one.reflected ? [one.reflected] : [])]) {
      this.#gl.deleteBuffer(lit);
      this.#gl.deleteVertexArray(vao);
    }
  }

  /** @param {Target} target @param {SecondCan | null} copy */
  #exchangeCopy(target, copy) {
    for (const old of target.instances.filter((one) => one.move)) this.#forget(old);
    target.instances = target.instances.filter((one) => !one.move);
    const copied = this.#uploaded.filter(({ part }) => copy?.bodies.includes(part.body));
    target.instances.push(...copied.map((part) => this.#instance(part, /** @type {SecondCan} */ (copy).move)));
    target.copy = copy;
  }

  /**
   * Move every instance to where it is now; what must be painted again.
   * @param {Target} target @param {Pose} pose @param {Float32Array} matrix @param {boolean} anew
   * @returns {Box}
   */
  #place(target, pose, matrix, anew) {
    const { width, height } = target;
    let dirty = anew ? /** @type {Box} */ ([0, 0, width, height]) : NOWHERE;
    for (const one of target.instances) {
      const on = switchedOn(one.part.part.switch, pose);
      if (on !== one.on) dirty = around(dirty, one.box);
      one.on = on;
      const { xpos, xmat } = one.move && target.copy ? target.copy.pose : pose;
      if (!placed(one, xpos, xmat) && !anew) continue;
      one.moved = true;
      const before = one.box;
      one.box = covered(one, matrix, width, height);
      dirty = around(dirty, around(before, one.box));
    }
    const mirrors = target.instances.filter(({ part }) => part.part.mirror.length);
    if (dirty[0] < dirty[2]) for (const { box } of mirrors) dirty = around(dirty, box);
    return inside(dirty, width, height);
  }

  /**
   * Compute the colours of instances that have moved.
   * @param {Instance[]} instances @param {number[]} eye
   * @param {number | null} reflectance of the mirror in which they are seen
   */
  #lightUp(instances, eye, reflectance = null) {
    if (!instances.length) return;
    const gl = this.#gl;
    const { program, at } = this.#light;
    gl.useProgram(program);
    gl.uniform3fv(at("eye"), eye);
    gl.uniform1f(at("share"), reflectance ?? 1);
    gl.enable(gl.RASTERIZER_DISCARD);
    for (const one of instances) {
      gl.uniformMatrix3fv(at("turn"), true, one.turn);
      gl.uniform3fv(at("shift"), one.shift);
      gl.bindVertexArray(one.part.lighting);
      gl.bindBufferBase(gl.TRANSFORM_FEEDBACK_BUFFER, 0, (reflectance === null ? one.direct : /** @type {Coloured} */ (one.reflected)).lit);
      gl.beginTransformFeedback(gl.POINTS);
      gl.drawArrays(gl.POINTS, 0, one.part.vertices);
      gl.endTransformFeedback();
      if (reflectance === null) one.moved = false;
    }
    gl.bindBufferBase(gl.TRANSFORM_FEEDBACK_BUFFER, 0, null);
    gl.disable(gl.RASTERIZER_DISCARD);
    gl.bindVertexArray(null);
  }

  /** @param {Camera} camera @param {number} share of the lamps' brightness */
  #lamps(camera, share) {
    const gl = this.#gl;
    const { program, at } = this.#light;
    gl.useProgram(program);
    const lights = this.task.scene.lights.slice(0, MOST_LIGHTS);
    gl.uniform1i(at("count"), lights.length);
    lights.forEach((light, i) => {
      const towards = applied(camera.matrix, [0, 0, 1]);
      const axis = light.direction;
      const norm = Math.hypot(...axis);
      const spot = light.headlight ? [-2, 0] : [Math.cos((light.cutoff * Math.PI) / 180), light.exponent];
      const along = light.directional ? axis.map((x) => -x / norm) : towards;
      const near = !light.headlight && !light.directional;
      gl.uniform4fv(at(`lights[${i}].place`), near ? [...light.position, 1] : [...along, 0]);
      gl.uniform3fv(at(`lights[${i}].axis`), axis.map((x) => x / norm));
      gl.uniform3fv(at(`lights[${i}].ambient`), light.ambient.map((x) => x * share));
      gl.uniform3fv(at(`lights[${i}].diffuse`), light.diffuse.map((x) => x * share));
      gl.uniform3fv(at(`lights[${i}].specular`), light.specular.map((x) => x * share));
      gl.uniform3fv(at(`lights[${i}].attenuation`), light.attenuation);
      gl.uniform2fv(at(`lights[${i}].spot`), spot);
    });
  }

  /** Clear what is painted again. @param {Target} target @param {Box} dirty */
  #begin(target, [left, bottom, right, top]) {
    const gl = this.#gl;
    gl.bindFramebuffer(gl.FRAMEBUFFER, target.drawn);
    gl.viewport(0, 0, target.width, target.height);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(left, bottom, right - left, top - bottom);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT | (this.#mirrored ? gl.STENCIL_BUFFER_BIT : 0));
  }

  /**
   * Paint what the mirror shows.
   * @param {Instance[]} instances @param {Instance} glass @param {Mirror} mirror
   * @param {Float32Array} matrix @param {boolean} srgb
   */
  #reflect(instances, glass, mirror, matrix, srgb) {
    const gl = this.#gl;
    const { program, at } = this.#mirrored;
    gl.useProgram(program);
    // First a stencil: of all sides of the box, those that face the camera and lie in the plane.
    gl.enable(gl.STENCIL_TEST);
    gl.colorMask(false, false, false, false);
    gl.disable(gl.DEPTH_TEST);
    gl.stencilFunc(gl.ALWAYS, 1, 255);
    gl.stencilOp(gl.REPLACE, gl.REPLACE, gl.REPLACE);
    gl.uniformMatrix4fv(at("projection"), false, matrix);
    gl.uniform4fv(at("plane"), mirror.surface);
    this.#drawOne(glass, at, srgb);
    gl.enable(gl.DEPTH_TEST);
    gl.colorMask(true, true, true, true);
    gl.stencilFunc(gl.EQUAL, 1, 255);
    gl.stencilOp(gl.KEEP, gl.KEEP, gl.KEEP);
    gl.uniform4fv(at("plane"), mirror.plane);
    gl.uniformMatrix4fv(at("projection"), false, mirror.matrix);
    gl.frontFace(gl.CW);
    for (const one of instances) if (one !== glass && one.part.part.opacity >= OPAQUE) this.#drawOne(one, at, srgb, one.reflected);
    gl.frontFace(gl.CCW);
    gl.disable(gl.STENCIL_TEST);
  }

  /** @param {Instance} one @param {(name: string) => WebGLUniformLocation | null} at @param {boolean} srgb @param {Coloured | null} colours */
  #drawOne(one, at, srgb, colours = one.direct) {
    const gl = this.#gl;
    const { texture, corners, opacity } = one.part.part;
    gl.uniformMatrix3fv(at("turn"), true, one.turn);
    gl.uniform3fv(at("shift"), one.shift);
    gl.uniform1i(at("textured"), texture ? 1 : 0);
    gl.uniform1f(at("opacity"), opacity);
    if (texture) gl.bindTexture(gl.TEXTURE_2D, this.#texture(texture, srgb));
    gl.bindVertexArray((colours ?? one.direct).vao);
    gl.drawElements(gl.TRIANGLES, corners.length, gl.UNSIGNED_INT, 0);
  }

  /** @param {Target} target @param {Instance[]} instances @param {Float32Array} matrix @param {boolean} srgb */
  #paint(target, instances, matrix, srgb) {
    const gl = this.#gl;
    const { program, at } = this.#draw;
    gl.useProgram(program);
    gl.uniformMatrix4fv(at("projection"), false, matrix);
    const opaque = instances.filter(({ part }) => part.part.opacity >= OPAQUE);
    // A mirror adds to what is seen in it, and hides nothing that comes later.
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE);
    for (const one of opaque) if (one.part.part.mirror.length) this.#drawOne(one, at, srgb);
    gl.disable(gl.BLEND);
    for (const one of opaque) if (!one.part.part.mirror.length) this.#drawOne(one, at, srgb);
    const clear = instances.filter(({ part }) => part.part.opacity < OPAQUE);
    gl.depthMask(false);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
    // MuJoCo draws what is seen through twice: front to back, then back to front.
    for (const one of [...clear, ...[...clear].reverse()]) this.#drawOne(one, at, srgb);
    gl.depthMask(true);
    gl.disable(gl.BLEND);
    gl.bindVertexArray(null);
    gl.disable(gl.SCISSOR_TEST);
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, target.drawn);
    gl.bindFramebuffer(gl.DRAW_FRAMEBUFFER, target.shown);
    const { width, height } = target;
    gl.blitFramebuffer(0, 0, width, height, 0, 0, width, height, gl.COLOR_BUFFER_BIT, gl.NEAREST);
  }

  /** @param {string} name @param {boolean} linear whether its colours are made linear, where tagged */
  #texture(name, linear) {
    const gl = this.#gl;
    const tagged = linear && this.task.scene.textures[name].srgb;
    const key = `${name} ${tagged}`;
    const known = this.#textures.get(key);
    if (known) return known;
    const picture = this.task.textures.get(name);
    if (!picture) throw new LiveError(`The texture ${name} was not loaded. Reload the page.`);
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    const format = tagged ? gl.SRGB8_ALPHA8 : gl.RGBA8;
    gl.texImage2D(gl.TEXTURE_2D, 0, format, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    gl.generateMipmap(gl.TEXTURE_2D);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
    this.#textures.set(key, made);
    return made;
  }

  /**
   * The last picture, in the orientation of LIBERO's raw one: row 0 at the bottom.
   * @returns {Uint8Array} (height, width, 3) RGB; 256 × 256 unless `draw` was told otherwise
   */
  pixels() {
    const gl = this.#gl;
    const target = this.#last;
    if (!target) throw new LiveError("Nothing was drawn yet. Call draw first.");
    if (gl.isContextLost()) throw new LiveError(LOST);
    const { width, height } = target;
    const four = new Uint8Array(4 * width * height);
    gl.bindFramebuffer(gl.READ_FRAMEBUFFER, target.shown);
    gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, four);
    const three = new Uint8Array(3 * width * height);
    for (let i = 0, j = 0; i < four.length; i += 4, j += 3) {
      three[j] = four[i];
      three[j + 1] = four[i + 1];
      three[j + 2] = four[i + 2];
    }
    return three;
  }

  /**
   * What is seen at a point of a picture, and where in its body's frame; null for nothing.
   * @param {Pose} pose of the picture
   * @param {number} x 0 … 1 from the raw picture's left @param {number} y 0 … 1 from its row 0
   * @param {Options} [options] as `draw` got them
   */
  pick(pose, x, y, options = {}) {
    const { view = "agentview", width = 256, height = 256, cameraDegrees = 0 } = options;
    const camera = cameraOf(view, this.task, cameraDegrees);
    const { origin, direction } = rayThrough(camera, width / height, x, y);
    let found = null;
    for (const part of this.parts) {
      const xmat = pose.xmat.subarray(9 * part.body, 9 * part.body + 9);
      const xpos = pose.xpos.subarray(3 * part.body, 3 * part.body + 3);
      const from = appliedBack(xmat, origin.map((at, i) => at - xpos[i]));
      const along = appliedBack(xmat, direction);
      const distance = hit(part, from, along);
      if (distance >= (found?.distance ?? Infinity)) continue;
      found = {
        body: this.task.physics.bodies[part.body],
        localPoint: from.map((at, i) => at + distance * along[i]),
        worldPoint: origin.map((at, i) => at + distance * direction[i]),
        distance,
      };
    }
    return found;
  }

  /** Give the graphics memory back. Safe to call twice. */
  dispose() {
    const gl = this.#gl;
    this.canvas.removeEventListener("webglcontextlost", this.#onLost);
    this.canvas.removeEventListener("webglcontextrestored", this.#onRestored);
    for (const target of this.#targets.values()) {
      for (const one of target.instances) this.#forget(one);
      for (const frame of [target.drawn, target.shown]) gl.deleteFramebuffer(frame);
      for (const held of target.held) gl.deleteRenderbuffer(held);
    }
    for (const { buffers, corners, lighting } of this.#uploaded) {
      for (const buffer of [...buffers, corners]) gl.deleteBuffer(buffer);
      gl.deleteVertexArray(lighting);
    }
    for (const texture of this.#textures.values()) gl.deleteTexture(texture);
    for (const one of [this.#light, this.#draw, this.#mirrored]) if (one) gl.deleteProgram(one.program);
    this.#targets.clear();
    this.#textures.clear();
    this.#uploaded = [];
    this.#last = null;
  }
}
