/** What the story editor asks the server. */
import { api } from "../../../../scripts/api.js";
import { LOOP_OPEN, everyNode, holderOf, kindOf, storyNodesOf } from "../shared/graph.js";
import { post } from "../shared/server.js";

export const NO_FILE = "none";
const DEFAULT_PREFIX = "storymem";

/** The folder in the output folder that the loop of this story writes to; `null` without a loop. */
export function loopPrefix(storyNode) {
  for (const node of everyNode()) {
    if (kindOf(node) === LOOP_OPEN && storyNodesOf(node).includes(storyNode)) {
      return String(holderOf(node, "filename_prefix")?.widget.value || DEFAULT_PREFIX);
    }
  }
  return null;
}

/** The same, and without a loop that of a new one. */
export function prefixOf(storyNode) {
  return loopPrefix(storyNode) ?? DEFAULT_PREFIX;
}

/** The pass that the loop of this story makes; the film where there is no loop. */
export function loopPass(storyNode) {
  for (const node of everyNode()) {
    if (kindOf(node) === LOOP_OPEN && storyNodesOf(node).includes(storyNode)) {
      return String(holderOf(node, "pass")?.widget.value || "film");
    }
  }
  return "film";
}

/** What stands on a Load Story node, as the server wants it; `null` when another node gives it. */
export function askedBy(node) {
  const value = (name) => holderOf(node, name)?.widget.value;
  const [script, file] = [value("script"), value("file")];
  if (script === undefined || file === undefined) return null;
  const character = String(value("character") ?? "");
  const where = { prefix: prefixOf(node), pass: loopPass(node) };
  return { script: String(script ?? ""), file: String(file || NO_FILE), character, ...where };
}

/** A script as rows with their states. Throws only when the server does not answer. */
export async function readStory(asked) {
  return { ...(await post("/storymem/story", asked)), at: Date.now() };
}

/** Rows as the text of a script. */
export async function writeScript(view, asked) {
  const { character, prefix, file, pass = "film" } = asked;
  const named = file && file !== NO_FILE ? file.replace(/^.*\//, "").replace(/\.[^.]*$/, "") : "";
  return post("/storymem/script", { ...view, node_character: character, prefix, pass, default_name: named });
}

/** What the shots to be made will take, and since when: as a run in progress tells, or an answer. */
export function timeOf(answer, run) {
  return run ? [run.time_left, run.at] : [answer?.times?.waiting, 0];
}

/** How many takes each shot of a script has, and those of the shot `index`, unless that is null. */
export async function listTakes(script, index) {
  return post("/storymem/takes", { ...script, shot: index });
}

export async function removeTake(script, key, isMeant) {
  return post("/storymem/takes/remove", { ...script, key, remove: isMeant });
}

/** What of a story no film uses; with `isMeant`, it is removed. */
export async function cleanTakes(script, isMeant) {
  return post("/storymem/takes/clean", { ...script, remove: isMeant });
}

const posters = new WeakMap(); // video -> address, which the table and the timeline ask for

export function posterOf(video) {
  if (!posters.has(video)) posters.set(video, addressOfPoster(video));
  return posters.get(video);
}

function addressOfPoster(video) {
  const record = /(?:^|\/)shots\/[0-9a-f]{2}\/([0-9a-f]{64})$/.exec(video.subfolder)?.[1];
  if (record) return api.apiURL(`/storymem/poster?${new URLSearchParams({ record, size: 256, v: video.version })}`);
  const label = /^shot_(\d+_\d+(?: new(?: \d+)?)?)\.mp4$/.exec(video.filename)?.[1] ?? "";
  const query = new URLSearchParams({ folder: video.subfolder, shot: label, size: 256, v: video.version });
  return api.apiURL(`/storymem/poster?${query}`);
}
