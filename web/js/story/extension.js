/** On Load Story: a list of the shots with their states, and the story editor. */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { h, setText } from "../shared/dom.js";
import { LOAD_STORY, PROMPT_ENDS, everyNode, holderOf, isThere, kindOf, nodeOfId } from "../shared/graph.js";
import { chain, noteChange, showBadge, whenChanged } from "../shared/host.js";
import { icon } from "../shared/icons.js";
import { heardSoFar, isEnded, isFinished, latestRun, runOf, whenProgress } from "../shared/runs.js";
import { openSeen } from "../shared/seen.js";
import { eachSecond, exactTime } from "../shared/time_left.js";
import { captionOf } from "./captions.js";
import { StoryDialog } from "./dialog.js";
import { labelsOf } from "./model.js";
import { NO_FILE, askedBy, loopPass, readStory, timeOf } from "./api.js";
import { ScriptNote, scrollsItself } from "./notes.js";
import { NodePlan, followGraph } from "./node_plan.js";
import { StoryPlan } from "./plan.js";
import { shotsOf, watchFromList } from "./player.js";
import { headOf, indexBeingMade, plannedShots, standingOf } from "./standing.js";
import { stateTexts, t } from "../shared/texts.js";

const WIDGET = "storymem_shots";
const READ_AFTER_MS = 500;
const BADGE_COLOURS = { error: "#b3362f", warning: "#8a6410" };
const SMALLEST = 64; // pixels: the button and one line
const OUTSIDE = 54; // on a subgraph: the button, and the host's margin around it
const LINE = 24; // pixels of a shot in the list
const panels = new WeakMap(); // node -> NodePanel

/** A shot in the list on the node. */
class Line {
  constructor(number) {
    this.beginning = h("span", { class: "sm-words" });
    this.word = h("span", { class: "sm-state" });
    this.element = h("li", {}, h("span", { class: "sm-number" }, String(number)), this.beginning, this.word);
  }

  show(shot) {
    if (Object.keys(shot).every((name) => shot[name] === this[name])) return;
    Object.assign(this, shot);
    const { label, state, prompt, who, took, hasVideo } = shot;
    const { kind, word } = stateTexts(state);
    Object.assign(this.element.dataset, { state: kind, label });
    const named = who ? `${t("story.who", { names: who })}\n` : "";
    const made = took ? `${t("time.took", { time: exactTime(took) })}\n` : "";
    const play = hasVideo ? `\n${t("player.line")}` : "";
    this.element.title = `${label} ${word}\n${made}${named}${prompt.slice(0, 600)}${play}`;
    this.element.classList.toggle("sm-can-play", hasVideo);
    setText(this.beginning, captionOf(prompt, "shot_caption").slice(0, 120));
    setText(this.word, word);
  }
}

class NodePanel {
  constructor(node) {
    this.node = node;
    this.button = h("button", { type: "button", class: "sm-edit", title: t("story.edit.long"), onclick: () => this.edit() },
      icon("edit"), h("span", {}, t("story.edit")));
    this.summary = h("span", { class: "sm-summary", role: "status" });
    this.list = h("ol", { class: "sm-list", "aria-label": t("story.table"), tabindex: "0" });
    this.note = new ScriptNote((text) => this.save(text));
    this.element = h("div", { class: "sm-panel-on-node" }, h("div", { class: "sm-bar" }, this.button, this.summary),
      this.note.text, this.note.offers, this.list);
    scrollsItself(this.list);
    watchFromList(this.list, () => shotsOf(this.shown));
    const widget = node.addDOMWidget(WIDGET, "storymem", this.element, {
      serialize: false, hideOnZoom: true, hideInPanel: true, getMinHeight: () => SMALLEST + this.note.height, getMaxHeight: () => this.mostHeight(), getValue: () => "", setValue: () => {},
    });
    widget.serialize = false;
    this.followed = new WeakSet();
    this.summaries = [this.summary]; // and those on subgraphs around the node
    this.rows = []; // as the story's folder tells of them
    this.shown = []; // with what the look ahead and a run say
    this.planner = new NodePlan(this);
    this.lines = []; // of the list, one for each row
    chain(node, "onConnectionsChange", () => this.lookAgain());
    this.later();
  }

  /** Read again if the script, or where it comes from, is another one now. */
  lookAgain() {
    if (this.asked !== undefined && JSON.stringify(askedBy(this.node)) !== this.asked) this.later();
  }

  /** Of the classic canvas: with few shots, the room is the script's. */
  mostHeight() {
    return SMALLEST + this.note.height + LINE * this.rows.length;
  }

  /** Read again when one of these values changes. */
  follow() {
    for (const name of ["script", "file", "character"]) {
      const widget = holderOf(this.node, name)?.widget;
      if (!widget || this.followed.has(widget)) continue;
      this.followed.add(widget);
      const { callback } = widget;
      widget.callback = (...values) => {
        const result = callback?.apply(widget, values);
        this.later();
        return result;
      };
    }
  }

