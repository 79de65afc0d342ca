/** Why a shot is made again, in the page's language: the server says it in English sentences. */
import { t } from "../shared/texts.js";

const WHAT = { // the beginnings of "... changed from a to b"
  "the title (without one, the script's file name)": "title",
  "its prompt": "prompt",
  "the character description": "character",
  "its negative prompt": "negative",
  "its own seed": "seed",
  "how it begins": "begins",
  "its place in the story": "place",
  "its length": "length",
  "its lora_strength": "lora",
  "its LoRAs": "loras",
  "its end image": "end",
  "its dialogue": "dialogue",
  "everybody's looks (reconstruct_target)": "reconstruct",
  "the clip that the story begins from": "opening",
  "what was kept, dropped or pinned in the memory gallery": "clicks",
  "which pictures of the memory bank are pinned": "pins",
};
const SENTENCES = [
  [/^its reference images or its start image changed$/, "pictures"],
  [/^its LoRAs are applied at another place of the loop$/, "loras.place"],
  [/^a file of its LoRAs changed$/, "loras.file"],
  [/^parentheses in its text (?:are read as|were weights and are) text now$/, "as_text"],
  [/^parentheses in its text are read as weights now$/, "as_weights"],
  [/^what the script remembers changed$/, "remember"],
  [/^the reference pictures of the memory bank changed$/, "references"],
  [/^the shot before it was made again, and it sees that$/, "before"],
  [/^what it sees of the shots before it changed$/, "sees"],
  [/^of something that was not written down /, "untold"],
  [/^the nodes or models that make it are others /, "untold.body"],
  [/^an update of the pack changes how shots are made$/, "update"],
  [/^(?<node>'.*'(?: \(node [^)]*\))?) was removed$/s, "removed"],
  [/^(?<node>'.*'(?: \(node [^)]*\))?) was added$/s, "added"],
  [/^(?<name>[^']*) of (?<node>'.*'(?: \(node [^)]*\))?) is connected otherwise$/s, "connected"],
  [/^another node gives the loop its (?<name>frames|bank)$/, "elsewhere"],
  [/^what (?<node>'.*'(?: \(node [^)]*\))?) reads changed$/s, "reads"],
  [/^the file (?<file>.*) was replaced$/s, "file.replaced"],
  [/^the file (?<file>.*) was written anew$/s, "file.anew"],
  [/^the file (?<file>.*) is there now$/s, "file.there"],
  [/^the file (?<file>.*) is gone$/s, "file.gone"],
];
const VALUE = /'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|(?!['"]).+?/.source; // as Python shows it
const CHANGED = new RegExp(`^(?<what>.+?) changed(?: from (?<from>${VALUE}) to (?<to>${VALUE}))?$`, "s");
const CONTROL = /^(?<why>.*) \(its control after generate is '(?<control>\w+)', not 'fixed'\)$/s;

/** One reason of the server in words of the page; one that nobody knows stays as it is. */
export function reasonText(reason) {
  const control = CONTROL.exec(reason)?.groups;
  if (control) return t("why.control", { ...control, why: reasonText(control.why) });
  for (const [pattern, key] of SENTENCES) {
    const match = pattern.exec(reason);
    if (match) return t(`why.${key}`, match.groups ?? {});
  }
  const found = CHANGED.exec(reason)?.groups;
  if (!found) return reason;
  const [what, from, to] = [whatText(found.what), said(found.from), said(found.to)];
  return t(found.from === undefined ? "why.changed.shortly" : "why.changed", { what, from, to });
}

function whatText(what) {
  if (WHAT[what]) return t(`why.what.${WHAT[what]}`);
  const ofBank = /^(\w+) of the memory bank$/.exec(what);
  if (ofBank) return t("why.what.bank", { name: ofBank[1] });
  const input = /^([^']+) of ('.*)$/s.exec(what);
  return input ? t("why.what.input", { name: input[1], node: input[2] }) : what;
}

const said = (value) => (value === "nothing" ? t("why.nothing") : value);

/** `1-3, 5` of numbers in order. */
export function ranges(numbers) {
  const parts = [];
  for (const number of numbers) {
    const last = parts.at(-1);
    if (last && number === last[1] + 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(", ");
}
