/**
 * The C library's sine in single precision, which TensorFlow calls for its resampling weights.
 *
 * It is not always correctly rounded, so `Math.fround(Math.sin(x))` differs in the last bit of one
 * value in 75. Polynomials and constants are those of glibc's `sinf` (Arm Optimized Routines, MIT).
 */
const SINE = [-0.16666654943701084, 0.008332178146138854, -0.00019517298981385725];
const COSINE = [
  -0.49999999725108224, 0.041666623324344516, -0.001388676379437604, 2.4390450703564542e-5,
];

/**
 * The sine of a number from 0 to about 100, as float32.
 * @param {number} x itself a float32
 */
export function sinf(x) {
  const quarter = Math.round((x * 2) / Math.PI);
  const rest = x - (quarter * Math.PI) / 2;
  const square = rest * rest;
  const value = quarter % 2 ? cosine(square) : sine(rest, square);
  return Math.fround(quarter % 4 > 1 ? -value : value);
}

/**
 * @param {number} x
 * @param {number} square
 */
function sine(x, square) {
  const cube = x * square;
  const last = SINE[1] + square * SINE[2];
  return x + cube * SINE[0] + cube * square * last;
}

/** @param {number} square */
function cosine(square) {
  const fourth = square * square;
  const last = COSINE[2] + square * COSINE[3];
  return 1 + square * COSINE[0] + fourth * COSINE[1] + fourth * square * last;
}
