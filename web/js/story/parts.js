/** One shot made of two in the story editor, and two of one; see model.js for stories and rows. */
import { captionOf, hasCaptions, withCaption } from "./captions.js";
import { isOfSound, joinedSound, withoutSound } from "./parts_sound.js";
import { addRow, dropRow, newId, removeRow, setRow } from "./model.js";

const WIDE = /[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]/; // scripts that put no space between words

export function isWide(letter) {
  return WIDE.test(letter);
}

/** The place in a prompt of a place in the text field that shows it, where a line ends with "\n" only. */
function placeIn(prompt, place) {
  let at = 0;
  for (let seen = 0; seen < place && at < prompt.length; seen += 1) at += prompt.startsWith("\r\n", at) ? 2 : 1;
  return at;
}

/**
 * The shot of `id` with its prompt up to `place`, and a new one below it with the rest, which
 * continues without a cut: [story, id of the new row], or `null` where one of them would say nothing.
 * What belongs to the shot's result, its lock and its id in the script, stays with the first; the
 * picture that it ends with goes with the second.
 */
export function splitRow(story, id, place) {
  const row = story.rows.find((other) => other.id === id);
  const at = placeIn(row.prompt, place);
  const [prompt, rest] = [row.prompt.slice(0, at).trimEnd(), row.prompt.slice(at).trimStart()];
  if (!prompt || !rest) return null;
  const isInParts = hasCaptions(row.prompt);
  if (isInParts && !(hasCaptions(prompt) && captionOf(prompt, "shot_caption"))) return null; // both shots need who is there
  const { id: _, starts, scene_extra, ...values } = row;
  const then = isInParts ? withCaption(row.prompt, "shot_caption", rest) : rest;
  const own = { prompt: then, cut: false, lock: false, use_take: null, start_image: "", promote: "", first_frame_prompt: "", extra: newId(row.extra),
    ...withoutSound(row) };
  return addRow(setRow(story, id, { prompt, end_image: "" }), id, { ...values, ...own });
}

/**
 * The shot of `id` and the next one as one, which is made as the first of them: [story, the seam's
 * place in the prompt], or `null` after the last one. It is as long as the longer of the two, and
 * ends with the picture of the second.
 */
export function joinRow(story, id) {
  const at = story.rows.findIndex((row) => row.id === id);
  const [row, next] = story.rows.slice(at, at + 2);
  if (!next) return null;
  const [prompt, seam] = joined(row.prompt, next.prompt);
  const changes = {
    prompt,
    ...joinedSound(row, next),
    length: row.audio || !isOfSound(next) ? longer(row.length, next.length) : next.length,
    negative_prompt: row.negative_prompt ?? next.negative_prompt,
    end_image: next.end_image,
    reference_images: [...new Set([...row.reference_images, ...next.reference_images])],
    extra: both(row.extra, next.extra),
  };
  // Into the scene first: a scene's own fields go with its last shot, and it is not deleted here.
  const near = next.scene === row.scene && !next.starts ? story : dropRow(story, next.id, id, true);
  return [setRow(removeRow(near, next.id), id, changes), seam];
}

function joined(prompt, rest) {
  if (hasCaptions(prompt) && hasCaptions(rest)) {
    const [one, other] = [prompt, rest].map((text) => captionOf(text, "global_caption"));
    const whole = one.trim() === other.trim() ? one : [one, other].filter(Boolean).join(", ");
    const start = withCaption(prompt, "global_caption", whole).trimEnd();
    return joined(start, captionOf(rest, "shot_caption"));
  }
  const [first, second] = [prompt.trimEnd(), rest.trimStart()];
  const space = !first || !second || isWide(first.at(-1)) || isWide(second[0]) ? "" : " ";
  return [first + space + second, (first + space).replace(/\r\n/g, "\n").length];
}

/** Of two lengths as they are typed; the sampler's own, which is not typed, is the first shot's. */
function longer(length, other) {
  const [one, two] = [length, other].map((text) => (text == null ? NaN : Number(text)));
  return two > one ? other : length;
}

/** What nothing reads of both shots, as text: numbers in it may be more than a browser counts. */
function both(extra, other) {
  const [kept, more] = [extra, other].map(keysOf);
  const isPlain = more.length && !more.includes("id") && !more.some((key) => kept.includes(key));
  if (!isPlain) return extra;
  return extra ? `${extra.trimEnd().slice(0, -1)}, ${other.trimStart().slice(1)}` : other;
}

function keysOf(extra) {
  try {
    return Object.keys(JSON.parse(extra || "{}"));
  } catch {
    return [];
  }
}
