/** What becomes of a shot's sound where one shot is made of two in the story editor, or two of one; see parts.js. */

/** Whether a shot is as long as its sound file. */
export function isOfSound({ length }) {
  return typeof length === "string" && length.trim().toLowerCase() === "audio";
}

/** For the second part of a shot that is split: what is heard stays with the first. */
export function withoutSound(row) {
  return { audio: "", dialogue: "", subtitle: "", ...(isOfSound(row) ? { length: null } : {}) };
}

/** For the shot that two are joined to: what is said in one after the other, and the sound file of the first that has one. */
export function joinedSound(row, next) {
  return {
    audio: row.audio || next.audio,
    dialogue: joinedLines(row.dialogue, next.dialogue),
    subtitle: lines(row.subtitle, next.subtitle),
  };
}

function lines(one, other) {
  return [one, other].filter((text) => text.trim()).join("\n");
}

/** Dialogues as text, or as JSON where they hold more than that says (storymem/views/script.py). */
function joinedLines(one, other) {
  if (![one, other].some((text) => text.trimStart().startsWith("["))) return lines(one, other);
  const [first, second] = [one, other].map(entriesOf);
  return first && second ? JSON.stringify([...first, ...second]) : one || other;
}

function entriesOf(text) {
  try {
    const found = JSON.parse(text);
    return Array.isArray(found) ? found : null;
  } catch {
    return text.split("\n").filter((line) => line.trim());
  }
}
