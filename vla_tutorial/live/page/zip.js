// A ZIP archive of text files (PKWARE's APPNOTE, sections 4.3.7 and 4.3.12), deflated by the browser.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

/** @param {Uint8Array} bytes */
export function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = CRC[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {[number, number][]} fields width in bytes and value of each */
function header(fields) {
  const size = fields.reduce((sum, [width]) => sum + width, 0);
  const view = new DataView(new ArrayBuffer(size));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return new Uint8Array(view.buffer);
}

const UTF8 = 0x0800;
const DEFLATED = 8;
const VERSION = 20;
const DAY = (1 << 5) | 1; // 1 January 1980, so that equal contents make equal archives

/**
 * @param {Map<string, string>} files path → text
 * @returns {Promise<Blob>}
 */
export async function zip(files) {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const parts = [];
  /** @type {Uint8Array<ArrayBuffer>[]} */
  const directory = [];
  const encoder = new TextEncoder();
  let offset = 0;
  for (const [path, text] of files) {
    const name = encoder.encode(path);
    const bytes = encoder.encode(text);
    const packed = await deflate(bytes);
    /** @type {[number, number][]} */
    const shared = [
      [2, VERSION], [2, UTF8], [2, DEFLATED], [2, 0], [2, DAY],
      [4, crc32(bytes)], [4, packed.length], [4, bytes.length], [2, name.length], [2, 0],
    ];
    const local = header([[4, 0x04034b50], ...shared]);
    parts.push(local, name, packed);
    const rest = /** @type {[number, number][]} */ ([[2, 0], [2, 0], [2, 0], [4, 0], [4, offset]]);
    directory.push(header([[4, 0x02014b50], [2, VERSION], ...shared, ...rest]), name);
    offset += local.length + name.length + packed.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const count = files.size;
  const end = header([
    [4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0],
  ]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
