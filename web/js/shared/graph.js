/** The host's graph: its nodes, and what feeds them. */
import { nodesOf, rootGraph } from "./host.js";

export const CHOOSE_MEMORY = "StoryMemChooseMemory";
export const LOAD_STORY = "StoryMemLoadStory";
export const LOOP_OPEN = "StoryMemShotLoopOpen";
export const LOOP_CLOSE = "StoryMemShotLoopClose";
export const MEMORY_BANK = "StoryMemMemoryBank";
export const PREVIEW_BANK = "StoryMemPreviewMemoryBank";
export const REHEARSAL = "StoryMemRehearsal";
export const REMEMBER = "StoryMemRemember";

const STORY_TYPES = new Set(["STORYMEM_STORY", "STORYMEM_FLOW", "*"]);

export const NO_ID = "00000000-0000-0000-0000-000000000000"; // of a graph that was never a file

/** The host's events of which a prompt's last one is. */
export const PROMPT_ENDS = ["execution_success", "execution_error", "execution_interrupted"];

export const kindOf = (node) => node?.comfyClass ?? node?.constructor?.comfyClass ?? node?.type;

/** Every node of a graph and of the subgraphs in it. */
export function* everyNode(graph = rootGraph(), seen = new Set()) {
  if (!graph || seen.has(graph)) return;
  seen.add(graph);
  for (const node of nodesOf(graph)) {
    yield node;
    if (node.subgraph) yield* everyNode(node.subgraph, seen);
  }
}

/** Whether a node is in the graph that is shown: those of a workflow that was left keep theirs. */
export function isThere(node) {
  for (const one of everyNode()) if (one === node) return true;
  return false;
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

function linkOf(graph, id) {
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

/**
 * The widget that holds an input's value, as {node, widget}: the node's own, or that of the subgraph
 * node which shows it outside. `null` when another node gives the value, which the page cannot know.
 */
export function holderOf(node, name) {
  const index = node.inputs?.findIndex((input) => (input.widget?.name ?? input.name) === name) ?? -1;
  const link = index < 0 || node.inputs[index].link == null ? null : linkOf(node.graph, node.inputs[index].link);
  if (!link) {
    const widget = node.widgets?.find((found) => found.name === name);
    return widget ? { node, widget } : null;
  }
  if (String(link.origin_id) !== SUBGRAPH_INPUT) return null;
  const outside = [...everyNode()].filter((found) => found.subgraph === node.graph);
  const input = outside[0]?.inputs?.[link.origin_slot];
  if (outside.length !== 1 || !input) return null; // of several copies, nobody knows which is meant
  return holderOf(outside[0], input.widget?.name ?? input.name);
}

/** The Load Story nodes that a loop node gets its story from. */
export function storyNodesOf(loopNode) {
  return [...upstream(loopNode, STORY_TYPES)].filter((node) => kindOf(node) === LOAD_STORY);
}
