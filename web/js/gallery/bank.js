/** A memory bank as the server tells of it, and its frames in the artist's words. */
import { api } from "../../../../scripts/api.js";
import { h } from "../shared/dom.js";
import { t } from "../shared/texts.js";
import { readEdits } from "./edits.js";
import { whyFromDraft } from "./from_draft.js";
import { whyGone, whyScored } from "./scored.js";

export { PICTURE_ENDINGS, isPicture, upload } from "../shared/input_pictures.js";

export const LARGE = 1024;
const SMALL = 192;
const MAX_SHOWN = 200;
const ROLES = ["sink", "window", "pinned", "seen", "open", "waiting", "dropped"];
const TELLS = ["next", "this", "last", "open", "shot"]; // of which shot the roles tell
const REASONS = [ // of the memory's policies, as the server words them
  [/^shows (.+), weight (\d)$/, "why.shows.weighed"],
  [/^shows (.+)$/, "why.shows"],
  [/^related to the prompt \((.+)\), weight (\d)$/, "why.related.weighed"],
  [/^related to the prompt \((.+)\)$/, "why.related"],
  [/^kept for (.+), weight (\d)$/, "why.kept"],
  [/^sink: /, "why.sink"],
  [/^recent$/, "why.recent"],
  [/^pinned$/, "why.pinned"],
  [/^there was room for all$/, "why.room"],
];
const LIGHT = "weight 0 gives way first";
const OTHERS = /^shows nobody in the shot, only (.+)$/; // why a policy left a frame out
const POOLS = ["high", "low"]; // whose memory a frame is in, where it is in one only
const EDITS = ["", "pin", "unpin", "drop", "keep"];
const DIGEST = /^[0-9a-f]{64}$/;

/** What the server sent or a workflow file holds, made safe; null when it is no bank. */
export function readBank(value) {
  if (!value || !Array.isArray(value.frames) || !Array.isArray(value.dropped)) return null;
  const policy = text(value.policy) || "window";
  const before = policy === "window" ? "next" : "last"; // in workflows of earlier versions
  const tell = TELLS.includes(value.tell) ? value.tell : before;
  return {
    max_frames: whole(value.max_frames),
    sink: whole(value.sink),
    policy,
    tell,
    count: Math.max(whole(value.count), value.frames.length),
    frames: readFrames(value.frames, tell, policy),
    dropped: readFrames(value.dropped, tell, policy),
    edits: readRan(value.edits),
  };
}

/** The clicks that a bank was made with; null in what earlier versions told. */
function readRan(value) {
  try {
    return value ? readEdits(JSON.stringify(value)) : null;
  } catch {
    return null;
  }
}

function readFrames(list, tell, policy) {
  return list
    .filter((f) => f && DIGEST.test(f.digest) && ROLES.includes(f.role))
    .slice(-MAX_SHOWN)
    .map((f) => ({
      digest: f.digest,
      role: f.role,
      edit: EDITS.includes(f.edit) ? f.edit : "",
      number: whole(f.number),
      position: whole(f.position), // of those that a shot saw, from 1
      shot: Number.isInteger(f.shot) ? f.shot : 0,
      frame: whole(f.frame),
      isReference: f.shot < 0 || f.frame < 0, // of the story, or of one shot: its script's
      score: Number.isFinite(f.score) ? f.score : null,
      scorer: text(f.scorer),
      similarity: Number.isFinite(f.similarity) ? f.similarity : null,
      reason: text(f.reason),
      pinned: f.pinned === true,
      pool: POOLS.includes(f.pool) ? f.pool : "",
      name: text(f.name),
      seen: text(f.seen),
      left_out: text(f.left_out),
      tell,
      policy,
      label: typeof f.label === "string" ? text(f.label) : null,
      shows: text(f.shows),
    }));
}

function whole(value) {
  return Number.isInteger(value) && value > 0 ? value : 0;
}

function text(value) {
  return typeof value === "string" ? value.slice(0, 400) : "";
}

/** Whether `later` can be what became of the bank `start`: all that start keeps is in it. */
export function continues(later, start) {
  const known = new Set([...later.frames, ...later.dropped].map((frame) => frame.digest));
  return start.frames.every((frame) => known.has(frame.digest));
}

export function pictureUrl(frame, size = SMALL) {
  return api.apiURL(`/storymem/picture/${frame.digest}?size=${size}`);
}

