/** What the server found of a setup, in words: its sentences are templates, filled in here. */
import { SETUP_TOLD, SETUP_WORDS } from "./setup_told_texts.js";
import { language, t } from "./texts.js";

export const LEVELS = ["error", "warning", "note", "ok"]; // the worst first
const BETWEEN = ", "; // the parts of a value that has several
let patterns = null; // of all words, made when the first one is asked for

export const levelWord = (level) => t(`setup.level.${level}`);

function inLanguage(english) {
  return (language() === "zh" && SETUP_TOLD[english]) || english;
}

/** What finds `a LoRA for {model}`: a value has no comma, which ends a part. */
function patternOf(english) {
  if (english instanceof RegExp) return english;
  const parts = english.split(/\{(\w+)\}/).map((part, i) => (i % 2 ? `(?<${part}>[^,]+?)` : part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")));
  return new RegExp(`^${parts.join("")}$`);
}

/** The Chinese of words that stand in SETUP_WORDS; null for all others, as names of models. */
function chineseOf(words) {
  patterns ??= SETUP_WORDS.map(([english, chinese]) => [patternOf(english), chinese]);
  for (const [pattern, chinese] of patterns) {
    const found = pattern.exec(words);
    if (found) return chinese.replace(/\{(\w+)\}/g, (whole, name) => (found.groups?.[name] === undefined ? whole : valueText(found.groups[name])));
  }
  return null;
}

function valueText(value) {
  const isChinese = language() === "zh";
  if (Array.isArray(value)) return value.map(valueText).join(isChinese ? "、" : BETWEEN);
  if (!isChinese || typeof value !== "string") return String(value);
  const parts = value.split(BETWEEN);
  const said = [];
  for (let first = 0, end; first < parts.length; first = end) {
    let words = null;
    for (end = parts.length; end > first && words === null; end -= 1) words = chineseOf(parts.slice(first, end).join(BETWEEN));
    end += 1;
    said.push(words ?? parts[first]);
  }
  return said.join("，");
}

export const titleText = ({ title }) => inLanguage(title);

/**
 * A finding as the artist reads it: with `names` of files, which the report to paste leaves out,
 * `{ name, path }` each. Those that its sentence names are not among them.
 */
export function findingText({ text, values = {}, private: names = {} }) {
  const used = new Set();
  const filled = inLanguage(text).replace(/\{(\w+)\}/g, (whole, name) => {
    used.add(name);
    if (names[name] != null) return names[name];
    return values[name] == null ? whole : valueText(values[name]);
  });
  const { path, ...others } = names;
  const left = Object.entries(others).filter(([name, value]) => !used.has(name) && value);
  const shown = left.map(([, name]) => ({ name, path: path ?? "" }));
  return { text: filled, names: !shown.length && path && !used.has("path") ? [{ name: path, path: "" }] : shown };
}
