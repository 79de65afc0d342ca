/** On Load Story: a list of the shots with their states, and the story editor. */
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { everyNode, h, noteChange, useStyles } from "./common.js";
import { icon } from "./icons.js";
import { isEnded, statesFor, whenProgress } from "./runs.js";
import { StoryDialog } from "./story_dialog.js";
import { labelsOf } from "./story_model.js";
import { LOAD_STORY, NO_FILE, askedBy, isLinked, kindOf, readStory, widgetOf } from "./story_server.js";
import { t } from "./texts.js";

const WIDGET = "storymem_shots";
const READ_AFTER_MS = 500;
const SMALLEST = 64; // pixels: the button and one line
const panels = new WeakMap(); // node -> NodePanel

class NodePanel {
  constructor(node) {
    this.node = node;
    this.button = h("button", { type: "button", class: "sm-edit", title: t("story.edit.long"), onclick: () => this.edit() },
      icon("edit"), h("span", {}, t("story.edit")));
    this.summary = h("span", { class: "sm-summary", role: "status" });
    this.list = h("ol", { class: "sm-list", "aria-label": t("story.table"), tabindex: "0" });
    this.element = h("div", { class: "sm-panel-on-node" }, h("div", { class: "sm-bar" }, this.button, this.summary), this.list);
    // The wheel scrolls the list when there is more of it, and else zooms the canvas as everywhere.
    this.list.addEventListener("wheel", (event) => {
      if (this.list.scrollHeight > this.list.clientHeight && !event.ctrlKey) event.stopPropagation();
    });
    const widget = node.addDOMWidget(WIDGET, "storymem", this.element, {
      serialize: false, hideOnZoom: true, getMinHeight: () => SMALLEST, getValue: () => "", setValue: () => {},
    });
    widget.serialize = false;
    for (const name of ["script", "file", "character"]) this.follow(widgetOf(node, name));
    this.rows = [];
    this.later();
  }

  follow(widget) {
    if (!widget) return;
    const { callback } = widget;
    widget.callback = (...values) => {
      const result = callback?.apply(widget, values);
      this.later();
      return result;
    };
  }

  /** Read the script again soon, but not at every key. */
  later(wait = READ_AFTER_MS) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.read(), wait);
  }

  async read() {
    if (!this.node.graph) return; // deleted, or in a tab that was closed
    if (isLinked(this.node, "script") || isLinked(this.node, "file")) {
      this.show([], t("story.linked"));
      this.button.disabled = true;
      return;
    }
    this.button.disabled = false;
    const asked = askedBy(this.node);
    const answer = await readStory(asked).catch(() => null);
    if (!answer || JSON.stringify(asked) !== JSON.stringify(askedBy(this.node))) return;
    const empty = !answer.text.trim();
    this.show(answer.shots, answer.error && !empty ? t("story.broken", answer) : "", empty);
    this.answer = answer;
    whenRead.dispatchEvent(new CustomEvent("read", { detail: this.node }));
  }

  show(rows, message, empty = false) {
    this.rows = rows;
    this.message = message || (empty ? t("story.empty") : "");
    this.refresh();
  }

  /** Show rows with the states of a run in progress. */
  refresh() {
    const running = statesFor(this.node);
    const labels = labelsOf(this.rows);
    this.states = this.rows.map((row, i) => running[labels[i]] ?? row.state);
    const done = this.states.filter((state) => ["done", "locked"].includes(state)).length;
    const scenes = this.rows.filter((row, i) => i === 0 || row.starts).length;
    this.element.classList.toggle("sm-wrong", Boolean(this.message) && !this.button.disabled);
    this.summary.textContent = this.message || t("story.summary", { shots: this.rows.length, scenes, done });
    this.summary.title = this.summary.textContent;
    const mark = this.rows.map((row, i) => `${labels[i]} ${this.states[i]} ${row.prompt.slice(0, 80)}`).join("\n");
    if (mark === this.mark) return;
    this.mark = mark;
    this.list.replaceChildren(...this.rows.map((row, i) => h("li", {
      "data-state": this.states[i], "data-label": labels[i], title: `${labels[i]} ${t(`state.${this.states[i]}`)}\n${row.prompt.slice(0, 600)}`,
    },
    h("span", { class: "sm-number" }, String(i + 1)),
    h("span", { class: "sm-words" }, row.prompt.slice(0, 120)),
    h("span", { class: "sm-state" }, t(`state.${this.states[i]}`)))));
  }

  edit() {
    const { node } = this;
    if (this.dialog) return;
    this.dialog = new StoryDialog({
      asked: askedBy(node),
      running: () => statesFor(node),
      save: (text) => this.save(text),
      onClose: () => {
        this.dialog = null;
        this.button.focus();
        this.later(0);
      },
    });
    this.dialog.open();
  }

  save(text) {
    setWidget(this.node, "file", NO_FILE);
    setWidget(this.node, "script", text);
    this.node.graph?.setDirtyCanvas?.(true, true);
    noteChange();
  }

  /** A run of this story went on, or ended. */
  progressed(event) {
    this.refresh();
    this.dialog?.showRunning();
    if (event && !isEnded(event) && event.state !== "finished") return;
    this.later(0);
    this.dialog?.recheck();
  }
}

function setWidget(node, name, value) {
  const widget = widgetOf(node, name);
  if (!widget || widget.value === value) return;
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
}

/** Tells when a Load Story node read its script: the event's detail is the node. */
export const whenRead = new EventTarget();

/** The states that the server last told for a Load Story node. */
export function lastRead(node) {
  return panels.get(node)?.answer ?? null;
}

function everyPanel() {
  return [...everyNode()].map((node) => panels.get(node)).filter(Boolean);
}

whenProgress((nodes, event) => {
  for (const node of nodes) panels.get(node)?.progressed(event);
});

app.registerExtension({
  name: "StoryMem.StoryEditor",
  setup() {
    useStyles("story");
    const readAll = () => everyPanel().forEach((panel) => panel.later());
    api.addEventListener("reconnected", readAll);
    api.addEventListener("execution_success", readAll);
    api.addEventListener("execution_error", readAll);
    api.addEventListener("execution_interrupted", readAll);
  },
  nodeCreated(node) {
    if (kindOf(node) === LOAD_STORY && !panels.has(node)) panels.set(node, new NodePanel(node));
  },
  loadedGraphNode(node) {
    panels.get(node)?.later();
  },
});
