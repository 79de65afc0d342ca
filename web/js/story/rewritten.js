/** What a language model made of some shots, beside what they were, and in their place. */
import { newRow } from "./model.js";

const MOST_WORDS = 400; // of a prompt that is compared word by word

/** The numbers, from 1, that `3, 5-7` means, as indices in order; null for anything else. */
export function indicesOf(text, count) {
  const found = new Set();
  for (const part of text.split(/[,;，；、\s]+(?![-–])/).filter(Boolean)) {
    const [, first, last] = /^(\d{1,5})(?:\s*[-–]\s*(\d{1,5}))?$/.exec(part) ?? [];
    const [from, to] = [Number(first), Number(last ?? first)];
    if (!(from >= 1 && from <= to && to <= count)) return null;
    for (let number = from; number <= to; number += 1) found.add(number - 1);
  }
  return found.size ? [...found].sort((a, b) => a - b) : null;
}

/** Numbers from 1 as one text, such as `3, 5-7`. */
export function numbersOf(indices) {
  const runs = [];
  for (const index of indices) {
    if (runs.length && runs.at(-1)[1] === index - 1) runs.at(-1)[1] = index;
    else runs.push([index, index]);
  }
  return runs.map(([from, to]) => (from === to ? `${from + 1}` : `${from + 1}-${to + 1}`)).join(", ");
}

/** The indices of all shots of the scene that the shot at `index` is in. */
export function sceneAround(rows, index) {
  const isBegin = (i) => i === 0 || rows[i].starts || rows[i].scene !== rows[i - 1].scene;
  let [first, last] = [index, index];
  while (!isBegin(first)) first -= 1;
  while (last + 1 < rows.length && !isBegin(last + 1)) last += 1;
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

const isSame = (row, shot) => row.prompt === shot.prompt && row.cut === shot.cut && (row.remember ?? "") === shot.remember
  && dialogueOf(row, shot) === row.dialogue;

/** What is said in a rewritten shot: as the row has it typed, where the answer says the same. */
export function dialogueOf(row, shot) {
  const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean).join("\n");
  return row && lines(row.dialogue) === lines(shot.dialogue) ? row.dialogue : shot.dialogue;
}

/** What becomes of each shot, in the order of the answer, the removed ones where they were. */
export function changesOf(rows, indices, shots) {
  const found = shots.map((shot) => {
    const row = shot.of === null ? null : rows[shot.of];
    return { kind: !row ? "new" : isSame(row, shot) ? "kept" : "changed", index: shot.of, row, shot };
  });
  const known = new Set(shots.map(({ of }) => of));
  for (const index of indices.filter((i) => !known.has(i))) {
    const after = found.findIndex((change) => change.index !== null && change.index > index);
    found.splice(after < 0 ? found.length : after, 0, { kind: "gone", index, row: rows[index], shot: null });
  }
  return found;
}

/** The story with `shots` in place of those at `indices`. Locks, seeds and pictures stay with their shots. */
export function putRewritten(story, indices, shots) {
  const { rows } = story;
  const [first] = indices;
  const gone = new Set(indices);
  let furthest = -1;
  let scene = rows[first].scene;
  const put = shots.map((shot) => {
    const { of, prompt, cut, remember } = shot;
    const dialogue = dialogueOf(rows[of], shot);
    if (of === null) return newRow({ prompt, cut, remember, dialogue, scene });
    const row = { ...rows[of], prompt, cut, remember, dialogue };
    if (of > furthest) {
      furthest = of;
      scene = row.scene;
      return row;
    }
    return { ...row, scene, starts: false, scene_extra: [] }; // it was moved up
  });
  const next = [...rows.slice(0, first).filter((_, i) => !gone.has(i)), ...put, ...rows.slice(first).filter((_, i) => !gone.has(i + first))];
  const kept = new Set(next.filter(({ starts }) => starts).map(({ id }) => id));
  for (const index of indices) { // a scene's head goes to its next shot, when its first one is gone
    const head = rows[index];
    if (!head.starts || kept.has(head.id)) continue;
    const heir = next.findIndex((row, i) => row.scene === head.scene && next[i - 1]?.scene !== head.scene);
    if (heir >= 0 && !next[heir].starts) next[heir] = { ...next[heir], starts: true, scene_extra: head.scene_extra };
  }
  if (next[0] && !(next[0].cut && next[0].starts)) next[0] = { ...next[0], cut: true, starts: true };
  return { ...story, rows: next, text: null };
}

/** Two texts word by word: pieces `[kind, text]`, kind "same", "old" or "new". */
export function wordsApart(before, after) {
  const [a, b] = [before, after].map((text) => text.match(/[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+\s*|\s+/g) ?? []);
  if (a.length > MOST_WORDS || b.length > MOST_WORDS) return [["old", before], ["new", after]];
  const isEqual = (i, j) => a[i].trim() === b[j].trim();
  const longest = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      longest[i][j] = isEqual(i, j) ? longest[i + 1][j + 1] + 1 : Math.max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  const pieces = [];
  const put = (kind, text) => {
    if (pieces.at(-1)?.[0] === kind) pieces.at(-1)[1] += text;
    else pieces.push([kind, text]);
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && isEqual(i, j)) put("same", b[j]), i += 1, j += 1;
    else if (j >= b.length || (i < a.length && longest[i + 1][j] >= longest[i][j + 1])) put("old", a[i]), i += 1;
    else put("new", b[j]), j += 1;
  }
  return pieces;
}