export function inputUrl(name) {
  const cut = name.lastIndexOf("/");
  const query = new URLSearchParams({
    filename: name.slice(cut + 1),
    subfolder: cut < 0 ? "" : name.slice(0, cut),
    type: "input",
  });
  return api.apiURL(`/view?${query}`);
}

export function placeOf(frame) {
  const { name, frame: at } = frame;
  const shot = frame.shot + 1;
  if (!frame.isReference) return t("place.shot", { shot, frame: at });
  if (shot > 0) return t(name ? "place.of_shot.named" : "place.of_shot", { name, shot });
  return name || t("place.reference", { number: at + 1 });
}

/** Whom a frame shows: what the artist wrote, else what its prompt or file tells. */
export function whoIsOn(frame, label) {
  return label === "" ? t("who.nobody") : label ?? frame.shows;
}

function whyOf(reason) {
  for (const [pattern, key] of REASONS) {
    const match = pattern.exec(reason);
    if (match) return t(key, { what: match[1], weight: match[2] });
  }
  return whyScored(reason) ?? reason;
}

/** Why the shot that is told of does not see a frame that it has room for, or that is pinned. */
function leftOut(frame) {
  if (!frame.left_out) {
    if (frame.tell !== "shot" || frame.role !== "waiting") return "";
    return t("fact.left_out.shot", { reason: t([`why.unseen.${frame.policy}`, "why.unseen"]) });
  }
  const what = OTHERS.exec(frame.left_out)?.[1];
  const light = frame.left_out === LIGHT ? t("why.light") : frame.left_out;
  const reason = what ? t("why.others", { what }) : whyScored(light) ?? light;
  return t(`fact.left_out.${frame.pinned ? "pinned." : ""}${frame.tell}`, { reason });
}

/** Everything known about a frame, a line each; `from`: number of the shot that changes begin with. */
export function factsOf(frame, pendingKind = "", who = { label: frame.label, isNew: false }, from = 0) {
  const names = whoIsOn(frame, who.label);
  const gone = whyGone(frame.reason); // says the same as `left_out` of the shot that it went in
  const isTold = gone && frame.left_out && frame.role !== "dropped";
  return [
    `${placeOf(frame)} · ${t("fact.number", { number: frame.number })}`,
    frame.position ? t("fact.position", frame) : "",
    t(frame.tell === "shot"
      ? [`role.${frame.role}.shot`, `role.${frame.role}.long`]
      : [`role.${frame.role}.${frame.policy}`, `role.${frame.role}.${frame.tell}`, `role.${frame.role}.long`]),
    frame.pool ? t(`fact.pool.${frame.pool}`) : "",
    names ? t(who.label === null ? "fact.who" : "fact.who.own", { names }) : "",
    frame.isReference ? "" : frame.name,
    frame.score === null
      ? ""
      : t("fact.score", { scorer: frame.scorer || t("fact.scorer"), value: frame.score.toFixed(3) }),
    frame.similarity === null ? "" : t("fact.similarity", { value: frame.similarity.toFixed(3) }),
    frame.reason && !isTold ? t("fact.reason", { reason: gone ?? whyFromDraft(frame.reason) }) : "",
    frame.seen ? t(`fact.seen.${frame.tell}`, { reason: whyOf(frame.seen) }) : "",
    gone && frame.role === "dropped" ? "" : leftOut(frame),
    pendingKind && from ? t("next.from", { shot: from, change: t(`next.from.${pendingKind}`) }) : "",
    pendingKind && !from ? t(`pending.${pendingKind}`) : "",
    who.isNew ? t("pending.name") : "",
  ].filter(Boolean);
}

/** The one bubble of facts, shown beside what is pointed at or focused. */
export class FactBubble {
  constructor() {
    this.element = h("div", { class: "storymem-facts", "aria-hidden": "true", hidden: true });
  }

  show(anchor, lines) {
    this.element.replaceChildren(...lines.map((line) => h("div", {}, line)));
    const home = anchor.closest("dialog") ?? document.body; // a modal dialog is over all else
    if (this.element.parentNode !== home) home.append(this.element);
    this.element.hidden = false;
    const box = anchor.getBoundingClientRect();
    const own = this.element.getBoundingClientRect();
    const left = Math.min(Math.max(4, box.left), innerWidth - own.width - 4);
    const below = box.bottom + 6 + own.height <= innerHeight;
    this.element.style.left = `${left}px`;
    this.element.style.top = `${below ? box.bottom + 6 : Math.max(4, box.top - own.height - 6)}px`;
  }

  hide() {
    this.element.hidden = true;
  }
}
