/** Which shots the story editor's filter shows: rules that need nothing of the page. */

export const STATES = ["all", "make", "finished", "changed", "failed"];

const NUMBERED = /(scene|shot|场景|镜头)\s*(\d+)(?![\p{L}\p{N}_])/giu;
const KINDS = { scene: "scenes", 场景: "scenes", shot: "numbers", 镜头: "numbers" };
const PLACE = /\bscene (\d+), shot (\d+)/g; // as the server's sentences name a shot
export const TO_MAKE = ["make", "depends", "unknown"]; // what a look ahead says of a shot that is not there

/** What somebody wants to see: words that all must be there, and numbers of scenes and shots. */
export function readWords(text) {
  const wanted = { scenes: new Set(), numbers: new Set(), words: [] };
  const rest = text.replace(NUMBERED, (_, kind, number) => {
    wanted[KINDS[kind.toLowerCase()]].add(Number(number));
    return " ";
  });
  wanted.words = rest.toLowerCase().split(/\s+/).filter(Boolean);
  return wanted;
}

/** Whether a shot is meant; `shot` has `prompt`, `label`, `scene`, its `number` from 1 and `who`, names. */
export function matchesWords({ words, scenes, numbers }, { prompt, label, scene, number, who }) {
  if (scenes.size && !scenes.has(scene)) return false;
  if (numbers.size && !numbers.has(number)) return false;
  if (!words.length) return true;
  const text = `${prompt}\n${label}\n${who.join(" ")}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

/**
 * Whether a shot is of one of the `STATES`. `shot` has its `state` in the table and whether it
 * `isFinished`, `hasVideo` and `isEdited` here and `isNamed` by an error or a warning, and what the
 * look ahead says of it as `plan`, `{ state, why }`.
 */
export function isOfState(name, { state, isFinished, hasVideo, isEdited, isNamed, plan = {} }) {
  const isAgain = plan.state === "make" && ["again", "redo"].includes(plan.why);
  if (name === "make") return !isFinished || TO_MAKE.includes(plan.state);
  if (name === "finished") return isFinished;
  if (name === "changed") return isEdited || isAgain || (state === "waiting" && hasVideo);
  if (name === "failed") return state === "failed" || isNamed || plan.why === "lost";
  return true;
}

/** Labels of the shots that these sentences of the server name. */
export function namedIn(sentences) {
  const found = sentences.flatMap((text) => [...text.matchAll(PLACE)]);
  return new Set(found.map(([, ...numbers]) => numbers.map((number) => number.padStart(2, "0")).join("_")));
}
