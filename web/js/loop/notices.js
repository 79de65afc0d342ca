/** On any node: what an artist should know of it before the first shot, and why it stopped a story. */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { h, setText } from "../shared/dom.js";
import { kindOf, nodeOfId } from "../shared/graph.js";
import { nodeErrors, rootGraph, shownTab } from "../shared/host.js";
import { isOfThisPage, whenProgress } from "../shared/runs.js";
import { serverText } from "../shared/server_text.js";
import { t } from "../shared/texts.js";
import { areSame, askedValues } from "./asked_values.js";

const WIDGET = "storymem_notice";
const LINE = 16; // pixels, like the two below
const LETTER = 6.2; // wide, about
const MARGIN = 24; // around the lines: the host's and the note's own
const LINES = [3, 9]; // least and most; what is longer scrolls
const LIFE_MS = 20_000; // of a message over the page
const LOOK_FOR_MS = 30_000;
const LOOK_EVERY_MS = 150;
const TAB_MS = [100, 500, 2000, 6000]; // after its nodes are there the host says which workflow is shown
const STALE_MS = 300; // an error goes that soon after what gave it was changed
const SETTLE_MS = 500; // by then Nodes 2.0 has made a node as high as what it shows
const MOST = 3; // sentences in one message over the page
const boxes = new WeakMap(); // node -> NoticeBox
const loops = new Map(); // id of a loop's end -> the nodes that its notices are on
const failed = new Set(); // nodes that stopped a run, or that the host refused
const kept = new Map(); // a loop's end in a workflow, or its errors -> notes, for nodes that are made anew
const back = []; // what came back last
let looking = 0; // timer that looks whether errors are still true
const workflows = new Map(); // id of a prompt -> id of its workflow
let told = ""; // id of the prompt whose error was told

/** A note below a node's widgets. It goes with its reason, and the node is as high as before. */
class NoticeBox {
  constructor(node) {
    this.node = node;
    this.before = [...node.size];
    this.texts = { notice: "", error: "" };
    this.element = h("div", { class: "sm-notice-on-node", role: "note", tabindex: "0" });
    this.element.addEventListener("wheel", (event) => {
      if (this.element.scrollHeight > this.element.clientHeight && !event.ctrlKey) event.stopPropagation();
    });
    this.widget = node.addDOMWidget(WIDGET, "storymem", this.element, {
      hideInPanel: true, serialize: false, hideOnZoom: false, getMinHeight: () => this.room(), getMaxHeight: () => this.room(),
      getValue: () => "", setValue: () => {},
    });
    this.widget.serialize = false;
    this.keepOutOfFiles();
  }

  /** How high the note is: what to do stands at the end of its sentences. */
  room() {
    const letters = Math.max(1, (this.node.size[0] - 2 * MARGIN) / LETTER);
    const lines = this.element.textContent.split("\n").map((line) => Math.ceil(line.length / letters));
    return Math.min(LINES[1], Math.max(LINES[0], lines.reduce((sum, n) => sum + n, 0))) * LINE + MARGIN;
  }

  /** Make the node as high as it needs to be, and no higher than it was without the note. */
  fit() {
    const { node } = this;
    const least = node.computeSize()[1];
    if (this.height === undefined || this.isAsMade()) node.setSize([node.size[0], Math.max(this.before[1], least)]);
    else if (node.size[1] < least) node.setSize([node.size[0], least]);
    else return;
    this.height = node.size[1];
    setTimeout(() => { this.height = node.size[1]; }, SETTLE_MS);
  }

  /** Whether the node is still as high as the note made it. */
  isAsMade() {
    return this.height !== this.before[1] && this.node.size[1] === this.height;
  }

  /** A saved workflow, the host's mark that it changed and its undo know nothing of the note. */
  keepOutOfFiles() {
    const { node } = this;
    const own = Object.hasOwn(node, "onSerialize");
    const others = node.onSerialize;
    const write = (data) => {
      const answer = others?.call(node, data);
      if (boxes.get(node) === this && this.isAsMade()) data.size = [node.size[0], this.before[1]];
      return answer;
    };
    node.onSerialize = write;
    this.letGo = () => {
      if (node.onSerialize !== write) return; // somebody built on it: it does nothing any more
      if (own) node.onSerialize = others;
      else delete node.onSerialize;
    };
  }

