/** Commands with keys, in the host's menu, and as buttons over selected nodes. */
import { app } from "../../../../scripts/app.js";
import { LOAD_STORY, LOOP_CLOSE, LOOP_OPEN, everyNode, holderOf, kindOf, storyNodesOf } from "../shared/graph.js";
import { noteChange } from "../shared/host.js";
import { watch } from "../shared/screen.js";
import { t } from "../shared/texts.js";
import { everyPanel, panelOf } from "../story/extension.js";
import { shotsOf } from "../story/player.js";
import { askFor, say } from "./host_dialogs.js";

const BEGIN_STORY = "StoryMemBeginStory";
const JOIN_STORY = "StoryMemJoinStory";
const OPENS = [LOOP_OPEN, BEGIN_STORY];
const LOOPS = [...OPENS, LOOP_CLOSE, JOIN_STORY];
const STORY_COMMANDS = ["StoryMem.EditStory", "StoryMem.PlayStory"];
const LOOP_COMMANDS = ["StoryMem.PlayStory", "StoryMem.RedoShots"];

function selected() {
  return Object.values(app.canvas?.selected_nodes ?? {});
}

function loopsIn(nodes, kinds = LOOPS) {
  return nodes.filter((node) => kinds.includes(kindOf(node)));
}

/** The story that is meant: of a selected node, else the first one of the workflow. */
function wantedPanel() {
  const own = selected().map(panelOf).find(Boolean);
  const ofLoop = loopsIn(selected()).flatMap(storyNodesOf).map(panelOf).find(Boolean);
  return own ?? ofLoop ?? everyPanel()[0] ?? null;
}

function editStory() {
  const panel = wantedPanel();
  if (panel) panel.edit();
  else say(t("desk.no_story"), "warn");
}

function playStory() {
  const panel = wantedPanel();
  const shots = () => shotsOf(panel.shown);
  if (!panel) say(t("desk.no_story"), "warn");
  else if (shots().some(({ video }) => video)) watch(shots);
  else say(t("desk.not_finished"));
}

/** Show a node, whatever subgraph it is in, and select it. */
function show(node) {
  const { canvas } = app;
  if (node.graph && canvas.graph !== node.graph) canvas.setGraph?.(node.graph);
  canvas.deselectAll?.();
  if (canvas.select) canvas.select(node);
  else canvas.selectNode?.(node);
  canvas.centerOnNode?.(node);
  canvas.setDirty(true, true);
}

/** The loop's nodes in turn. */
function goToLoop() {
  const nodes = loopsIn([...everyNode()]);
  const at = nodes.findIndex((node) => selected().includes(node));
  if (nodes.length) show(nodes[(at + 1) % nodes.length]);
  else say(t("desk.no_loop"), "warn");
}

/** The loop whose shots are meant: a selected one, or the one of a selected story. */
function wantedOpen() {
  const opens = loopsIn([...everyNode()], OPENS);
  const isNear = (open) => storyNodesOf(open).some((story) => selected().includes(story));
  return loopsIn(selected(), OPENS)[0] ?? opens.find(isNear) ?? opens[0] ?? null;
}

function put({ node, widget }, value) {
  widget.value = value;
  widget.callback?.(value, app.canvas, node);
}

async function redoShots() {
  const open = wantedOpen();
  if (!open) return say(t("desk.no_loop"), "warn");
  const [shots, take] = ["redo_shots", "redo_take"].map((name) => holderOf(open, name));
  if (!shots) return say(t("desk.redo.linked"), "warn");
  const before = String(shots.widget.value ?? "").trim();
  const asked = await askFor(t("desk.redo"), t("desk.redo.ask"), before);
  if (asked == null) return undefined;
  const now = asked.trim();
  if (now && now === before && take) put(take, Number(take.widget.value) + 1);
  put(shots, now);
  app.canvas?.setDirty?.(true, true);
  noteChange();
  return say(now ? t("desk.redo.set", { shots: now }) : t("desk.redo.none"));
}

const COMMANDS = [
  { id: "StoryMem.EditStory", label: "StoryMem: edit story", icon: "pi pi-pencil", function: editStory },
  { id: "StoryMem.PlayStory", label: "StoryMem: play story", icon: "pi pi-play", function: playStory },
  { id: "StoryMem.RedoShots", label: "StoryMem: make shots again...", icon: "pi pi-replay", function: redoShots },
  { id: "StoryMem.GoToLoop", label: "StoryMem: go to the loop", icon: "pi pi-sync", function: goToLoop },
];
const KEYS = { "StoryMem.EditStory": "E", "StoryMem.PlayStory": "P", "StoryMem.RedoShots": "R", "StoryMem.GoToLoop": "L" };

app.registerExtension({
  name: "StoryMem.Commands",
  commands: COMMANDS,
  // With Shift only: the host has no such keys, and leaves them to what is typed in a text field.
  keybindings: Object.entries(KEYS).map(([commandId, key]) => ({ combo: { key, shift: true }, commandId })),
  menuCommands: [{ path: ["Extensions", "StoryMem"], commands: COMMANDS.map(({ id }) => id) }],
  getSelectionToolboxCommands(item) {
    const kind = kindOf(item);
    if (kind === LOAD_STORY) return STORY_COMMANDS;
    if (LOOPS.includes(kind)) return OPENS.includes(kind) ? LOOP_COMMANDS : LOOP_COMMANDS.slice(0, 1);
    return item?.subgraph && panelOf(item) ? STORY_COMMANDS : [];
  },
});
