/** Runs of stories that the server tells of, by the nodes that they concern. */
import { NO_ID, everyNode, nodeOfId, storyNodesOf } from "./graph.js";
import { rootGraph } from "./host.js";

const ENDED = ["stopped", "done"];
const runs = new WeakMap(); // Load Story node -> the latest event of its run
const listeners = new Set();
let heard = 0;

/** How much was heard of runs so far: what was asked for before the latest word may be stale. */
export function heardSoFar() {
  return heard;
}

/** `listener(loadStoryNodes, event)` is called for every event; `null` when a run ended untold. */
export function whenProgress(listener) {
  listeners.add(listener);
}

/** The latest event of a Load Story node's run in progress of the script marked so; `null` without
 * one, or when it is of another script: the artist went on writing. */
export function runOf(node, script) {
  const run = runs.get(node);
  return run && run.script === script ? run : null;
}

/** The latest event of a Load Story node's run in progress, of whatever script. */
export function latestRun(node) {
  return runs.get(node) ?? null;
}

export function isEnded(event) {
  return ENDED.includes(event.state);
}

/** Whether a shot in this state, as the server says it, is there and stays. */
export function isFinished(state) {
  return ["done", "locked", "chosen"].includes(state);
}

/** Whether a workflow's id is that of the one shown; another tab's nodes may have the same numbers. */
export function isOfThisPage(workflow) {
  const known = workflow && workflow !== NO_ID && rootGraph()?.id;
  return !known || workflow === rootGraph().id;
}

/** Take up an event of the server; the loop's nodes, or `null` when it is of another workflow. */
export function takeUp(event) {
  const open = nodeOfId(event.open);
  const close = nodeOfId(event.node);
  if (!open || !close || !isOfThisPage(event.workflow)) return null;
  heard += 1;
  event.at = Date.now();
  const nodes = storyNodesOf(open);
  for (const node of nodes) {
    if (isEnded(event)) runs.delete(node);
    else runs.set(node, event);
  }
  for (const listener of listeners) listener(nodes, event);
  return { open, close, nodes };
}

/** Forget the runs of a prompt that ended; their loop may have been taken out of the graph. */
export function forgetPrompt(id) {
  const left = [...everyNode()].filter((node) => runs.has(node) && runs.get(node).prompt_id === id);
  if (left.length) forget(left);
}

/** Forget a run whose end nobody told of, such as after a crash of the server. */
export function forget(nodes) {
  heard += 1;
  for (const node of nodes) runs.delete(node);
  for (const listener of listeners) listener(nodes, null);
}
