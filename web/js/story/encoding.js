/** Text of a script file, in whatever encoding an editor saved it; as storymem/script/file.py. */

const LOOKED_AT = 400; // bytes, by which UTF-16 and UTF-32 without a mark are known
const MARKS = [ // the longest first: UTF-32's begins like UTF-16's
  ["utf-32le", [0xff, 0xfe, 0, 0]],
  ["utf-32be", [0, 0, 0xfe, 0xff]],
  ["utf-8", [0xef, 0xbb, 0xbf]],
  ["utf-16le", [0xff, 0xfe]],
  ["utf-16be", [0xfe, 0xff]],
];

/** The text; throws for what is in none of these encodings. */
export function decode(buffer) {
  const bytes = new Uint8Array(buffer);
  const [name, mark] = MARKS.find(([, begin]) => begin.every((byte, i) => bytes[i] === byte)) ?? [withoutMark(bytes), []];
  const content = bytes.subarray(mark.length);
  return name.startsWith("utf-32") ? decode32(content, name === "utf-32le") : new TextDecoder(name, { fatal: true }).decode(content);
}

/** UTF-16 or UTF-32 where the other bytes of what is mostly ASCII are zero, else UTF-8. */
function withoutMark(bytes) {
  const head = bytes.subarray(0, LOOKED_AT);
  const every = (step, first) => head.filter((_, i) => i % step === first);
  const quarters = [0, 1, 2, 3].map((first) => every(4, first));
  for (const [name, letter] of head.length > 7 ? [["utf-32le", 0], ["utf-32be", 3]] : []) {
    const rest = quarters.filter((_, i) => i !== letter);
    if (!quarters[letter].includes(0) && rest.every(mostlyZero)) return name;
  }
  const [even, odd] = [every(2, 0), every(2, 1)];
  for (const [name, zeros, letters] of [["utf-16le", odd, even], ["utf-16be", even, odd]]) {
    if (zeros.length > 1 && mostlyZero(zeros) && !letters.includes(0)) return name;
  }
  return "utf-8";
}

function mostlyZero(part) {
  return part.filter((byte) => byte === 0).length > Math.floor(part.length / 2);
}

function decode32(bytes, littleEndian) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length % 4) throw new TypeError("the file ends within a character");
  const letters = [];
  for (let i = 0; i < bytes.length; i += 4) letters.push(String.fromCodePoint(view.getUint32(i, littleEndian)));
  return letters.join("");
}
