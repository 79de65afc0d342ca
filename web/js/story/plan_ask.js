/** Asking what the next run will make: with the prompt as the page would queue it, one at a time. */
import { app } from "../../../../scripts/app.js";
import { LOOP_CLOSE, LOOP_OPEN, everyNode, kindOf, nodeOfId, storyNodesOf, upstream } from "../shared/graph.js";
import { rootGraph, whenChanged } from "../shared/host.js";
import { post } from "../shared/server.js";
import { NO_FILE } from "./api.js";

const BEGIN_STORY = "StoryMemBeginStory";
const FLOW = new Set(["STORYMEM_FLOW"]);
export const RUNS = 0; // a node's mode that is neither muted nor bypassed
const LOOK_AFTER_MS = 60; // one change is told several times
let last = Promise.resolve(); // what was asked last

/** Whether a node begins a loop over a story's shots. */
export const isLoop = (node) => [LOOP_OPEN, BEGIN_STORY].includes(kindOf(node));

/** The loops that get their story from a Load Story node; those that run come first. */
export function loopsOf(storyNode) {
  const found = [...everyNode()].filter((node) => isLoop(node) && storyNodesOf(node).includes(storyNode));
  return found.sort((a, b) => (a.mode === RUNS ? 0 : 1) - (b.mode === RUNS ? 0 : 1));
}

/** The loop that a node begins, or ends. */
export function loopOf(node) {
  if (isLoop(node)) return node;
  return kindOf(node) === LOOP_CLOSE ? [...upstream(node, FLOW)].find(isLoop) ?? null : null;
}

/** What the server calls a node: "5", or "12:5" in a subgraph, once for each place of that. */
export function idsOf(node) {
  if (node.graph === rootGraph()) return [String(node.id)];
  const around = [...everyNode()].filter((outer) => outer.subgraph && outer.subgraph === node.graph);
  return around.flatMap((outer) => idsOf(outer).map((id) => `${id}:${node.id}`));
}

/**
 * What the next run of a loop will do; `graph` is what it was asked with, as text. `change` has a
 * Load Story `node` and the `script` to put there instead of what stands on it. Of several
 * questions, each waits for the one before it; `null` for one that is not `isWanted` then. Throws
 * when the server does not answer.
 */
export function askPlan(loop, how = {}) {
  const answer = last.then(() => askNow(loop, how));
  last = answer.catch(() => {});
  return answer;
}

async function askNow(loop, { change = null, signal, isWanted = () => true }) {
  signal?.throwIfAborted();
  if (!isWanted()) return null;
  const { output, workflow, graph } = await writeGraph();
  if (change) {
    for (const id of idsOf(change.node)) {
      if (output[id]) Object.assign(output[id].inputs, { script: change.script, file: NO_FILE });
    }
  }
  const ids = idsOf(loop);
  const node = ids.find((id) => output[id]) ?? ids[0] ?? "";
  const plan = await post("/storymem/plan", { prompt: output, node, workflow }, { signal });
  return { ...plan, seedsMove: seedsMove(output), graph };
}

/** The workflow as it goes to the server, and that as text. */
async function writeGraph() {
  const { output, workflow } = await app.graphToPrompt();
  return { output, workflow, graph: JSON.stringify(output) };
}

/** Whether seeds change before a run, so that nobody knows them. */
function seedsMove(output) {
  if (app.extensionManager?.setting?.get?.("Comfy.WidgetControlMode") !== "before") return false;
  return Object.keys(output).some((id) => (nodeOfId(id)?.widgets ?? []).some(({ name, value }) =>
    /^control_(after|before)_generate$/.test(name ?? "") && value !== "fixed"));
}

/**
 * Whether to ask unasked would do more than look: a node that acts when it is written for a run, as a
 * camera takes its picture and a 3D view is drawn and uploaded.
 */
export function actsWhenWritten() {
  const isAsync = ({ serializeValue }) => serializeValue?.constructor?.name === "AsyncFunction";
  return [...everyNode()].some(({ widgets }) => widgets?.some(isAsync));
}

/** Tells `then(graph)` after a change of the workflow what goes to the server of it, as text;
 * nothing while it is not wanted, as during a run, which keeps the draft every few seconds. */
export class GraphWatch {
  constructor(then, isWanted = () => true) {
    Object.assign(this, { then, isWanted });
    this.end = whenChanged(() => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.look(), LOOK_AFTER_MS);
    });
  }

  async look() {
    if (![...everyNode()].some(isLoop)) return void this.then("");
    if (!this.isWanted() || actsWhenWritten()) return;
    try {
      this.then((await writeGraph()).graph);
    } catch {
      // a node that cannot be written now, as one without its picture: a run says so
    }
  }

  stop() {
    clearTimeout(this.timer);
    this.end();
  }
}
