/**
 * What this pack knows of the page beyond what the host offers to extensions. Each use looks whether
 * the host is as expected, says once what it costs if not, and goes on without.
 */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";

const said = new Set();

function warnOnce(what, cost) {
  if (said.has(what)) return;
  said.add(what);
  console.warn(`StoryMem: this ComfyUI does not have ${what} in the expected place; ${cost}.`);
}

/** The workflow's outermost graph. */
export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/** What tells the shown workflow from others: its tab's, as undo may change its id. */
export function shownTab() {
  return app.extensionManager?.workflow?.activeWorkflow?.path || rootGraph()?.id || "";
}

/** A name for a new tab, after `title`, under which nothing is saved, and nothing changed unsaved. */
export function freeTabName(title) {
  const tabs = app.extensionManager?.workflow;
  const isTaken = (name) => {
    const known = tabs?.getWorkflowByPath?.(`workflows/${name}.json`);
    return Boolean(known?.isPersisted || known?.isModified);
  };
  let name = title;
  for (let number = 2; isTaken(name); number += 1) name = `${title} (${number})`;
  return name;
}

/** The nodes of a graph, without those in its subgraphs. */
export function nodesOf(graph) {
  const nodes = graph._nodes ?? graph.nodes;
  if (!nodes) warnOnce("the nodes of a graph", "its nodes get no gallery and no story editor");
  return nodes ?? [];
}

/** Whether the host itself shows pictures or a film that a node gave, below its widgets. */
export function isShownByHost(node) {
  const { graph } = node;
  const isInside = graph && graph !== rootGraph();
  const given = app.nodeOutputs?.[isInside ? `${graph.id}:${node.id}` : String(node.id)];
  return Boolean(given?.images?.length);
}

/** What the host says against the workflow that was queued last, by node id. */
export function nodeErrors() {
  return app.extensionManager?.lastNodeErrors ?? app.lastNodeErrors ?? {};
}

const badges = new WeakMap(); // node -> its badge of this pack

/**
 * A few words over a node on the classic canvas, also while it is folded; none takes them away. In
 * Nodes 2.0 a badge stays as it was when the node came, so it gets none.
 */
export function showBadge(node, text, colour) {
  const LGraphBadge = window.LGraphBadge ?? window.LiteGraph?.LGraphBadge;
  if (!LGraphBadge || !node.drawBadges || !Array.isArray(node.badges)) {
    if (text) warnOnce("badges on nodes", "a folded Load Story does not tell what is wrong with its script");
    return;
  }
  if (!badges.has(node)) drawBadgeOf(node);
  badges.set(node, text ? new LGraphBadge({ text, bgColor: colour, fgColor: "#fff" }) : null);
  node.graph?.setDirtyCanvas?.(true, true);
}

function drawBadgeOf(node) {
  const draw = node.drawBadges;
  node.drawBadges = function (...how) {
    const [own, others] = [badges.get(node), this.badges];
    if (own) this.badges = [...others, own];
    try {
      return draw.apply(this, how);
    } finally {
      if (own) this.badges = others;
    }
  };
}

/** The version of the page that is shown, which may be another than the installed package's. */
export function frontEndVersion() {
  return String(window.__COMFYUI_FRONTEND_VERSION__ ?? "");
}

/** Names of files that the host did not find in its lists when it refused the last prompt. */
export function missingFiles() {
  const errors = Object.values(nodeErrors()).flatMap((node) => node.errors ?? []);
  const unlisted = errors.filter(({ type }) => type === "value_not_in_list").map(({ extra_info: asked }) => asked?.received_value);
  return [...new Set(unlisted.filter((value) => typeof value === "string" && /\.\w+$/.test(value)))];
}

const watching = new Set(); // who is told of changes of the workflow

/** `listener()` is called after a change of the workflow, by the artist or by this pack; the end of it. */
export function whenChanged(listener) {
  if (!watching.size) api.addEventListener("graphChanged", tellChange);
  watching.add(listener);
  return () => watching.delete(listener);
}

function tellChange() {
  for (const listener of watching) listener();
}

/** Tell the host that the workflow changed: undo, the "modified" mark, and the kept draft. */
export function noteChange() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  const capture = tracker?.captureCanvasState ?? tracker?.checkState;
  if (capture) capture.call(tracker);
  tellChange(); // also where the host says nothing
  if (!capture) warnOnce("its record of changes", "what is changed in the gallery or the story editor is undone only together with the next change of the graph");
}

/** Have `then` called after what a node does at one of the host's calls. */
export function chain(node, name, then) {
  const before = node[name];
  node[name] = function (...values) {
    const result = before?.apply(this, values);
    then(...values);
    return result;
  };
}
