/** What the next run will make, before it is queued: in words, and over the editor's table. */
import { h, setText } from "../shared/dom.js";
import { nodeOfId } from "../shared/graph.js";
import { t } from "../shared/texts.js";
import { serverText } from "../shared/server_text.js";
import { rangeOfTime } from "../shared/time_left.js";
import { FILM } from "./passes.js";
import { GraphWatch, askPlan, loopsOf } from "./plan_ask.js";
import { ranges, reasonText } from "./reasons.js";
import { textToSave } from "./saving.js";
import { plannedShots } from "./standing.js";

export { askPlan, isLoop, loopOf, loopsOf } from "./plan_ask.js";

const ASK_AFTER_MS = 600;
const ROWS_AT_ONCE = 40;
const MOST_CHANGES = 3; // in one sentence
const MEGABYTE = 2 ** 20;

// --- in words ----------------------------------------------------------------------------------

/** What becomes of a shot: `{ kind, text, long }`. */
export function lineOf({ state, why, on, reasons = [] }) {
  const kind = state.replace(" ", "_");
  if (state === "make") {
    const text = t(`plan.line.${why}`, { why: reasons.map(reasonText).join(", ") });
    return { kind, text, long: text };
  }
  if (state === "depends") return { kind, text: t("plan.line.depends", { on }), long: t("plan.line.depends.long", { on }) };
  const key = state !== "finished" ? kind : { "": "finished", locked: "locked", chosen: "chosen" }[why] ?? keptBy(why);
  const text = t(`plan.line.${key}`, { why });
  return { kind: ["locked", "chosen"].includes(key) ? "locked" : kind, text, long: text };
}

function keptBy(why) {
  if (why === "kept: only shots before it changed") return "kept_later";
  return why === "kept: it is before start_shot" ? "kept_before" : "kept";
}

/** The whole in one sentence; `takesTime`: with how long that will be. */
export function summaryOf(plan, { takesTime = true } = {}) {
  const { shots, unknown, error, failed, runs } = plan;
  if (!runs) return t("plan.inactive");
  if (failed) return t("plan.no_answer", { why: failed });
  if (!shots.length) return error ? t("plan.error", { error: serverText(error) }) : unknown.map(hiddenText).join(" ");
  const count = (state) => shots.filter((shot) => shot.state === state).length;
  const [make, finished, hidden, out] = ["make", "finished", "unknown", "left out"].map(count);
  const depending = new Map();
  for (const { state, on } of shots) if (state === "depends") depending.set(on, (depending.get(on) ?? 0) + 1);
  const parts = [];
  if (make || depending.size) parts.push(t("plan.make", { count: make }));
  else if (!hidden) parts.push(t("plan.none", { count: finished }));
  const groups = [...depending].map(([on, number]) => t("plan.depends", { count: number, on }));
  parts.push(...shortened(groups));
  if (hidden) parts.push(t("plan.unknown", { count: hidden }));
  if (finished && (make || depending.size || hidden)) parts.push(t("plan.finished", { count: finished }));
  if (out) parts.push(t("plan.left_out", { count: out }));
  if (takesTime && plan.time && make + depending.size) parts.push(t("plan.time", { time: rangeOfTime(plan.time.least, plan.time.most) }));
  return parts.join(" · ");
}

/** What changed since the last run, in one sentence; empty for nothing. */
export function changesOf({ changes }) {
  const said = changes.map(({ shots, reasons }) => t("plan.change", {
    why: reasons.map(reasonText).join(", "), shots: t(shots.length > 1 ? "plan.in_shots" : "plan.in_shot", { shots: ranges(shots) }),
  }));
  return said.length ? t("plan.changed", { changes: shortened(said).join("; ") }) : "";
}

