// A mask is an indexed PNG: pixel value = class id. Making classes transparent is one chunk (tRNS) after the
// palette; unlike a canvas it compares no colours, costs no pixels and knows no size limit on phones.

const SIGNATURE_BYTES = 8;
const CHUNK_FRAME_BYTES = 12; // length, type and checksum around a chunk's data

/** A PNG's bytes -> a blob of it with the palette entries in `ids` fully transparent. */
export function withTransparent(png, ids) {
  const type = "image/png";
  if (!ids.length) return new Blob([png], { type });
  const alpha = new Uint8Array(Math.max(...ids) + 1).fill(255);
  for (const id of ids) alpha[id] = 0;
  const at = endOfPalette(png);
  return new Blob([png.subarray(0, at), chunk("tRNS", alpha), png.subarray(at)], { type });
}

function endOfPalette(png) {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  for (let at = SIGNATURE_BYTES; at < png.length; ) {
    const end = at + CHUNK_FRAME_BYTES + view.getUint32(at);
    if (String.fromCharCode(...png.subarray(at + 4, at + 8)) === "PLTE") return end;
    at = end;
  }
  throw new Error("the mask has no palette");
}

function chunk(type, data) {
  const bytes = new Uint8Array(CHUNK_FRAME_BYTES + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...type].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
