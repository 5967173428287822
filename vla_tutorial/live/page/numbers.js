// Numbers and text as Python writes them, so that sentences of the page and of the library agree.

/**
 * `format(x, ".{digits}f")`: ties go to the even digit, where JavaScript's toFixed goes up.
 * @param {number} x
 * @param {number} digits
 */
export function fixed(x, digits) {
  const doubled = x * 2 ** (digits + 1);
  const isTie = Number.isInteger(doubled) && Math.abs(doubled) % 2 === 1;
  if (!isTie) return x.toFixed(digits);
  const scaled = Math.abs(x) * 10 ** digits;
  const even = 2 * Math.round(scaled / 2);
  const text = (even / 10 ** digits).toFixed(digits);
  return x < 0 ? `-${text}` : text;
}

/** `format(x, "+.{digits}f")`. @param {number} x @param {number} digits */
export function signed(x, digits) {
  const text = fixed(x, digits);
  return text.startsWith("-") ? text : `+${text}`;
}

/** `format(x, ".0%")`. @param {number} x a share */
export const percent = (x) => `${fixed(100 * x, 0)}%`;

/** `format(x, ".{digits}g")`. @param {number} x @param {number} digits of precision, 1 or more */
export function general(x, digits) {
  if (x === 0) return Object.is(x, -0) ? "-0" : "0";
  const [mantissa, power] = x.toExponential(digits - 1).split("e");
  const exponent = Number(power);
  if (exponent >= -4 && exponent < digits) {
    return stripZeros(x.toFixed(Math.max(digits - 1 - exponent, 0)));
  }
  const sign = exponent < 0 ? "-" : "+";
  return `${stripZeros(mantissa)}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
}

/** @param {string} text */
const stripZeros = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

const ESCAPES = new Map([["\n", "\\n"], ["\r", "\\r"], ["\t", "\\t"], ["\\", "\\\\"]]);

/** `repr(text)` of Python for printable text and the usual escapes. @param {string} text */
export function repr(text) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let inside = "";
  for (const letter of text) {
    const code = /** @type {number} */ (letter.codePointAt(0));
    if (ESCAPES.has(letter)) inside += ESCAPES.get(letter);
    else if (letter === quote) inside += `\\${letter}`;
    else if (/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.test(letter)) inside += escaped(code);
    else inside += letter;
  }
  return quote + inside + quote;
}

/** @param {number} code */
function escaped(code) {
  if (code <= 0xff) return `\\x${code.toString(16).padStart(2, "0")}`;
  if (code <= 0xffff) return `\\u${code.toString(16).padStart(4, "0")}`;
  return `\\U${code.toString(16).padStart(8, "0")}`;
}
