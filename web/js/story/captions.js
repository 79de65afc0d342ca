/** A prompt in Memento's form, `global caption: who is there; shot caption: what happens`, in parts. */

const GLOBAL = /^\s*global caption:\s*/;
const SHOT = "shot caption:";

export const CAPTIONS = ["global_caption", "shot_caption"];

/** The parts of a prompt, `null` for one that has none; all of them together are the prompt. */
function partsOf(prompt) {
  const begins = GLOBAL.exec(prompt)?.[0] ?? "";
  const at = begins ? prompt.indexOf(SHOT, begins.length) : -1;
  if (at < 0) return null;
  const whole = prompt.slice(begins.length, at).trimEnd().replace(/;$/, "").trimEnd();
  const shot = prompt.slice(at + SHOT.length).trimStart();
  const between = prompt.slice(begins.length + whole.length, prompt.length - shot.length);
  return { begins, whole, between, shot };
}

/** What a field of `CAPTIONS` shows of a prompt; one in another form is the shot's as a whole. */
export function captionOf(prompt, name) {
  const parts = partsOf(prompt);
  if (name === "global_caption") return parts?.whole ?? "";
  return parts ? parts.shot : prompt;
}

/** Whether a prompt has both parts. */
export function hasCaptions(prompt) {
  return partsOf(prompt) !== null;
}

/** The prompt with another text in a field of `CAPTIONS`. What stands around it stays as it is; a
 * prompt without a global part is no longer in this form. */
export function withCaption(prompt, name, text) {
  const { begins, whole, between, shot } = partsOf(prompt)
    ?? { begins: "global caption: ", whole: "", between: "; shot caption: ", shot: prompt };
  const [first, then] = name === "global_caption" ? [text.trim(), shot] : [whole, text.trimStart()];
  if (name === "global_caption" && !first) return then;
  return partsOf(prompt) || first ? `${begins}${first}${between}${then}` : then;
}
