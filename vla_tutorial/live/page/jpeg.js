/**
 * A picture's round trip through JPEG: quality 95, 4:2:0 chroma, libjpeg-turbo's arithmetic.
 *
 * The policy was trained on pictures that had made this trip, and a canvas's own encoder differs
 * from browser to browser. What libjpeg loses is lost in four places, and only these are computed
 * here: colour conversion, halved chroma, rounding of the DCT's coefficients, and back. Entropy
 * coding loses nothing. Fixed-point constants and shifts are libjpeg's: jccolor.c, jcsample.c,
 * jfdctint.c ("islow", forward), jidctfst.c and its SSE2 version ("ifast", inverse, in 16 bits),
 * jdsample.c ("fancy" upsampling), jdcolor.c.
 */

/** Standard quantisation tables (ITU-T T.81, annex K), row by row. */
const LUMINANCE = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
  14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
  18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
  49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMINANCE = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
  24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
  ...new Array(32).fill(99),
];
const QUALITY = 95;

/**
 * What a table's coefficients are divided by, and multiplied with on the way back.
 * @typedef {{divisors: Int32Array, factors: Int32Array}} Quantiser
 */

/**
 * The table at `QUALITY`, prepared for both transforms.
 * @param {number[]} table
 * @returns {Quantiser}
 */
function quantiser(table) {
  const scale = 200 - 2 * QUALITY;
  const steps = table.map((v) => Math.min(255, Math.max(1, Math.floor((v * scale + 50) / 100))));
  return {
    // The forward transform's result is eight times the coefficient.
    divisors: Int32Array.from(steps, (step) => 8 * step),
    // The inverse one (Arai, Agui and Nakajima) wants each coefficient scaled, with two more bits.
    factors: Int32Array.from(steps, (step, i) => (step * aanScale(i) + 2048) >> 12),
  };
}

/** @param {number} i */
function aanScale(i) {
  /** @param {number} u */
  const factor = (u) => (u === 0 ? 1 : Math.SQRT2 * Math.cos((u * Math.PI) / 16));
  return Math.round(16384 * factor(i >> 3) * factor(i & 7));
}

const LUMA = quantiser(LUMINANCE);
const CHROMA = quantiser(CHROMINANCE);

/**
 * Compress and decompress a square picture.
 * @param {Uint8Array} rgb (size, size, 3)
 * @param {number} size width and height, a multiple of 16
 * @returns {Uint8Array} (size, size, 3)
 */
export function jpegRoundTrip(rgb, size) {
  const { y, cb, cr } = toYcc(rgb);
  const half = size / 2;
  const blue = halved(cb, size);
  const red = halved(cr, size);
  loseInBlocks(y, size, LUMA);
  loseInBlocks(blue, half, CHROMA);
  loseInBlocks(red, half, CHROMA);
  return toRgb(y, doubled(blue, half), doubled(red, half));
}

/** @param {Uint8Array} rgb */
function toYcc(rgb) {
  const count = rgb.length / 3;
  const y = new Int32Array(count);
  const cb = new Int32Array(count);
  const cr = new Int32Array(count);
  // 0.5 − 1/65536 and the middle, 128, in 16 bits behind the point.
  const middle = (128 << 16) + 32767;
  for (let i = 0; i < count; i++) {
    const r = rgb[3 * i];
    const g = rgb[3 * i + 1];
    const b = rgb[3 * i + 2];
    y[i] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
    cb[i] = (-11059 * r - 21709 * g + 32768 * b + middle) >> 16;
    cr[i] = (32768 * r - 27439 * g - 5329 * b + middle) >> 16;
  }
  return { y, cb, cr };
}

/**
 * The means of 2×2 pixels; halves are rounded down and up in turns.
 * @param {Int32Array} plane (size, size)
 * @param {number} size
 */
function halved(plane, size) {
  const half = size / 2;
  const out = new Int32Array(half * half);
  for (let row = 0; row < half; row++) {
    for (let column = 0; column < half; column++) {
      const i = 2 * row * size + 2 * column;
      const sum = plane[i] + plane[i + 1] + plane[i + size] + plane[i + size + 1];
      out[row * half + column] = (sum + 1 + (column & 1)) >> 2;
    }
  }
  return out;
}

/**
 * libjpeg's "fancy" doubling: 3/4 of the nearer row and column, 1/4 of the next.
 * @param {Int32Array} plane (size, size)
 * @param {number} size
 */
function doubled(plane, size) {
  const out = new Int32Array(4 * size * size);
  const sums = new Int32Array(size);
  for (let row = 0; row < 2 * size; row++) {
    const near = row >> 1;
    const next = Math.min(size - 1, Math.max(0, near + (row & 1 ? 1 : -1)));
    for (let i = 0; i < size; i++) sums[i] = 3 * plane[near * size + i] + plane[next * size + i];
    for (let i = 0; i < size; i++) {
      const at = 2 * (row * size + i);
      out[at] = (3 * sums[i] + sums[Math.max(0, i - 1)] + 8) >> 4;
      out[at + 1] = (3 * sums[i] + sums[Math.min(size - 1, i + 1)] + 7) >> 4;
    }
  }
  return out;
}

/**
 * @param {Int32Array} y
 * @param {Int32Array} cb
 * @param {Int32Array} cr
 */
function toRgb(y, cb, cr) {
  const out = new Uint8ClampedArray(3 * y.length);
  for (let i = 0; i < y.length; i++) {
    const blue = cb[i] - 128;
    const red = cr[i] - 128;
    out[3 * i] = y[i] + ((91881 * red + 32768) >> 16);
    out[3 * i + 1] = y[i] + ((-22554 * blue - 46802 * red + 32768) >> 16);
    out[3 * i + 2] = y[i] + ((116130 * blue + 32768) >> 16);
  }
  return new Uint8Array(out.buffer);
}

