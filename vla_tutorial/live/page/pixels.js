/**
 * The boundary observation → pixels: what happens to a picture before the policy sees it.
 *
 * Each function gives the values of `vla_tutorial/pixels.py` bit for bit. Its arithmetic is float32
 * in TensorFlow's order. `Math.fround` rounds to float32.
 */
import { LiveError } from "./errors.js";
import { jpegRoundTrip } from "./jpeg.js";
import { sinf } from "./sinf.js";

/** @typedef {import("./conditions.js").Wiring} Wiring */

/** Width and height of the policy's input in pixels. */
export const SIZE = 224;

/** Share of the area that the crop keeps (openvla). */
const CROP_AREA = 0.9;

const f32 = Math.fround;

/**
 * The simulator's picture → what the policy sees.
 * @param {Uint8Array} picture (n, n, 3) RGB, row 0 at the bottom; n a multiple of 16
 * @param {Pick<Wiring, "orientation" | "colour_order" | "jpeg" | "resize" | "center_crop">} wiring
 * @returns {Uint8Array} (224, 224, 3), row 0 at the top
 */
export function prepare(picture, wiring) {
  const size = sizeOf(picture);
  /** @type {Uint8Array} */
  let out = orient(picture, size, wiring.orientation);
  if (wiring.colour_order === "bgr") out = exchanged(out);
  if (wiring.jpeg) out = jpegRoundTrip(out, size);
  out = resized(out, size, wiring.resize === "bilinear" ? bilinear(size) : lanczos3(size));
  return wiring.center_crop ? centerCrop(out) : out;
}

/** @param {Uint8Array} picture */
function sizeOf(picture) {
  const size = Math.sqrt(picture.length / 3);
  if (size > 0 && size % 16 === 0) return size;
  const expected = "expected n × n × 3 with n a multiple of 16";
  throw new LiveError(`A picture has ${picture.length} values; ${expected}.`);
}

/**
 * Turn the simulator's picture. `rotate_180` is what LIBERO's training pictures were.
 * @param {Uint8Array} picture (size, size, 3)
 * @param {number} size
 * @param {Wiring["orientation"]} orientation
 */
export function orient(picture, size, orientation) {
  const reversesRows = orientation !== "raw";
  const reversesColumns = orientation === "rotate_180";
  const out = new Uint8Array(picture.length);
  for (let row = 0; row < size; row++) {
    const from = reversesRows ? size - 1 - row : row;
    for (let column = 0; column < size; column++) {
      const source = 3 * (from * size + (reversesColumns ? size - 1 - column : column));
      const target = 3 * (row * size + column);
      out[target] = picture[source];
      out[target + 1] = picture[source + 1];
      out[target + 2] = picture[source + 2];
    }
  }
  return out;
}

/**
 * Red and blue change places.
 * @param {Uint8Array} picture
 */
function exchanged(picture) {
  const out = picture.slice();
  for (let i = 0; i < out.length; i += 3) {
    out[i] = picture[i + 2];
    out[i + 2] = picture[i];
  }
  return out;
}

/**
 * Where each row of a resampled axis comes from.
 * @typedef {{first: number, weights: Float32Array}[]} Resampling
 */

/**
 * Bilinear resampling of one axis from `size` to 224 pixels, without antialiasing.
 * @param {number} size
 * @returns {Resampling}
 */
function bilinear(size) {
  return Array.from({ length: SIZE }, (_, i) => {
    const at = Math.min(size - 1, Math.max(0, ((i + 0.5) * size) / SIZE - 0.5));
    const first = Math.floor(at);
    const weights = first < size - 1 ? [1 - (at - first), at - first] : [1];
    return { first, weights: Float32Array.from(weights) };
  });
}

/** @type {Map<number, Resampling>} */
const resamplings = new Map();

/**
 * The antialiased resampling of one axis from `size` to 224 pixels.
 * @param {number} size
 * @returns {Resampling}
 */
export function lanczos3(size) {
  const known = resamplings.get(size);
  if (known) return known;
  const inverse = f32(1 / f32(SIZE / size));
  const stretch = Math.max(inverse, 1);
  const radius = f32(3 * stretch);
  const rows = Array.from({ length: SIZE }, (_, i) => {
    const centre = f32(f32(i + 0.5) * inverse);
    const first = Math.max(0, Math.ceil(f32(f32(centre - radius) - 0.5)));
    const last = Math.min(size - 1, Math.floor(f32(f32(centre + radius) - 0.5)));
    return { first, weights: rowWeights(first, last, centre, stretch) };
  });
  resamplings.set(size, rows);
  return rows;
}

/**
 * @param {number} first
 * @param {number} last
 * @param {number} centre
 * @param {number} stretch
 */
