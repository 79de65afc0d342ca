/** What the story editor asks the server, and where a Load Story node stands in its graph. */
import { api } from "../../../scripts/api.js";
import { everyNode, upstream } from "./common.js";

export const LOAD_STORY = "StoryMemLoadStory";
export const LOOP_OPEN = "StoryMemShotLoopOpen";
export const LOOP_CLOSE = "StoryMemShotLoopClose";
export const NO_FILE = "none";
const DEFAULT_PREFIX = "storymem";
const STORY_TYPES = new Set(["STORYMEM_STORY", "STORYMEM_FLOW", "*"]);

export const kindOf = (node) => node.comfyClass ?? node.type;

export function widgetOf(node, name) {
  return node.widgets?.find((widget) => widget.name === name);
}

/** Whether another node gives this input, so that the page does not know its value. */
export function isLinked(node, name) {
  return node.inputs?.some((input) => (input.widget?.name ?? input.name) === name && input.link != null);
}

/** The Load Story nodes that a loop node gets its story from. */
export function storyNodesOf(loopNode) {
  return [...upstream(loopNode, STORY_TYPES)].filter((node) => kindOf(node) === LOAD_STORY);
}

/** The folder in the output folder that the loop of this story writes to. */
export function prefixOf(storyNode) {
  for (const node of everyNode()) {
    if (kindOf(node) === LOOP_OPEN && storyNodesOf(node).includes(storyNode)) {
      return String(widgetOf(node, "filename_prefix")?.value || DEFAULT_PREFIX);
    }
  }
  return DEFAULT_PREFIX;
}

/** What stands on a Load Story node, as the server wants it. */
export function askedBy(node) {
  const value = (name) => String(widgetOf(node, name)?.value ?? "");
  const character = isLinked(node, "character") ? "" : value("character");
  return { script: value("script"), file: value("file") || NO_FILE, character, prefix: prefixOf(node) };
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
