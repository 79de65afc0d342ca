/** On any node: what an artist should know of it before the first shot, and why it stopped a story. */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { h, setText, useStyles } from "../shared/dom.js";
import { kindOf, nodeOfId } from "../shared/graph.js";
import { isOfThisPage, whenProgress } from "../shared/runs.js";
import { t } from "../shared/texts.js";

const WIDGET = "storymem_notice";
const HEIGHT = 84; // pixels: five lines, which scroll, and the host's margin of 10 around them
const LIFE_MS = 20_000; // of a message over the page
const LOOK_FOR_MS = 30_000;
const LOOK_EVERY_MS = 150;
const MOST = 3; // sentences in one message over the page
const boxes = new WeakMap(); // node -> NoticeBox
const loops = new Map(); // id of a loop's end -> the nodes that its notices are on
const failed = new Set(); // nodes that stopped a run, or that the host refused
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
      serialize: false, hideOnZoom: false, getMinHeight: () => HEIGHT, getMaxHeight: () => HEIGHT,
      getValue: () => "", setValue: () => {},
    });
    this.widget.serialize = false;
    const [, height] = node.computeSize();
    if (node.size[1] < height) node.setSize([node.size[0], height]);
  }

  show() {
    const { notice, error } = this.texts;
    setText(this.element, [error, notice].filter(Boolean).join("\n"));
    this.element.title = this.element.textContent;
    this.element.dataset.kind = error ? "error" : "notice";
    if (!notice && !error) this.remove();
    this.node.graph?.setDirtyCanvas?.(true, true);
  }

  remove() {
    const { node, widget } = this;
    boxes.delete(node);
    if (node.removeWidget) node.removeWidget(widget);
    else node.widgets.splice(node.widgets.indexOf(widget), 1);
    widget.onRemove?.();
    const [width, height] = this.before;
    node.setSize([Math.max(width, node.size[0]), Math.max(height, node.computeSize()[1])]);
  }
}

function put(node, kind, text) {
  if (!boxes.has(node)) {
    if (!text) return;
    boxes.set(node, new NoticeBox(node));
  }
  const box = boxes.get(node);
  box.texts[kind] = text;
  box.show();
}

const nameOf = (node) => node.title || kindOf(node);

function say(severity, summary, detail) {
  app.extensionManager?.toast?.add?.({ severity, summary, detail, life: LIFE_MS });
}

/** Notices of a loop: what is not among them any more goes. */
function showNotices({ loop, workflow, notices }) {
  if (!isOfThisPage(workflow)) return;
  const found = Object.entries(notices).map(([id, text]) => [nodeOfId(id), text]).filter(([node]) => node);
  const now = new Set(found.map(([node]) => node));
  for (const node of loops.get(loop) ?? []) if (!now.has(node)) put(node, "notice", "");
  loops.set(loop, now);
  for (const [node, text] of found) put(node, "notice", text);
  if (!found.length) return;
  const lines = found.flatMap(([node, text]) => text.split("\n").map((line) => `${nameOf(node)}: ${line}`));
  const more = lines.length > MOST ? [t("notices.more", { count: lines.length - MOST })] : [];
  say("warn", t("notices.title"), [...lines.slice(0, MOST), ...more].join("\n"));
}

/** Why a run stopped, on the node at fault and over the page: the host's own message is silent. */
function showErrors(found) {
  forgetErrors();
  for (const [node, text] of found) {
    failed.add(node);
    put(node, "error", text);
    say("error", nameOf(node), text);
  }
}

function showStop(promptId, node, message) {
  if (!node || !message || told === promptId) return;
  told = promptId;
  showErrors([[node, message]]);
}

function forgetErrors() {
  for (const node of failed) put(node, "error", "");
  failed.clear();
}

/** What nodes of this pack refused before anything ran; the host's own message hides the sentence. */
function refusals() {
  return Object.entries(app.lastNodeErrors ?? {}).flatMap(([id, { class_type: kind, errors }]) => {
    const node = nodeOfId(id);
    if (!node || !String(kind).startsWith("StoryMem")) return [];
    const own = (errors ?? []).filter(({ type }) => type === "custom_validation_failed");
    const sentences = own.map(({ details, extra_info: { input_name: name } = {} }) => {
      const prefix = `${name} - `;
      return String(details).startsWith(prefix) ? details.slice(prefix.length) : String(details);
    });
    return sentences.length ? [[node, [...new Set(sentences)].join("\n")]] : [];
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
    useStyles("story");
    api.addEventListener("storymem.notices", ({ detail }) => showNotices(detail));
    api.addEventListener("execution_error", ({ detail }) => {
      const node = nodeOfId(detail?.node_id);
      if (!String(kindOf(node) ?? "").startsWith("StoryMem")) return;
      showStop(detail.prompt_id, node, String(detail.exception_message ?? "").trim());
    });
    whenProgress((nodes, event) => {
      if (event?.state === "stopped" && event.at_fault) {
        showStop(event.prompt_id, nodeOfId(event.at_fault), event.message);
      }
    });
    api.addEventListener("execution_start", forgetErrors);
    api.addEventListener("promptQueueing", watchQueueing);
  },
});