/** What else is to be known before a run, line by line. */
export function notesOf(plan) {
  const { disk, error, notices, seedsMove: moves, shots, unknown, warnings } = plan;
  const megabytes = (bytes) => (bytes < 1024 * MEGABYTE ? `${Math.max(1, Math.round(bytes / MEGABYTE))} MB` : `${(bytes / 1024 / MEGABYTE).toFixed(1)} GB`);
  return [
    ...(error && shots.length ? [t("plan.error", { error: serverText(error) })] : []),
    ...(shots.length ? unknown.map(hiddenText) : []),
    ...(moves ? [t("plan.seed_before")] : []),
    ...warnings.map((warning) => t("story.warning", { warning: serverText(warning) })),
    ...Object.entries(notices).map(([id, text]) => t("plan.notice", { name: nodeOfId(id)?.title ?? id, text: serverText(text) })),
    ...(disk ? [t("plan.disk", { needed: megabytes(disk.needed), free: megabytes(disk.free) })] : []),
  ];
}

/** Those of the notes that nobody should overlook. */
function warningsOf({ error, notices, warnings }) {
  return [error, ...warnings, ...Object.values(notices)].filter(Boolean);
}

function hiddenText({ name, input, why }) {
  const key = why === "relevant" ? "plan.hidden.relevant" : input ? "plan.hidden" : "plan.hidden.whole";
  return t(key, { name, input });
}

function shortened(parts) {
  const left = parts.length - MOST_CHANGES;
  return left > 0 ? [...parts.slice(0, MOST_CHANGES), t("plan.and_more", { count: left })] : parts;
}

// --- over the table of shots -------------------------------------------------------------------

/** The summary over the story editor's table, and a line in each of its rows. */
export class StoryPlan {
  constructor(dialog, node) {
    Object.assign(this, { dialog, node, lines: new Map(), plan: null, shots: new Map(), rows: new Map() });
    this.isComing = this.isOld = true; // what is said is of an earlier state, until the next answer
    this.text = h("span", { class: "sm-plan-summary", role: "status" });
    this.changes = h("div", { class: "sm-plan-changes", hidden: true });
    this.notes = h("ul");
    this.more = h("details", { hidden: true }, h("summary", { title: t("plan.more.long") }, t("plan.more")), this.changes, this.notes);
    this.element = h("section", { class: "sm-plan", "aria-label": t("plan.label") }, this.text, this.more);
    dialog.table.plan = this;
    dialog.told = (answer) => this.told(answer);
    this.watch = new GraphWatch((graph) => { if (graph !== this.plan?.graph) this.again(); });
    dialog.table.element.before(this.element);
    this.say(t("plan.asking"));
  }

  /** The server has read the story as it stands: soon ask what would be made of it. */
  told(answer) {
    this.isComing = !answer.error;
    this.outdated(true);
    if (answer.error) return void this.say("");
    this.asked = this.last = { story: this.dialog.history.value, script: this.dialog.isChanged() ? answer.text : null };
    this.askSoon();
  }

  /** Not the story, but what it is made with is another: ask anew. `isMade`: shots were made. */
  again({ isMade = false } = {}) {
    this.isComing = this.isOld = true;
    if (isMade) this.rows = new Map(); // the folder is asked first, and knows better than what was said
    else this.outdated(true);
    if (this.last?.story !== this.dialog.history?.value) return; // asked about soon
    this.asked = this.last;
    this.askSoon();
  }

  askSoon() {
    if (this.timer) return; // shots that are finished one after the other need not put it off
    this.timer = setTimeout(() => {
      this.timer = null;
      this.ask();
    }, ASK_AFTER_MS);
  }

  async ask() {
    if (this.asking) return; // it asks again when the answer is there
    while (this.asked && this.dialog.element.isConnected) {
      const { story, script } = this.asked;
      this.asked = null;
      this.asking = new AbortController();
      await this.askOnce(story, script, this.asking.signal);
      this.asking = null;
    }
  }