function rowWeights(first, last, centre, stretch) {
  const weights = new Float32Array(last - first + 1);
  let total = 0;
  for (let i = 0; i < weights.length; i++) {
    const offset = f32(f32(first + i + 0.5) - centre);
    weights[i] = kernel(Math.abs(f32(offset * f32(1 / stretch))));
    total = f32(total + weights[i]);
  }
  const factor = f32(1 / total);
  return weights.map((weight) => weight * factor);
}

/**
 * sinc(x)·sinc(x/3) for 0 ≤ x ≤ 3.
 * @param {number} x
 */
function kernel(x) {
  if (x > 3) return 0;
  if (x <= f32(1e-3)) return 1;
  const turned = f32(f32(Math.PI) * x);
  const sine = sinf(turned);
  const slow = sinf(f32(turned / 3));
  const pi2 = f32(f32(Math.PI) * f32(Math.PI));
  return f32(f32(f32(3 * sine) * slow) / f32(f32(pi2 * x) * x));
}

/**
 * First the rows, then the columns, then rounding, half to even.
 * @param {Uint8Array} picture (size, size, 3)
 * @param {number} size
 * @param {Resampling} rows
 * @returns {Uint8Array} (224, 224, 3)
 */
function resized(picture, size, rows) {
  const width = 3 * size;
  const between = new Float32Array(SIZE * width);
  rows.forEach(({ first, weights }, row) => {
    const line = between.subarray(row * width, (row + 1) * width);
    weights.forEach((weight, k) => addScaled(line, picture, (first + k) * width, weight));
  });
  // It rounds half to even, and clips.
  const out = new Uint8ClampedArray(SIZE * SIZE * 3);
  for (let row = 0; row < SIZE; row++) {
    for (let column = 0; column < SIZE; column++) {
      const { first, weights } = rows[column];
      const source = row * width + 3 * first;
      const target = 3 * (row * SIZE + column);
      for (let c = 0; c < 3; c++) out[target + c] = weighted(between, source + c, weights);
    }
  }
  return new Uint8Array(out.buffer);
}

/**
 * line += weight · picture[from …], rounded to float32 after each product and each sum.
 * @param {Float32Array} line
 * @param {Uint8Array} picture
 * @param {number} from
 * @param {number} weight
 */
function addScaled(line, picture, from, weight) {
  for (let i = 0; i < line.length; i++) line[i] += f32(weight * picture[from + i]);
}

/**
 * @param {Float32Array} values of three channels in turns
 * @param {number} from
 * @param {Float32Array} weights
 */
function weighted(values, from, weights) {
  let sum = 0;
  for (let k = 0; k < weights.length; k++) {
    sum = f32(sum + f32(weights[k] * values[from + 3 * k]));
  }
  return sum;
}

/**
 * Cut out the middle 90 % of the area and enlarge it: bilinear, corners aligned.
 * @param {Uint8Array} picture (224, 224, 3)
 * @returns {Uint8Array} (224, 224, 3)
 */
export function centerCrop(picture) {
  const at = cropPositions();
  const scale = f32(1 / 255);
  const wide = new Float32Array(picture.length);
  at.forEach(({ below, above, fraction }, column) => {
    for (let row = 0; row < SIZE; row++) {
      for (let c = 0; c < 3; c++) {
        const line = 3 * row * SIZE + c;
        const left = f32(picture[line + 3 * below] * scale);
        const right = f32(picture[line + 3 * above] * scale);
        wide[line + 3 * column] = left + f32(f32(right - left) * fraction);
      }
    }
  });
  const out = new Uint8Array(picture.length);
  at.forEach(({ below, above, fraction }, row) => {
    for (let i = 0; i < 3 * SIZE; i++) {
      const upper = wide[3 * below * SIZE + i];
      const lower = wide[3 * above * SIZE + i];
      const value = f32(upper + f32(f32(lower - upper) * fraction));
      out[3 * row * SIZE + i] = f32(Math.min(1, Math.max(0, value)) * 255.5);
    }
  });
  return out;
}

function cropPositions() {
  const side = f32(Math.sqrt(f32(CROP_AREA)));
  const low = f32(f32(1 - side) / 2);
  const last = SIZE - 1;
  const step = f32(f32(f32(f32(low + side) - low) * last) / last);
  return Array.from({ length: SIZE }, (_, i) => {
    const position = f32(f32(low * last) + f32(i * step));
    const below = Math.floor(position);
    return { below, above: Math.ceil(position), fraction: f32(position - below) };
  });
}

/**
 * Gaussian noise in every pixel and channel, as a camera's. Python's draws come from another
 * generator, so pictures agree in distribution, not in values.
 * @param {Uint8Array} picture any number of values
 * @param {number} sigma standard deviation in grey levels
 * @param {() => number} draw normal numbers of mean 0 and deviation 1 (`random.js`)
 * @returns {Uint8Array}
 */
export function addNoise(picture, sigma, draw) {
  if (sigma === 0) return picture;
  const noisy = Uint8ClampedArray.from(picture, (level) => level + sigma * draw());
  return new Uint8Array(noisy.buffer);
}
