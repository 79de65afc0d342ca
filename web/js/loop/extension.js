/** On Shot Loop Open and Close: which shot is being made, how far the story is, and a way to stop. */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { h, setText } from "../shared/dom.js";
import { LOOP_CLOSE, LOOP_OPEN, PROMPT_ENDS, everyNode, isThere, kindOf, storyNodesOf } from "../shared/graph.js";
import { icon } from "../shared/icons.js";
import { openSeen } from "../shared/seen.js";
import { forget, forgetPrompt, heardSoFar, isEnded, isOfThisPage, takeUp } from "../shared/runs.js";
import { farOf, lastRead, whenRead } from "../story/extension.js";
import { eachSecond, lineOfTime } from "../shared/time_left.js";
import { t } from "../shared/texts.js";
import { LoopWatch } from "./player.js";
import { nameControls } from "./seed.js";

const WIDGET = "storymem_progress";
const HEIGHT = 48; // pixels: a line, a bar, and the host's margin of 10 around them
const HEIGHT_RUNNING = 80; // and a button
const HEIGHT_TIME = 22; // more, for the time that is left
const HEIGHT_NOTE = 64; // more, for what an artist should know of the finished story
const HEIGHT_NOTICE = 66; // and four lines about the story's folder, which scroll
const lines = new WeakMap(); // loop node -> ProgressLine
const outside = new WeakMap(); // loop node -> those on subgraphs around it
let runningPrompt = null; // id of the prompt that the host runs for this page
const ended = new Set(); // ids of prompts, and of loop nodes with their prompt's id before them

class ProgressLine {
  /** The progress of a loop node, shown on `place`: itself, or a subgraph around it. */
  constructor(node, place = node) {
    Object.assign(this, { loop: node, node: place });
    this.text = h("div", { class: "sm-line", role: "status" });
    this.fill = h("div", { class: "sm-fill" });
    this.bar = h("div", { class: "sm-bar-of", role: "progressbar", "aria-valuemin": 0, "aria-label": t("progress.label") }, this.fill);
    this.time = h("div", { class: "sm-time", hidden: true });
    this.cancel = h("button", {
      type: "button", class: "sm-cancel", title: t("progress.cancel.long"), hidden: true, onclick: () => this.stop(),
    }, icon("stop"), h("span", {}, t("progress.cancel")));
    this.seen = h("button", { type: "button", class: "sm-seen", title: t("seen.open.long"), "aria-label": t("seen.open"), onclick: () => this.showSeen() }, icon("memory"));
    this.head = h("div", { class: "sm-head" }, this.text, this.seen);
    this.note = h("div", { class: "sm-note", hidden: true });
    this.notice = h("div", { class: "sm-notice", role: "note", hidden: true });
    this.element = h("div", { class: "sm-progress" }, this.head, this.bar, this.time, this.notice, this.note, this.cancel);
    this.watch = new LoopWatch(node, this);
    const widget = place.addDOMWidget(WIDGET, "storymem", this.element, {
      hideInPanel: true, serialize: false, hideOnZoom: false, getMinHeight: () => this.height(), getMaxHeight: () => this.height(),
      getValue: () => "", setValue: () => {},
    });
    widget.serialize = false;
    this.fit();
  }

  /** What each shot of this loop's story saw. */
  showSeen() {
    const [storyNode] = storyNodesOf(this.loop);
    if (storyNode) openSeen({ storyNode });
  }

  height() {
    const more = [[this.time, HEIGHT_TIME], [this.note, HEIGHT_NOTE], [this.notice, HEIGHT_NOTICE]]
      .reduce((sum, [part, height]) => sum + (part.hidden ? 0 : height), 0);
    return (this.cancel.hidden ? HEIGHT : HEIGHT_RUNNING) + more + (this.watch?.height ?? 0);
  }

  /** Make room below, and never at the side: the host asks as much width as a square film is high. */
  fit() {
    const { node } = this;
    const [, height] = node.computeSize();
    if (node.size[1] < height) node.setSize([node.size[0], height]);
    node.graph?.setDirtyCanvas?.(true, true);
  }

  show(event) {
    const { state, of, finished } = event;
    Object.assign(this, { of, finished });
    const pass = event.pass && event.pass !== "film" ? `${t(`pass.${event.pass}`)} · ` : "";
    setText(this.text, pass + t(`progress.${state}`, event));
    this.text.title = event.message || event.prompt || "";
    if (event.notice !== undefined) {
      setText(this.notice, event.notice);
      this.notice.title = event.notice;
      this.notice.hidden = !event.notice;
    }
    this.element.dataset.state = state;
    this.bar.setAttribute("aria-valuemax", String(of));
    this.bar.setAttribute("aria-valuenow", String(finished));
    this.bar.setAttribute("aria-valuetext", this.text.textContent);
    this.fill.style.width = `${of ? (100 * finished) / of : 0}%`;
    const note = state === "done" ? event.message ?? "" : "";
    setText(this.note, note);
    this.note.hidden = !note;
    this.cancel.hidden = isEnded(event) || !event.running;
    this.cancel.disabled = false;
    this.showTime(event);
    this.watch.heard(event);
    this.fit();
  }