  async askOnce(story, script, signal) {
    const [loop] = loopsOf(this.node);
    if (!loop) return void this.show(story, null, t("plan.no_loop"));
    try {
      const change = script === null ? null : { node: this.node, script: await textToSave(this.dialog, story, script) };
      const plan = await askPlan(loop, { change, signal });
      if (!this.asked && this.dialog.history?.value === story) this.show(story, plan);
    } catch (error) {
      if (!signal.aborted && !this.asked) this.show(story, null, t("plan.no_answer", { why: error.message }));
    }
  }

  /** The dialog was closed. */
  stop() {
    this.watch.stop();
    clearTimeout(this.timer);
    this.asked = null;
    this.asking?.abort();
  }

  show(story, plan, message = "") {
    this.plan = plan;
    const shots = plan?.shots ?? [];
    this.lines = new Map(story.rows.map((row, i) => [row.id, shots[i] && lineOf(shots[i])]));
    this.shots = new Map(story.rows.map((row, i) => [row.id, shots[i]]));
    this.rows = new Map(plannedShots(plan, story.rows.length)?.map((shot, i) => [story.rows[i], shot]));
    Object.assign(this, { story, isComing: false });
    this.fill();
    this.say(message || summaryOf(plan, { takesTime: false }), plan); // the dialog tells the time
    this.outdated(false);
  }

  /** Bring the lines of all rows up to date, some in each frame: a long story has hundreds. */
  async fill() {
    const turn = this.turn = (this.turn ?? 0) + 1;
    const parts = [...this.dialog.table.parts.values()];
    for (let first = 0; first < parts.length && turn === this.turn; first += ROWS_AT_ONCE) {
      for (const part of parts.slice(first, first + ROWS_AT_ONCE)) this.showLine(part);
      await new Promise(requestAnimationFrame);
    }
    if (turn === this.turn && this.dialog.element.isConnected) this.dialog.showRows();
  }

  /**
   * What is known of a story: by `row` what becomes of its shot, also where that was said before
   * another row changed; for `headOf` the `planned` shots, the `time` that they take and the `basis`.
   */
  knownOf(story) {
    if ((this.dialog.asked.pass ?? FILM) !== this.dialog.loopPass()) return { row: () => null, planned: null, basis: "folder" };
    const isNow = !this.isOld && this.story === story;
    const basis = this.rows.size ? "known" : this.isComing ? "asking" : "folder";
    const planned = isNow && this.rows.size ? story.rows.map((row) => this.rows.get(row)) : null;
    return { row: (row) => this.rows.get(row), planned, time: this.plan?.time, basis };
  }

  say(text, plan = null) {
    setText(this.text, text);
    const changes = plan ? changesOf(plan) : "";
    const notes = plan ? notesOf(plan) : [];
    setText(this.changes, changes);
    this.changes.hidden = !changes;
    this.notes.replaceChildren(...notes.map((line) => h("li", {}, line)));
    this.more.hidden = !changes && !notes.length;
    const warned = plan ? warningsOf(plan).join("\n") : this.warned;
    if (warned && warned !== this.warned) this.more.open = true; // one that was folded up stays so
    this.warned = warned;
    this.element.hidden = !text;
    this.element.classList.toggle("sm-wrong", Boolean(plan?.error));
  }

  /** What was said is of an earlier state of the story, until the next answer. */
  outdated(is) {
    this.isOld = is;
    const { table, timeline, summary } = this.dialog.controls;
    for (const element of [this.element, table.element, timeline.element, summary]) element.classList.toggle("sm-plan-old", is);
  }

  /** Have a row of the table say what becomes of its shot. */
  showLine(part) {
    const line = this.lines.get(part.row?.id);
    if (!line && !part.planned) return;
    if (!part.planned) {
      part.planned = h("div", { class: "sm-plan-line" }, "");
      part.element.querySelector(".sm-row").append(part.planned);
    }
    const { kind, text, long } = line ?? { kind: "", text: "", long: "" };
    setText(part.planned, text);
    if (part.planned.title !== long) part.planned.title = long;
    if (part.planned.dataset.kind !== kind) part.planned.dataset.kind = kind;
  }
}
