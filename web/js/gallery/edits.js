/**
 * The `edits` of a Memory Bank as values: what a click changes, and what is still to take effect.
 *
 * A frame of a bank says in `edit` what an earlier click did to it, so it is known what it would be
 * without one. `wanted` is what the edits make of it on the next queue, `applied` what it is now.
 * Clicks under `from` hold from one shot on; `later.js` has those.
 */
import {
  editsAt, editsAtLast, putBack, readLater, saySame, withLater, withoutAt, withoutFrame, writeLater,
} from "./later.js";

export const KINDS = ["pin", "unpin", "drop", "keep"];
const MIN_DIGITS = 12;

/** Throws for text that the server would refuse. */
export function readEdits(text) {
  const given = String(text ?? "").trim() ? JSON.parse(text) : {};
  if (given === null || typeof given !== "object" || Array.isArray(given)) throw new Error("no object");
  const edits = {};
  for (const kind of [...KINDS, "images"]) {
    const list = given[kind] ?? [];
    if (!Array.isArray(list) || list.some((item) => typeof item !== "string")) throw new Error(kind);
    edits[kind] = [...list];
  }
  const labels = given.names ?? {}; // digest -> whom the frame shows
  if (typeof labels !== "object" || Array.isArray(labels)) throw new Error("names");
  if (Object.values(labels).some((label) => typeof label !== "string")) throw new Error("names");
  return { ...edits, names: { ...labels }, from: readLater(given.from ?? []) };
}

/** Whom the artist wrote that a frame shows; null when nothing was written. */
export function labelOf(edits, frame) {
  const found = Object.keys(edits.names).find((digits) => names([digits], frame.digest));
  return found === undefined ? null : edits.names[found];
}

/** What a typed text means for a frame: null for what is known anyway, empty for nobody. */
export function labelFrom(text, frame) {
  const label = text.trim();
  return label === frame.shows ? null : label;
}

export function wantLabel(edits, frame, label) {
  const others = Object.entries(edits.names).filter(([digits]) => !names([digits], frame.digest));
  if (label !== null) others.push([frame.digest, label]);
  return { ...edits, names: Object.fromEntries(others) };
}

export function isRenamed(edits, frame) {
  return labelOf(edits, frame) !== frame.label;
}

/** Whether something of the edits is still to take effect on a frame; `ran`: those of the latest
 * run, null when they are not known. A frame that stays out may do so from another shot on. */
export function isPending(edits, frame, ran = null) {
  if (isRenamed(edits, frame) || pending(editsAtLast(edits), frame) !== "") return true;
  return ran !== null && !saySame(edits, ran, frame.digest);
}

/** New edits without what is still to take effect on a frame: what the latest run had, where that is
 * known and another one, else what the frame is now for the whole story. */
export function undone(edits, frame, ran = null) {
  const named = isRenamed(edits, frame) ? wantLabel(edits, frame, frame.label) : edits;
  const isNew = ran && !saySame(edits, ran, frame.digest);
  if (isNew) return putBack(named, ran, frame.digest);
  // A run that ended before the shot from which a click holds had that click.
  return pending(editsAtLast(edits), frame) ? want(named, frame, applied(frame)) : named;
}

/** New edits without a change from the shot at `index` on: from there on what the latest run had when
 * that is another one, else only without what changes with that shot. */
export function undoneFrom(edits, shots, index, frame, ran = null) {
  const isNew = ran && !saySame(edits, ran, frame.digest, shots[index]);
  return isNew ? putBack(edits, ran, frame.digest, { shots, index }) : withoutAt(edits, shots, index, frame.digest);
}

export function writeEdits(edits) {
  const given = { ...edits, from: writeLater(edits.from ?? []) };
  const filled = Object.entries(given).filter(([, value]) => Object.keys(value).length);
  return filled.length ? JSON.stringify(Object.fromEntries(filled)) : "";
}

export function countEdits(edits) {
  return new Set([edits, ...edits.from].flatMap((some) => KINDS.flatMap((kind) => some[kind]))).size;
}

export function withoutClicks(edits) {
  return { pin: [], unpin: [], drop: [], keep: [], images: edits.images, names: edits.names, from: [] };
}

function names(list, digest) {
  return list.some((digits) => digits.length >= MIN_DIGITS && digest.startsWith(digits));
}

function unclicked(frame) {
  switch (frame.edit) {
    case "drop": return { kept: true, pinned: frame.pinned };
    case "keep": return { kept: false, pinned: false };
    case "pin": return { kept: true, pinned: false };
    case "unpin": return { kept: true, pinned: true };
    default: return { kept: frame.role !== "dropped", pinned: frame.pinned };
  }
}

export function applied(frame) {
  const kept = frame.role !== "dropped";
  return { kept, pinned: kept && frame.pinned };
}

export function wanted(edits, frame) {
  const before = unclicked(frame);
  const kept = before.kept ? !names(edits.drop, frame.digest) : names(edits.keep, frame.digest);
  return { kept, pinned: kept && pinnedIfKept(edits, frame) };
}

export function pinnedIfKept(edits, frame) {
  return unclicked(frame).pinned
    ? !names(edits.unpin, frame.digest)
    : names(edits.pin, frame.digest);
}

const NEXT_BEST = /^from .+ shot \d+, frame \d+: not /; // of Rehearsal Memory, beside what it chose

/** Whether a frame is pinned once it is restored: what Rehearsal Memory might have chosen is, as what it chose. */
export function pinnedIfRestored(edits, frame) {
  return pinnedIfKept(edits, frame) || NEXT_BEST.test(frame.reason ?? "");
}

/** "" when nothing changes for the frame, else pin, unpin, drop, restore or both. */
export function pending(edits, frame) {
  const now = applied(frame);
  const next = wanted(edits, frame);
  if (now.kept && !next.kept) return "drop";
  if (!now.kept && next.kept) return next.pinned ? "both" : "restore";
  if (now.pinned !== next.pinned) return next.pinned ? "pin" : "unpin";
  return "";
}

/** New edits that make `frame` what is wanted in the whole story; a pin outlives a drop, so that
 * restoring gives it back. */
export function want(edits, frame, { kept, pinned }) {
  const before = unclicked(frame);
  const kinds = [];
  if (kept !== before.kept) kinds.push(kept ? "keep" : "drop");
  if (kept ? pinned !== before.pinned : names([...edits.pin, ...edits.unpin], frame.digest)) {
    kinds.push(before.pinned ? "unpin" : "pin");
  }
  const changed = { ...edits, from: withoutFrame(edits.from ?? [], frame.digest) };
  for (const kind of KINDS) {
    const others = edits[kind].filter((digits) => !names([digits], frame.digest));
    changed[kind] = kinds.includes(kind) ? [...others, frame.digest] : others;
  }
  return changed;
}

/** New edits that make `frame` what is wanted from the shot at `index` of `shots` on. */
export function wantFrom(edits, shots, index, frame, { kept, pinned }) {
  const earlier = editsAt(edits, shots, index - 1);
  const kinds = [];
  if (kept !== wanted(earlier, frame).kept) kinds.push(kept ? "keep" : "drop");
  if (kept && pinned !== pinnedIfKept(earlier, frame)) kinds.push(pinned ? "pin" : "unpin");
  return withLater(edits, shots, index, frame.digest, kinds);
}