  /** How much is left, from now on by the second; nothing once all shots are finished. */
  showTime({ time_left: left, at, of, finished }) {
    this.left = this.cancel.hidden || finished >= of ? undefined : left; // null: unknown
    this.since = at;
    if (this.tick()) eachSecond(this.tick);
  }

  tick = () => {
    const isTold = this.left !== undefined && isThere(this.node);
    this.time.hidden = !isTold;
    if (!isTold) return false;
    const { text, long } = lineOfTime(this.left, this.since);
    setText(this.time, text);
    if (this.time.title !== long) this.time.title = long;
    return true;
  };

  /** Whether the line already tells as much as the story's folder does, or more: why it stopped. */
  isUpToDate(of, finished, running) {
    if (!this.cancel.hidden) return true;
    return !running && (this.element.dataset.state === "stopped" || (this.of === of && this.finished === finished));
  }

  /** The run is over, and nobody told how: the next reading of the folder says where it stands. */
  letGo() {
    this.cancel.hidden = true;
    this.of = null;
    this.left = undefined;
    this.tick();
    forget(storyNodesOf(this.loop));
  }

  async stop() {
    this.cancel.disabled = true;
    setText(this.text, t("progress.cancelling"));
    this.left = undefined;
    this.tick();
    await api.interrupt(runningPrompt);
  }
}

function lineOf(node) {
  if (!lines.has(node)) lines.set(node, new ProgressLine(node));
  return lines.get(node);
}

/** The lines on subgraphs around a loop node. */
function around(node) {
  return outside.get(node) ?? [];
}

/** Show the progress of a loop node on a subgraph around it, too. */
export function showProgressOn(place, node) {
  outside.set(node, [...around(node), new ProgressLine(node, place)]);
  storyNodesOf(node).forEach((storyNode) => showFromFolder({ node: storyNode, before: heardSoFar() }));
}

function show(event) {
  const loop = takeUp(event);
  if (!loop) return;
  for (const node of [loop.open, loop.close]) {
    for (const line of [lineOf(node), ...around(node)]) line.show({ ...event, running: true });
  }
  if (isEnded(event)) for (const id of [event.open, event.node]) ended.add(`${event.prompt_id} ${id}`);
}

/** What is known of a story until the next event, as after a reload. */
async function showFromFolder({ node: storyNode, before }) {
  const { of, finished, isComing, isByFolder } = farOf(storyNode);
  const message = isByFolder ? t("story.summary.folder.long") : "";
  const running = await runningLoops();
  if (heardSoFar() !== before) return; // an event came meanwhile, and knows better
  for (const node of everyNode()) {
    if (![LOOP_OPEN, LOOP_CLOSE].includes(kindOf(node)) || !storyNodesOf(node).includes(storyNode)) continue;
    const isRunning = running.has(String(node.id));
    if (isComing && !isRunning) continue; // it is told again when the answer is there
    const state = isRunning ? "started" : "finished";
    const time = { time_left: lastRead(storyNode)?.times?.running, at: lastRead(storyNode)?.at };
    for (const known of [lines.get(node), ...around(node)]) {
      if (known ? known.isUpToDate(of, finished, isRunning) : !finished && !isRunning) continue;
      (known ?? lineOf(node)).show({ state, of, finished, message, running: isRunning, ...time });
    }
  }
}

/** Ids of the loop nodes in the prompt that the host runs now; it lists one for a moment after its end. */
async function runningLoops() {
  try {
    const queue = await (await api.fetchApi("/queue")).json();
    const own = queue.queue_running.filter(([, promptId, , extra]) => !ended.has(promptId) &&
      (!extra?.client_id || extra.client_id === api.clientId) && isOfThisPage(extra?.extra_pnginfo?.workflow?.id));
    if (own.length) runningPrompt = own[0][1];
    return new Set(own.flatMap(([, promptId, prompt]) => Object.keys(prompt)
      .filter((id) => [LOOP_OPEN, LOOP_CLOSE].includes(prompt[id].class_type))
      .filter((id) => !ended.has(`${promptId} ${id}`))));
  } catch {
    return new Set();
  }
}

/** The host ended a prompt: a line that still says "running" never got its last event. */
function end({ detail }) {
  ended.add(detail?.prompt_id);
  if (runningPrompt === detail?.prompt_id) runningPrompt = null;
  letGo();
  forgetPrompt(detail?.prompt_id);
}

function letGo() {
  for (const node of everyNode()) {
    for (const line of [lines.get(node), ...around(node)]) if (line && !line.cancel.hidden) line.letGo();
  }
}

app.registerExtension({
  name: "StoryMem.Progress",
  setup() {
    api.addEventListener("storymem.progress", ({ detail }) => show(detail));
    api.addEventListener("execution_start", ({ detail }) => {
      runningPrompt = detail?.prompt_id ?? null;
    });
    for (const kind of PROMPT_ENDS) api.addEventListener(kind, end);
    api.addEventListener("reconnected", letGo); // what ended meanwhile told nobody
    for (const kind of ["read", "planned"]) whenRead.addEventListener(kind, ({ detail }) => showFromFolder(detail));
  },
  nodeCreated: nameControls,
});
