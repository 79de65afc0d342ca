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

/** What edits say of one frame: `[shot, row, kind, digits]` of each click, no shot for the whole story. */
export function clicksOn(edits, digest) {
  return [{ shot: "", row: "", ...edits }, ...(edits.from ?? [])].flatMap((entry) => KINDS.flatMap((kind) =>
    (entry[kind] ?? []).filter((digits) => isSame(digits, digest)).map((digits) => [entry.shot, entry.row, kind, digits])));
}

/** Whether two edits say the same of a frame; `from`: only of the entry for one shot, `{ label, row }`. */
export function saySame(one, other, digest, from = null) {
  const isOf = ([shot, row]) => !from || (from.row && row ? row === from.row : Boolean(shot) && shot === from.label);
  const words = (edits) => JSON.stringify(clicksOn(edits, digest).filter(isOf)
    .map(([shot, row, kind]) => [shot, row, kind]).sort());
  return words(one) === words(other);
}

/** New edits that say of a frame exactly what `earlier` said, in its order; with `since`,
 * `{ shots, index }`, only from that shot on. */
export function putBack(edits, earlier, digest, since = null) {
  const stays = (entry) => Boolean(since) && indexOf(entry, since.shots) < since.index;
  const from = withoutFrame(edits.from ?? [], digest, stays);
  const was = earlier.from ?? [];
  const placeOf = (entry) => was.findIndex(({ shot, row }) => shot === entry.shot && row === entry.row);
  for (const entry of was) {
    if (stays(entry) || !clicksOn({ from: [entry] }, digest).length) continue;
    const at = from.findIndex((one) => was[placeOf(one)] === entry);
    const one = from[at] ?? { shot: entry.shot, row: entry.row };
    from.splice(at < 0 ? from.length : at, 1, { ...one, ...kindsBack(one, entry, digest) });
  }
  const rank = (entry) => (placeOf(entry) < 0 ? was.length : placeOf(entry));
  from.sort((one, other) => rank(one) - rank(other));
  return { ...edits, ...(since ? {} : kindsBack(edits, earlier, digest)), from };
}

/** The lists of `now` with a frame as it was in those of `was`. */
function kindsBack(now, was, digest) {
  return Object.fromEntries(KINDS.map((kind) => {
    const before = was[kind] ?? [];
    const rank = (digits) => (before.includes(digits) ? before.indexOf(digits) : before.length);
    const others = (now[kind] ?? []).filter((digits) => !isSame(digits, digest));
    const back = before.filter((digits) => isSame(digits, digest));
    return [kind, [...others, ...back].sort((one, other) => rank(one) - rank(other))];
  }));
}

/** New edits without what changes for a frame with the shot at `index`; what changes later stays. */
export function withoutAt(edits, shots, index, digest) {
  return { ...edits, from: withoutFrame(edits.from ?? [], digest, (entry) => indexOf(entry, shots) !== index) };
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