  /** Read the script again soon, but not at every key. */
  later(wait = READ_AFTER_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.read(), wait);
  }

  async read() {
    if (!this.node.graph) return; // deleted, or in a tab that was closed
    if (this.reading) {
      this.again = true; // shots that are finished one after the other need not be told one by one
      return;
    }
    this.reading = true;
    this.again = false;
    try {
      await this.readOnce();
    } finally {
      this.reading = false;
      if (this.again) this.later();
    }
  }

  async readOnce() {
    this.follow();
    const asked = askedBy(this.node);
    this.asked = JSON.stringify(asked);
    this.button.disabled = !asked;
    if (!asked) {
      this.tell(null);
      this.show([], t("story.linked"));
      return;
    }
    const before = heardSoFar();
    const answer = await readStory(asked).catch(() => null);
    if (!answer || JSON.stringify(asked) !== JSON.stringify(askedBy(this.node))) return;
    const empty = !answer.text.trim();
    this.answer = answer;
    this.tell(empty ? {} : answer, asked.file);
    this.planner.again();
    this.show(answer.shots, answer.error && !empty ? t("story.broken") : "", empty);
    whenRead.dispatchEvent(new CustomEvent("read", { detail: { node: this.node, before } }));
  }

  /** Show what is to be known of the script, and make room for it below, never at the side. */
  tell(...told) {
    const { height } = this.note;
    this.note.show(...told);
    showBadge(this.node, this.note.badge, BADGE_COLOURS[this.note.kind]);
    if (this.note.height === height) return;
    const { node } = this;
    const [, needed] = node.computeSize();
    if (node.size[1] < needed) node.setSize([node.size[0], needed]);
    node.graph?.setDirtyCanvas?.(true, true);
  }

  /** What a run said of the script; the page does not know it when another node gives it. */
  executed(lines) {
    this.note.executed = lines;
    if (!askedBy(this.node)) this.tell(null);
  }

  show(rows, message, empty = false) {
    this.rows = rows;
    this.message = message || (empty ? t("story.empty") : "");
    this.isEmpty = empty; // which is no mistake: nobody has typed yet
    this.refresh();
  }

  /** Show rows with the states of a run in progress. */
  refresh() {
    const run = runOf(this.node, this.answer?.mark);
    const at = run ? -1 : indexBeingMade(this.anyRun(), this.rows);
    const labels = labelsOf(this.rows);
    const planned = plannedShots(this.planner.plan, this.rows.length);
    this.shown = this.rows.map((row, i) =>
      standingOf(row, { planned: planned?.[i], run: i === at ? "running" : run?.states[labels[i]] }));
    this.element.classList.toggle("sm-wrong", Boolean(this.message) && !this.isEmpty && !this.button.disabled);
    this.tellSummary();
    if (this.lines.length !== this.rows.length) this.node.graph?.setDirtyCanvas?.(true, true); // see mostHeight
    for (const { element } of this.lines.splice(this.rows.length)) element.remove();
    const known = this.lines.length;
    this.shown.forEach((row, i) => {
      this.lines[i] ??= new Line(i + 1);
      const { prompt, state, took } = row;
      const who = (row.who ?? []).join(", ");
      this.lines[i].show({ label: labels[i], state, prompt, who, took, hasVideo: Boolean(row.video) });
    });
    this.list.append(...this.lines.slice(known).map(({ element }) => element));
    this.list.style.setProperty("--sm-lines", this.lines.length);
  }

  /** The latest event of a run of this story in progress, of whatever script. */
  anyRun(place = this.answer?.place) {
    const run = latestRun(this.node);
    return run && (!place || run.folder === place) ? run : null;
  }

  /** What stands over the list; while a run is on, the time that it needs goes down. */
  tellSummary() {
    const run = runOf(this.node, this.answer?.mark);
    const planned = run ? null : plannedShots(this.planner.plan, this.rows.length);
    const basis = run || planned ? "known" : this.planner.isComing ? "asking" : "folder";
    const times = planned ? [this.planner.plan.time, 0] : timeOf(this.answer, run);
    const { text, long } = headOf(this.rows, this.shown.map(({ state }) => state), { planned, times, basis });
    for (const summary of this.summaries) {
      setText(summary, this.message || text);
      summary.title = this.message || !long ? summary.textContent : `${text}\n${long}`;
    }
  }

  /** What the next run will make is known, or no longer. */
  planned() {
    this.refresh();
    whenRead.dispatchEvent(new CustomEvent("planned", { detail: { node: this.node, before: heardSoFar() } }));
  }

  tick = () => {
    if (!isThere(this.node) || !runOf(this.node, this.answer?.mark)) return false;
    this.tellSummary();
    this.dialog?.tellSummary();
    return true;
  };

  /** Open the editor; `about`: what is to be known of the story there, `pass`: whose shots to show. */
  edit(about = "", pass = null) {
    const { node } = this;
    const asked = askedBy(node);
    if (this.dialog || !asked) return;
    if (pass) asked.pass = pass;
    this.dialog = new StoryDialog({
      asked,
      about,
      running: (mark) => runOf(node, mark),
      loopPass: () => loopPass(node),
      otherRun: (place) => this.anyRun(place),
      save: (text) => this.save(text),
      look: (shot) => openSeen({ storyNode: node, ...shot }),
      onClose: () => {
        plan.stop();
        this.dialog = null;
        this.button.focus();
        this.later(0);
      },
    });
    const plan = new StoryPlan(this.dialog, node);
    this.dialog.open();
  }

  save(text) {
    for (const [name, value] of [["file", NO_FILE], ["script", text]]) {
      const held = holderOf(this.node, name);
      if (!held || held.widget.value === value) continue;
      held.widget.value = value;
      held.widget.callback?.(value, app.canvas, held.node);
    }
    app.canvas?.setDirty(true, true);
    noteChange();
  }

  /** A run of this story went on, or ended. */
  progressed(event) {
    if (event && isEnded(event) && event.script === this.answer?.mark) {
      const labels = labelsOf(this.rows); // until the folder is read again, what the run said last
      this.rows.forEach((row, i) => { row.state = event.states[labels[i]] ?? row.state; });
    }
    this.refresh();
    this.dialog?.showRunning();
    eachSecond(this.tick);
    if (event && !isEnded(event) && event.state !== "finished") return;
    this.later(0);
    this.dialog?.recheck({ isEnd: !event || isEnded(event) });
  }
}