  show() {
    const { notice, error } = this.texts;
    setText(this.element, [error, notice].filter(Boolean).join("\n"));
    this.element.title = this.element.textContent;
    this.element.dataset.kind = error ? "error" : "notice";
    if (notice || error) this.fit();
    else this.remove();
    this.node.graph?.setDirtyCanvas?.(true, true);
  }

  remove() {
    const { node, widget } = this;
    const height = this.isAsMade() ? this.before[1] : node.size[1];
    boxes.delete(node);
    this.letGo();
    if (node.removeWidget) node.removeWidget(widget);
    else node.widgets.splice(node.widgets.indexOf(widget), 1);
    widget.onRemove?.();
    node.setSize([node.size[0], Math.max(height, node.computeSize()[1])]);
  }
}

function put(node, kind, text) {
  if (!boxes.has(node)) {
    if (!text) return;
    boxes.set(node, new NoticeBox(node));
  }
  const box = boxes.get(node);
  if (box.texts[kind] === text) return;
  box.texts[kind] = text;
  box.show();
}

/** A node as the artist knows it, behind the subgraphs that it is in. */
function nameOf(id) {
  const parts = String(id).split(":");
  const nodes = parts.map((_, i) => nodeOfId(parts.slice(0, i + 1).join(":")));
  return nodes.map((node) => node?.title || kindOf(node)).join(" \u203a ");
}

function say(severity, summary, detail) {
  app.extensionManager?.toast?.add?.({ severity, summary, detail, life: LIFE_MS });
}

/** The host makes nodes anew after undo and after another tab was shown: their notes come back. */
function showKept() {
  const here = [shownTab(), rootGraph()?.id];
  for (const { workflow, kind, node } of back.splice(0)) {
    if (!here.includes(workflow)) put(node, kind, ""); // the host had not said yet
  }
  for (const { workflow, kind, loop, notes } of kept.values()) {
    if (!workflow || !here.includes(workflow)) continue;
    const found = notes.map(([id, text, nodeKind, asked]) => [nodeOfId(id), text, nodeKind, asked])
      .filter(([node, , nodeKind]) => node && (!nodeKind || kindOf(node) === nodeKind))
      .filter(([node, , , asked]) => !asked || areSame(asked, askedValues(node)));
    for (const [node, text] of found) put(node, kind, text);
    back.push(...found.map(([node]) => ({ workflow, kind, node })));
    if (kind === "notice") loops.set(loop, new Set(found.map(([node]) => node)));
    else for (const [node] of found) failed.add(node);
  }
}

/** Notices of a loop: what is not among them any more goes. */
function showNotices({ loop, workflow, notices }) {
  const isHere = isOfThisPage(workflow);
  const of = isHere ? shownTab() : workflow;
  const notes = Object.entries(notices).map(([id, text]) => [id, serverText(text), isHere ? kindOf(nodeOfId(id)) : ""]);
  kept.set(`${of} ${loop}`, { workflow: of, kind: "notice", loop, notes });
  if (!isHere) return;
  const found = Object.entries(notices).map(([id, text]) => [nodeOfId(id), serverText(text), id]).filter(([node]) => node);
  const now = new Set(found.map(([node]) => node));
  for (const node of loops.get(loop) ?? []) if (!now.has(node)) put(node, "notice", "");
  loops.set(loop, now);
  for (const [node, text] of found) put(node, "notice", text);
  if (!found.length) return;
  const lines = found.flatMap(([, text, id]) => text.split("\n").map((line) => `${nameOf(id)}: ${line}`));
  const more = lines.length > MOST ? [t("notices.more", { count: lines.length - MOST })] : [];
  say("warn", t("notices.title"), [...lines.slice(0, MOST), ...more].join("\n"));
}

