/** What the story editor asks the server, and where a Load Story node stands in its graph. */
import { api } from "../../../../scripts/api.js";
import { everyNode, linkOf, upstream } from "../shared/graph.js";

export const LOAD_STORY = "StoryMemLoadStory";
export const LOOP_OPEN = "StoryMemShotLoopOpen";
export const LOOP_CLOSE = "StoryMemShotLoopClose";
export const NO_FILE = "none";
const DEFAULT_PREFIX = "storymem";
const STORY_TYPES = new Set(["STORYMEM_STORY", "STORYMEM_FLOW", "*"]);

export const kindOf = (node) => node.comfyClass ?? node.type;

const SUBGRAPH_INPUT = "-10"; // the host's id for "comes from outside of this subgraph"

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

/** The folder in the output folder that the loop of this story writes to. */
export function prefixOf(storyNode) {
  for (const node of everyNode()) {
    if (kindOf(node) === LOOP_OPEN && storyNodesOf(node).includes(storyNode)) {
      return String(holderOf(node, "filename_prefix")?.widget.value || DEFAULT_PREFIX);
    }
  }
  return DEFAULT_PREFIX;
}

/** What stands on a Load Story node, as the server wants it; `null` when another node gives it. */
export function askedBy(node) {
  const value = (name) => holderOf(node, name)?.widget.value;
  const [script, file] = [value("script"), value("file")];
  if (script === undefined || file === undefined) return null;
  const character = String(value("character") ?? "");
  return { script: String(script ?? ""), file: String(file || NO_FILE), character, prefix: prefixOf(node) };
}

/** A script as rows with their states. Throws only when the server does not answer. */
export async function readStory(asked) {
  return post("/storymem/story", asked);
}

/** Rows as the text of a script. */
export async function writeScript(view, asked) {
  const { character, prefix, file } = asked;
  const named = file && file !== NO_FILE ? file.replace(/^.*\//, "").replace(/\.[^.]*$/, "") : "";
  return post("/storymem/script", { ...view, node_character: character, prefix, default_name: named });
}

export function posterOf(video) {
  const label = /^shot_(\d+_\d+)\.mp4$/.exec(video.filename)?.[1] ?? "";
  const query = new URLSearchParams({ folder: video.subfolder, shot: label, size: 256, v: video.version });
  return api.apiURL(`/storymem/poster?${query}`);
}

async function post(path, body) {
  const answer = await api.fetchApi(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()).slice(0, 200)}`);
  return answer.json();
}
