/** What is done with a story of the list: watch it, edit it where it belongs, go on with it. */
import { app } from "../../../../scripts/app.js";
import { LOAD_STORY } from "../shared/graph.js";
import { freeTabName } from "../shared/host.js";
import { watch } from "../shared/screen.js";
import { get } from "../shared/server.js";
import { CONFIRM, confirmed, setting } from "../shared/settings.js";
import { t } from "../shared/texts.js";
import { NO_FILE, askedBy, loopPrefix, readStory } from "../story/api.js";
import { everyPanel, panelOf } from "../story/extension.js";
import { boardOf } from "../story/passes.js";
import { say } from "./host_dialogs.js";

const SIZE = [440, 500]; // pixels of a Load Story that is made here

/** What the server says about one story. */
function about(what, { folder }) {
  return get(`/storymem/library/${what}?${new URLSearchParams({ folder })}`);
}

async function watchStory(story) {
  const { shots } = await about("story", story);
  if (shots.some(({ video }) => video)) watch(() => shots);
  else say(t("desk.nothing", story));
}

// --- editing -----------------------------------------------------------------------------------

async function editStory(story) {
  const { script, error } = await about("story", story);
  if (!script) return say(t("desk.failed", { why: error }), "warn");
  const panel = (await panelOfStory(story)) ?? (await openedFor(story, script)) ?? panelFor(script);
  const now = askedBy(panel.node);
  const isOther = now.script !== script && (now.script.trim() || now.file !== NO_FILE);
  if (isOther && !confirmed(t("desk.replace", story))) return undefined;
  panel.save(script);
  return panel.edit(await whereItLies(panel, story), story.pass);
}

/** Those whose script is written on the node. */
function writtenPanels() {
  return everyPanel().filter(({ node }) => askedBy(node));
}

/** The Load Story here whose loop writes to the story's folder, with `script` in place of its own. */
async function panelOfStory({ film_folder: folder }, script = null) {
  for (const panel of writtenPanels()) {
    if (loopPrefix(panel.node) === null) continue;
    const asked = { ...askedBy(panel.node), ...(script !== null && { script, file: NO_FILE }) };
    if ((await readStory(asked)).folder === folder) return panel;
  }
  return null;
}

/** The Load Story of the workflow that a story was made with, opened in a tab of its own, with the
 * folder's script on it; `null` where the films hold no workflow. */
async function openedFor(story, script) {
  const graph = await about("graph", story);
  if (!graph.workflow && !graph.prompt) return null;
  await openGraph(graph, story);
  const panel = (await panelOfStory(story)) ?? (await panelOfStory(story, script)) ?? writtenPanels()[0];
  if (!panel) throw new Error(t("desk.no_story"));
  panel.save(script); // nothing is lost: the film keeps its own
  return panel;
}

async function openGraph({ workflow, prompt }, { title }) {
  const name = freeTabName(title);
  if (workflow) await app.loadGraphData(workflow, true, true, name);
  else await app.loadApiJson(prompt, name);
}

/** A Load Story for a script: one that holds it, a selected one, the first one, or a new one. */
function panelFor(script) {
  const panels = writtenPanels();
  const selected = Object.values(app.canvas?.selected_nodes ?? {}).map(panelOf);
  return panels.find(({ node }) => askedBy(node).script === script) ?? panels.find((one) => selected.includes(one)) ?? panels[0] ?? newPanel();
}

function newPanel() {
  const node = window.LiteGraph.createNode(LOAD_STORY);
  const { ds, canvas } = app.canvas;
  const shown = [canvas.clientWidth, canvas.clientHeight].map((length) => length / 2 / ds.scale);
  app.canvas.graph.add(node);
  node.pos = shown.map((middle, i) => middle - ds.offset[i] - SIZE[i] / 2);
  return panelOf(node);
}

/** Why the finished shots of a story do not count where its script is now; empty when they do. */
async function whereItLies({ node }, { title, film_folder: folder }) {
  const [prefix] = folder.split("/");
  const writes = loopPrefix(node);
  if (writes === null) return t("desk.elsewhere.no_loop", { title, folder, prefix });
  if ((await readStory(askedBy(node))).folder === folder) return "";
  return t(writes === prefix ? "desk.elsewhere.name" : "desk.elsewhere", { title, folder, prefix, writes });
}

// --- going on ----------------------------------------------------------------------------------

async function continueStory(story) {
  const graph = await about("graph", story);
  if (!graph.workflow && !graph.prompt) return say(t("desk.no_graph", story), "warn");
  const isOn = await isBeingMade(story, graph.prompt);
  if (isOn && !setting(CONFIRM)) return say(t("desk.on", story), "warn");
  if (!confirmed(t(isOn ? "desk.on.ask" : "desk.run", story))) return undefined;
  await openGraph(graph, story);
  return app.extensionManager.command.execute("Comfy.QueuePrompt");
}

/** Whether a run of a story is on, or waits in the host's queue. */
async function isBeingMade(story, prompt) {
  const { queue_running: running, queue_pending: pending } = await get("/queue");
  if (running.length && (await about("story", story)).running) return true;
  const wanted = storiesIn(prompt);
  return Boolean(wanted) && [...running, ...pending].some(([, , queued]) => storiesIn(queued) === wanted);
}

/** What tells which stories a prompt makes: their scripts and prefixes. */
function storiesIn(prompt) {
  const nodes = Object.values(prompt ?? {});
  const told = nodes.flatMap(({ class_type: kind, inputs }) => (
    kind === LOAD_STORY ? [[inputs?.script, inputs?.file]] : inputs?.filename_prefix ? [inputs.filename_prefix] : []));
  return nodes.some(({ class_type: kind }) => kind === LOAD_STORY) ? JSON.stringify(told.map(String).sort()) : "";
}

function openBoard({ folder }) {
  window.open(boardOf(folder, "png"), "_blank", "noopener");
}

/** Name, its sign, and what it does. */
export const ACTS = {
  watch: ["play", watchStory], edit: ["edit", editStory], continue: ["next", continueStory], board: ["board", openBoard], path: ["copy", null],
};