/**
 * Transform, quantise and undo every 8×8 block of a plane, in place.
 * @param {Int32Array} plane (size, size)
 * @param {number} size
 * @param {Quantiser} quantiser
 */
function loseInBlocks(plane, size, { divisors, factors }) {
  const block = new Int32Array(64);
  for (let top = 0; top < size; top += 8) {
    for (let left = 0; left < size; left += 8) {
      const start = top * size + left;
      for (let i = 0; i < 64; i++) block[i] = plane[start + (i >> 3) * size + (i & 7)] - 128;
      for (let row = 0; row < 8; row++) forward(block, 8 * row, 1, true);
      for (let column = 0; column < 8; column++) forward(block, column, 8, false);
      for (let i = 0; i < 64; i++) {
        const rounded = Math.floor((Math.abs(block[i]) + (divisors[i] >> 1)) / divisors[i]);
        block[i] = Math.sign(block[i]) * rounded * factors[i];
      }
      for (let column = 0; column < 8; column++) inverse(block, column, 8);
      for (let row = 0; row < 8; row++) inverse(block, 8 * row, 1);
      for (let i = 0; i < 64; i++) {
        plane[start + (i >> 3) * size + (i & 7)] = pixel(block[i]);
      }
    }
  }
}

/** @param {number} value in 16 bits, five of them behind the point, 0 the middle */
function pixel(value) {
  const level = (value << 16) >> 21;
  return Math.min(127, Math.max(-128, level)) + 128;
}

/**
 * One forward DCT of eight numbers, in place; 13 bits behind the point (jfdctint.c).
 * @param {Int32Array} m
 * @param {number} at index of the first number
 * @param {number} step between two of them
 * @param {boolean} isRow rows come first and keep two more bits
 */
function forward(m, at, step, isRow) {
  const shift = isRow ? 11 : 15;
  const round = 1 << (shift - 1);
  const even0 = m[at] + m[at + 7 * step];
  const odd0 = m[at] - m[at + 7 * step];
  const even1 = m[at + step] + m[at + 6 * step];
  const odd1 = m[at + step] - m[at + 6 * step];
  const even2 = m[at + 2 * step] + m[at + 5 * step];
  const odd2 = m[at + 2 * step] - m[at + 5 * step];
  const even3 = m[at + 3 * step] + m[at + 4 * step];
  const odd3 = m[at + 3 * step] - m[at + 4 * step];

  const sum = even0 + even3 + (even1 + even2);
  const difference = even0 + even3 - (even1 + even2);
  m[at] = isRow ? sum << 2 : (sum + 2) >> 2;
  m[at + 4 * step] = isRow ? difference << 2 : (difference + 2) >> 2;
  const inner = even1 - even2;
  const outer = even0 - even3;
  const both = (inner + outer) * 4433;
  m[at + 2 * step] = (both + outer * 6270 + round) >> shift;
  m[at + 6 * step] = (both - inner * 15137 + round) >> shift;

  const z5 = (odd3 + odd2 + odd1 + odd0) * 9633;
  const z1 = (odd3 + odd0) * -7373;
  const z2 = (odd2 + odd1) * -20995;
  const z3 = (odd3 + odd1) * -16069 + z5;
  const z4 = (odd2 + odd0) * -3196 + z5;
  m[at + 7 * step] = (odd3 * 2446 + z1 + z3 + round) >> shift;
  m[at + 5 * step] = (odd2 * 16819 + z2 + z4 + round) >> shift;
  m[at + 3 * step] = (odd1 * 25172 + z2 + z3 + round) >> shift;
  m[at + step] = (odd0 * 12299 + z1 + z4 + round) >> shift;
}

/**
 * value × constant / 256 as SSE2 does it: value takes 14 bits and wraps around beyond them.
 * @param {number} value
 * @param {number} constant
 */
function times(value, constant) {
  return (((value << 18) >> 18) * constant) >> 8;
}

/**
 * One inverse DCT of eight numbers, in place; eight bits behind the point (jidctfst.c).
 * @param {Int32Array} m
 * @param {number} at
 * @param {number} step
 */
function inverse(m, at, step) {
  const even0 = m[at] + m[at + 4 * step];
  const even1 = m[at] - m[at + 4 * step];
  const even3 = m[at + 2 * step] + m[at + 6 * step];
  const even2 = times(m[at + 2 * step] - m[at + 6 * step], 362) - even3;
  const first = even0 + even3;
  const fourth = even0 - even3;
  const second = even1 + even2;
  const third = even1 - even2;

  const z13 = m[at + 5 * step] + m[at + 3 * step];
  const z10 = m[at + 5 * step] - m[at + 3 * step];
  const z11 = m[at + step] + m[at + 7 * step];
  const z12 = m[at + step] - m[at + 7 * step];
  const odd7 = z11 + z13;
  const z5 = times(z10 + z12, 473);
  const odd6 = times(z10, -669 + 256) - z10 + z5 - odd7;
  const odd5 = times(z11 - z13, 362) - odd6;
  const odd4 = times(z12, 277) - z5 + odd5;

  m[at] = first + odd7;
  m[at + 7 * step] = first - odd7;
  m[at + step] = second + odd6;
  m[at + 6 * step] = second - odd6;
  m[at + 2 * step] = third + odd5;
  m[at + 5 * step] = third - odd5;
  m[at + 4 * step] = fourth + odd4;
  m[at + 3 * step] = fourth - odd4;
}
