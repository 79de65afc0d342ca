/** What the pack's widgets share: elements, the host's graph, and telling the host of changes. */
import { app } from "../../../../scripts/app.js";

export const NO_ID = "00000000-0000-0000-0000-000000000000"; // of a graph that was never a file

/** The host's events of which a prompt's last one is. */
export const PROMPT_ENDS = ["execution_success", "execution_error", "execution_interrupted"];

/** `h("button", { class: "x", onclick: f, "aria-label": "y" }, "text", child)`; text stays text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/**
 * Change an element's text. An element that comes or goes, a text too, has the browser look through
 * the whole page for what the host's `:has()` rules mean; a text that changes has not.
 */
export function setText(element, text) {
  const [node] = element.childNodes;
  if (element.childNodes.length !== 1 || node.nodeType !== Node.TEXT_NODE) element.textContent = text;
  else if (node.data !== text) node.data = text;
}

/** Load a style sheet of this pack once, whatever its folder is called. */
export function useStyles(name) {
  const href = new URL(`../../css/${name}.css`, import.meta.url).href;
  if (!document.head.querySelector(`link[href="${href}"]`)) {
    document.head.append(h("link", { rel: "stylesheet", href }));
  }
}

/** The workflow's outermost graph. */
export function rootGraph() {
  return app.rootGraph ?? app.graph;
}

/** Every node of a graph and of the subgraphs in it. */
export function* everyNode(graph = rootGraph(), seen = new Set()) {
  if (!graph || seen.has(graph)) return;
  seen.add(graph);
  for (const node of graph._nodes ?? graph.nodes ?? []) {
    yield node;
    if (node.subgraph) yield* everyNode(node.subgraph, seen);
  }
}

/** The node that a server's id means: "5", or "12:5" for node 5 in the subgraph node 12. */
export function nodeOfId(id) {
  let graph = rootGraph();
  let node = null;
  for (const part of String(id).split(":")) {
    if (!graph) return null;
    node = graph.getNodeById(part) ?? graph.getNodeById(Number(part)) ?? null;
    graph = node?.subgraph;
  }
  return node;
}

export function linkOf(graph, id) {
  return id == null ? null : graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id] ?? null;
}

const SUBGRAPH_INPUT = "-10"; // the host's id for "comes from outside of this subgraph"

/**
 * The outputs that feed input `index` of `node`, as [node, output slot] of real nodes: links into
 * and out of subgraphs are followed. A subgraph that stands in several places has several.
 */
export function sourcesOf(node, index) {
  const found = [];
  const seen = new Set();
  const fromLink = (graph, linkId) => {
    const link = linkOf(graph, linkId);
    if (!link || seen.has(link)) return;
    seen.add(link);
    if (String(link.origin_id) === SUBGRAPH_INPUT) {
      for (const outer of everyNode()) {
        if (outer.subgraph === graph) fromLink(outer.graph, outer.inputs?.[link.origin_slot]?.link);
      }
      return;
    }
    const origin = graph.getNodeById(link.origin_id);
    if (!origin) return;
    if (!origin.subgraph) {
      found.push([origin, link.origin_slot]);
      return;
    }
    const output = origin.subgraph.outputs?.[link.origin_slot];
    for (const inner of output?.linkIds ?? []) fromLink(origin.subgraph, inner);
  };
  fromLink(node.graph, node.inputs?.[index]?.link);
  return found;
}

/** Nodes upstream of `node` along links of these types, nearest first; `stop(node)` ends a branch. */
export function* upstream(node, types, stop = () => false) {
  const seen = new Set([node]);
  const waiting = [node];
  while (waiting.length) {
    const here = waiting.shift();
    if (here !== node) {
      yield here;
      if (stop(here)) continue;
    }
    (here.inputs ?? []).forEach((input, index) => {
      if (!types.has(input.type)) return;
      for (const [source] of sourcesOf(here, index)) {
        if (!seen.has(source)) {
          seen.add(source);
          waiting.push(source);
        }
      }
    });
  }
}

/** Tell the host that the workflow changed: undo, the "modified" mark, and the kept draft. */
export function noteChange() {
  const tracker = app.extensionManager?.workflow?.activeWorkflow?.changeTracker;
  const capture = tracker?.captureCanvasState ?? tracker?.checkState;
  capture?.call(tracker);
}

/** Run `task` once, soon, however often it is asked for. */
export function soon(task) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      task();
    });
  };
}