/** Why a run stopped, on the node at fault and over the page: the host's own message is silent. */
function showErrors(errors) {
  const found = errors.map(([id, text]) => [id, serverText(text)]);
  forgetErrors();
  const workflow = shownTab();
  const notes = found.map(([id, text]) => [id, text, kindOf(nodeOfId(id)), askedValues(nodeOfId(id))]);
  kept.set(workflow, { workflow, kind: "error", notes });
  looking ||= setInterval(showTrueErrors, STALE_MS);
  for (const [id, text] of found) {
    const node = nodeOfId(id);
    failed.add(node);
    put(node, "error", text);
    say("error", nameOf(id), text);
  }
}

/** An error goes when what its node is asked with was changed since, and is back when that is. */
function showTrueErrors() {
  const known = [...kept.values()].filter(({ kind }) => kind === "error");
  const here = known.find(({ workflow }) => workflow === shownTab());
  for (const [id, text, nodeKind, asked] of here?.notes ?? []) {
    const node = nodeOfId(id);
    if (!node || kindOf(node) !== nodeKind) continue;
    const isTrue = areSame(asked, askedValues(node));
    if (isTrue) failed.add(node);
    put(node, "error", isTrue ? text : "");
  }
  if (known.length) return;
  clearInterval(looking);
  looking = 0;
}

function showStop(promptId, id, message) {
  if (!nodeOfId(id) || !message || told === promptId) return;
  told = promptId;
  showErrors([[id, message]]);
}

function forgetErrors() {
  kept.delete(shownTab());
  for (const node of failed) put(node, "error", "");
  failed.clear();
}

/** What nodes of this pack refused before anything ran; the host's own message hides the sentence. */
function refusals() {
  return Object.entries(nodeErrors()).flatMap(([id, { class_type: kind, errors }]) => {
    const node = nodeOfId(id);
    if (!node || !String(kind).startsWith("StoryMem")) return [];
    const own = (errors ?? []).filter(({ type }) => type === "custom_validation_failed");
    const sentences = own.map(({ details, extra_info: { input_name: name } = {} }) => {
      const prefix = `${name} - `;
      return String(details).startsWith(prefix) ? details.slice(prefix.length) : String(details);
    });
    return sentences.length ? [[id, [...new Set(sentences)].join("\n")]] : [];
  });
}

/** The host tells nobody that it refused a prompt: look for it, until it was accepted. */
async function watchQueueing() {
  forgetErrors();
  let isOver = false;
  api.addEventListener("promptQueued", () => { isOver = true; }, { once: true });
  const end = Date.now() + LOOK_FOR_MS;
  while (!isOver && Date.now() < end) {
    await new Promise((done) => setTimeout(done, LOOK_EVERY_MS));
    const found = refusals();
    if (found.length) return showErrors(found);
  }
}

app.registerExtension({
  name: "StoryMem.Notices",
  setup() {
    api.addEventListener("storymem.notices", ({ detail }) => showNotices(detail));
    api.addEventListener("storymem.progress", ({ detail }) => workflows.set(detail.prompt_id, detail.workflow));
    api.addEventListener("execution_error", ({ detail }) => {
      const node = nodeOfId(detail?.node_id);
      const isSame = kindOf(node) === detail.node_type && isOfThisPage(workflows.get(detail.prompt_id));
      if (!isSame || !String(kindOf(node) ?? "").startsWith("StoryMem")) return;
      showStop(detail.prompt_id, detail.node_id, String(detail.exception_message ?? "").trim());
    });
    whenProgress((nodes, event) => {
      if (event?.state === "started") forgetErrors(); // of the run before it; other workflows keep theirs
      if (event?.state === "stopped" && event.at_fault) {
        showStop(event.prompt_id, event.at_fault, event.message);
      }
    });
    api.addEventListener("promptQueueing", watchQueueing);
  },
  afterConfigureGraph() {
    for (const wait of TAB_MS) setTimeout(showKept, wait);
  },
});
