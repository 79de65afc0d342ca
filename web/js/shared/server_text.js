/** The server's sentences in the page's language: it says them in English, for the log as well. */
import { CONTINUE_TEXTS } from "./continue_texts.js";
import { LORA_NOTICES } from "./lora_texts.js";
import { NOTICE_TEXTS } from "./notice_texts.js";
import { language } from "./texts.js";
import { TOLD_TEXTS } from "./told_texts.js";

const PART = /\{(\w+)\}|\[([^\][]*\|[^\][]*)\]/; // a value, or one of several words
const WORDS = {
  high: "高", low: "低", "the draft's": "草稿", "the second draft's": "第二遍草稿", "the third draft's": "第三遍草稿", "the stills'": "静帧",
};
const OF_PASS = /^(?:frame (\d+)|the (seed|keyframes)) of (the .+'s?) shot (\d+)$/; // what a shot takes over
const AND_MORE = / and (\d+) more$/;
let patterns = null; // of all sentences, made when the first one is asked for

function patternOf(english) {
  const parts = english.split(PART); // text, then a value's name, then words, and so on
  const found = parts.map((part, i) => {
    if (part === undefined) return "";
    if (i % 3 === 1) return `(?<${part}>.+?)`;
    const escaped = part.replace(/[\\^$.*+?()[\]{}]/g, "\\$&");
    return i % 3 === 2 ? `(?:${escaped})` : escaped.replace(/\|/g, "\\|");
  });
  return new RegExp(`^${found.join("")}$`, "s");
}

/** A value of a sentence: what is the artist's or a file's stays as it is. */
function valueText(value) {
  const taken = OF_PASS.exec(value);
  if (taken) {
    const [, frame, of, pass, shot] = taken;
    return `${WORDS[pass] ?? pass}镜头 ${shot} 的${frame ? `第 ${frame} 帧` : of === "seed" ? "种子" : "关键帧"}`;
  }
  return WORDS[value] ?? value
    .replace(/^shot (\d+) \(scene (\d+), shot (\d+): '(.*)'\)$/s, "镜头 $1（第 $2 场第 $3 个：“$4”）")
    .replace(/^(\d+) shots? \((.*)\)$/s, "$1 个镜头（$2）")
    .replace(/^(\d+) shots?$/, "$1 个镜头")
    .replace(/^shots? ([\d, ]+)(?= and \d+ more$|$)/, "镜头 $1")
    .replace(/'(.*?)' \(node ([^)]*)\)/gs, "“$1”（节点 $2）")
    .replace(AND_MORE, " 等，另有 $1 个");
}

function sentence(text) {
  const told = [...NOTICE_TEXTS, ...TOLD_TEXTS, ...CONTINUE_TEXTS, ...LORA_NOTICES];
  patterns ??= told.map(([english, chinese]) => [patternOf(english), chinese]);
  for (const [pattern, chinese] of patterns) {
    const values = pattern.exec(text)?.groups;
    if (values || pattern.test(text)) {
      return chinese.replace(/\{(\w+)\}/g, (whole, name) => (values?.[name] === undefined ? whole : name === "because" ? sentence(values[name]) : valueText(values[name])));
    }
  }
  return text;
}

/** What the server told, line by line; a sentence that is not known stays English. */
export function serverText(text) {
  if (language() !== "zh") return text;
  return String(text).split("\n").map(sentence).join("\n");
}
