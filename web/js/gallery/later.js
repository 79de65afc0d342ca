/**
 * Clicks that hold from one shot on, as the `from` of a Memory Bank's edits. An entry names its shot
 * by the row's id and by scene and number (`02_01`); of two on one frame the later shot's counts.
 * `shots` are those of the story, `{ label, row }` in order.
 */

const KINDS = ["pin", "unpin", "drop", "keep"];
const CONTRARY = { pin: "unpin", unpin: "pin", drop: "keep", keep: "drop" };

/** Throws for what the server would refuse. */
export function readLater(given) {
  if (!Array.isArray(given)) throw new Error("from");
  return given.map((entry) => {
    const { shot = "", row = "", ...kinds } = entry ?? {};
    if (typeof shot !== "string" || typeof row !== "string" || !(shot || row)) throw new Error("from");
    const lists = KINDS.map((kind) => [kind, kinds[kind] ?? []]);
    if (Object.keys(kinds).some((kind) => !KINDS.includes(kind))) throw new Error("from");
    for (const [kind, list] of lists) {
      if (!Array.isArray(list) || list.some((item) => typeof item !== "string")) throw new Error(kind);
    }
    return { shot, row, ...Object.fromEntries(lists.map(([kind, list]) => [kind, [...list]])) };
  });
}

/** Entries as they are written: nothing that is empty. */
export function writeLater(entries) {
  return entries
    .map((entry) => Object.fromEntries(Object.entries(entry).filter(([, value]) => value.length)))
    .filter((entry) => KINDS.some((kind) => entry[kind]));
}

/** Index of the shot that an entry begins with, -1 when the story has it no longer. */
function indexOf({ shot, row }, shots) {
  const byRow = row ? shots.findIndex((one) => one.row === row) : -1;
  return byRow >= 0 ? byRow : shots.findIndex((one) => shot && one.label === shot);
}

const isSame = (one, other) => one.startsWith(other) || other.startsWith(one);

function joined(edits, entry) {
  const next = { ...edits };
  for (const kind of KINDS) {
    const gone = [...entry[kind], ...entry[CONTRARY[kind]]];
    next[kind] = [...edits[kind].filter((digits) => !gone.some((other) => isSame(digits, other))), ...entry[kind]];
  }
  return next;
}

/** The edits that hold when the shot at `index` begins, without any `from`. */
export function editsAt(edits, shots, index) {
  return (edits.from ?? [])
    .map((entry) => [indexOf(entry, shots), entry])
    .filter(([start]) => start >= 0 && start <= index)
    .sort(([one], [other]) => one - other)
    .reduce((all, [, entry]) => joined(all, entry), { ...edits, from: [] });
}

/** The edits that hold at the story's end, when its shots are not at hand. */
export function editsAtLast(edits) {
  if (!edits.from?.length) return edits;
  return [...edits.from]
    .sort((one, other) => one.shot.localeCompare(other.shot))
    .reduce(joined, { ...edits, from: [] });
}

/** The last entry that names a frame, null when none does. */
export function entryOf(edits, digest) {
  const found = (edits.from ?? []).filter((entry) =>
    KINDS.some((kind) => entry[kind].some((digits) => isSame(digits, digest))));
  return found.sort((one, other) => one.shot.localeCompare(other.shot)).at(-1) ?? null;
}

/** Whether a frame changes with the shot at `index`. */
export function changesAt(edits, shots, index, digest) {
  return (edits.from ?? []).some((entry) => indexOf(entry, shots) === index &&
    KINDS.some((kind) => entry[kind].some((digits) => isSame(digits, digest))));
}

export function withoutFrame(entries, digest, keeps = () => false) {
  return entries.map((entry) => (keeps(entry) ? entry : {
    ...entry,
    ...Object.fromEntries(KINDS.map((kind) => [kind, entry[kind].filter((digits) => !isSame(digits, digest))])),
  })).filter((entry) => KINDS.some((kind) => entry[kind].length));
}

/** New edits in which a frame has these kinds of clicks from the shot at `index` on, and no later ones. */
export function withLater(edits, shots, index, digest, kinds) {
  const { label: shot, row } = shots[index];
  const isBefore = (entry) => indexOf(entry, shots) < index; // those of no shot stay, too
  const from = withoutFrame(edits.from ?? [], digest, isBefore);
  if (!kinds.length) return { ...edits, from };
  let at = from.findIndex((entry) => indexOf(entry, shots) === index);
  if (at < 0) at = from.push({ shot, row, pin: [], unpin: [], drop: [], keep: [] }) - 1;
  from[at] = { ...from[at], ...Object.fromEntries(kinds.map((kind) => [kind, [...from[at][kind], digest]])) };
  return { ...edits, from };
}
