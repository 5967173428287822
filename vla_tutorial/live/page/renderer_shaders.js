/**
 * The two programs of the renderer.
 *
 * MuJoCo draws with OpenGL's fixed functions (render_gl3.c, Apache License 2.0): light falls on
 * vertices, by the formulas of the OpenGL 2.1 specification, section 2.14; textures modulate; no
 * gamma. LIGHT computes each vertex' colour into a buffer, which stays while nothing has moved. DRAW
 * paints with these colours.
 */

export const MOST_LIGHTS = 4;

export const LIGHT = `#version 300 es
precision highp float; precision highp int;
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 normal;
layout(location = 2) in vec3 colour;
layout(location = 3) in vec3 material; // emission, specular, shininess · 128
struct Light {
  vec4 place; // w 0: a direction towards the light
  vec3 axis, ambient, diffuse, specular, attenuation;
  vec2 spot; // cosine of the cutoff, exponent
};
uniform Light lights[${MOST_LIGHTS}];
uniform int count;
uniform mat3 turn;
uniform vec3 shift, eye;
uniform float share; // of the colour, which a mirror takes from; highlights stay
out vec3 lit;
void main() {
  vec3 at = turn * position + shift;
  vec3 up = normalize(turn * normal);
  vec3 toEye = normalize(eye - at);
  vec3 own = share * colour;
  vec3 sum = own * material.x;
  for (int i = 0; i < count; i++) {
    Light light = lights[i];
    vec3 toLight = light.place.xyz;
    float strength = 1.0;
    if (light.place.w > 0.0) {
      toLight -= at;
      float far = length(toLight);
      toLight /= far;
      vec3 fall = light.attenuation;
      strength = 1.0 / (fall.x + far * (fall.y + far * fall.z));
      float inside = dot(-toLight, light.axis);
      strength *= inside < light.spot.x ? 0.0 : pow(max(inside, 0.0), light.spot.y);
    }
    if (strength == 0.0) continue;
    float facing = dot(up, toLight);
    vec3 part = own * (light.ambient + max(facing, 0.0) * light.diffuse);
    if (facing > 0.0 && material.y > 0.0) {
      float shine = max(dot(up, normalize(toLight + toEye)), 0.0);
      part += material.y * light.specular * (material.z == 0.0 ? 1.0 : pow(shine, material.z));
    }
    sum += strength * part;
  }
  lit = clamp(sum, 0.0, 1.0);
}`;

export const NOTHING = `#version 300 es
void main() {}`;

export const DRAW = `#version 300 es
precision highp float; precision highp int;
layout(location = 0) in vec3 position;
layout(location = 1) in vec3 lit;
layout(location = 2) in vec2 coordinates;
uniform mat3 turn;
uniform vec3 shift;
uniform mat4 projection;
out vec3 shade;
out vec2 place;
void main() {
  shade = lit;
  place = coordinates;
  gl_Position = projection * vec4(turn * position + shift, 1.0);
}`;

export const PAINT = `#version 300 es
precision highp float; precision highp int;
in vec3 shade;
in vec2 place;
uniform sampler2D picture;
uniform bool textured;
uniform float opacity;
out vec4 pixel;
void main() { pixel = vec4(textured ? shade * texture(picture, place).rgb : shade, opacity); }`;

/** DRAW, but what lies behind the mirror is left out. */
export const DRAW_MIRRORED = DRAW
  .replace("out vec2 place;", "out vec2 place;\nuniform vec4 plane;\ncentroid out float above;")
  .replace("gl_Position = projection", "above = dot(plane.xyz, turn * position + shift) - plane.w;\n  gl_Position = projection");

export const PAINT_MIRRORED = PAINT
  .replace("uniform float opacity;", "uniform float opacity;\ncentroid in float above;")
  .replace("void main() {", "void main() {\n  if (above < 0.0) discard;\n ");

/**
 * @param {WebGL2RenderingContext} gl @param {string} vertex @param {string} fragment
 * @param {string[]} [captured] outputs that go into a buffer
 */
export function compile(gl, vertex, fragment, captured = []) {
  const program = gl.createProgram();
  for (const [kind, text] of /** @type {[number, string][]} */ ([[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]])) {
    const shader = /** @type {WebGLShader} */ (gl.createShader(kind));
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
    gl.deleteShader(shader);
  }
  if (captured.length) gl.transformFeedbackVaryings(program, captured, gl.SEPARATE_ATTRIBS);
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
    throw new Error(gl.getProgramInfoLog(program) ?? "a shader does not link");
  }
  /** @type {Map<string, WebGLUniformLocation | null>} */
  const known = new Map();
  /** @param {string} name */
  const at = (name) => {
    if (!known.has(name)) known.set(name, gl.getUniformLocation(program, name));
    return /** @type {WebGLUniformLocation | null} */ (known.get(name));
  };
  return { program, at };
}
