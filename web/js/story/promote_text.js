/** What a shot takes over from a draft, as the line that its row holds: `seed, start 0, memory 6:40 Mara`. */
export const SEED = "seed";
export const START = "start";
export const MEMORY = "memory";
const DRAFT = "draft"; // which a line leaves out
const ONE_OF_ITS_KIND = [SEED, START];

const partsOf = (text) => text.split(/[,;，；\n]/).map((part) => part.trim()).filter(Boolean);
const kindOf = (part) => part.split(/\s/, 1)[0].toLowerCase();
const place = (part) => part.replace(/\s*#[0-9a-f]+$/i, "");

function written({ kind, shot = 0, frame = null, name = "", source = DRAFT, picture = "" }) {
  const where = `${shot ? `${shot}:` : ""}${frame ?? ""}`;
  return [kind, where, name, source === DRAFT ? "" : `from ${source}`, picture && `#${picture}`].filter(Boolean).join(" ");
}

/** The line with one thing more: in the place of another start or seed, or of the very same frame. */
export function withEntry(text, entry) {
  const added = written(entry);
  const stays = (part) => (ONE_OF_ITS_KIND.includes(entry.kind) ? kindOf(part) !== entry.kind : place(part) !== place(added));
  return [...partsOf(text).filter(stays), added].join(", ");
}

export function without(text, entry) {
  return partsOf(text).filter((part) => part !== entry).join(", ");
}