/** Tells when a Load Story node read its script, and when it is "planned": the event's detail has the
 * node, and how much was heard of runs before it asked. */
export const whenRead = new EventTarget();

/** The states that the server last told for a Load Story node. */
export function lastRead(node) {
  return panels.get(node)?.answer ?? null;
}

/**
 * How far the story of a Load Story node is: `of`, `finished`; `isComing` while the server is asked
 * for it, `isByFolder` where only the film in the folder was compared.
 */
export function farOf(node) {
  const { planner, rows } = panels.get(node) ?? { rows: [] };
  const planned = plannedShots(planner?.plan, rows.length);
  const finished = rows.filter((row, i) => isFinished(standingOf(row, { planned: planned?.[i] }).state)).length;
  return { of: rows.length, finished, isComing: Boolean(planner?.isComing) && !planned, isByFolder: !planned };
}

/** Show the editor's button and the summary of a Load Story node on a subgraph around it, too. */
export function showStoryOn(place, node) {
  const panel = panels.get(node);
  const summary = h("span", { class: "sm-summary", role: "status" });
  const button = h("button", { type: "button", class: "sm-edit", title: t("story.edit.long"), onclick: () => panel.edit() },
    icon("edit"), h("span", {}, t("story.edit")));
  const element = h("div", { class: "sm-panel-on-node sm-outside" }, h("div", { class: "sm-bar" }, button, summary));
  const height = () => OUTSIDE;
  const widget = place.addDOMWidget(WIDGET, "storymem", element, {
    hideInPanel: true, serialize: false, hideOnZoom: true, getMinHeight: height, getMaxHeight: height, getValue: () => "", setValue: () => {},
  });
  widget.serialize = false;
  panel.summaries.push(summary);
  panel.tellSummary();
}

export function everyPanel() {
  return [...everyNode()].map((node) => panels.get(node)).filter(Boolean);
}

followGraph(everyPanel);
whenChanged(() => everyPanel().forEach((panel) => panel.lookAgain())); // a wire into a subgraph around it

whenProgress((nodes, event) => {
  for (const node of nodes) panels.get(node)?.progressed(event);
});

/** The Load Story of a node: itself, or the one in a subgraph. */
export function panelOf(node) {
  if (panels.has(node)) return panels.get(node);
  return node?.subgraph ? [...everyNode(node.subgraph)].map((inner) => panels.get(inner)).find(Boolean) : null;
}

app.registerExtension({
  name: "StoryMem.StoryEditor",
  getNodeMenuItems(node) {
    const panel = panelOf(node);
    return panel ? [{ content: t("story.edit"), callback: () => panel.edit() }] : [];
  },
  setup() {
    const readAll = () => everyPanel().forEach((panel) => panel.later());
    api.addEventListener("executed", ({ detail }) => {
      const panel = panels.get(nodeOfId(detail?.display_node ?? detail?.node));
      panel?.executed(detail.output?.storymem_notice ?? []);
    });
    for (const sign of ["reconnected", ...PROMPT_ENDS]) api.addEventListener(sign, readAll);
    app.canvas?.canvas?.addEventListener("subgraph-opened", readAll);
  },
  nodeCreated(node) {
    if (kindOf(node) === LOAD_STORY && !panels.has(node)) panels.set(node, new NodePanel(node));
  },
  loadedGraphNode(node) {
    panels.get(node)?.later();
  },
});
