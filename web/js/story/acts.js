/** What the artist does to the shots in the story editor: each act makes a new story of the old. */
import { NO_FILE } from "./api.js";
import * as model from "./model.js";
import { joinRow, splitRow } from "./parts.js";
import { rollAgain } from "./roll.js";
import { textToSave } from "./saving.js";
import { openPromote } from "./promote_open.js";
import { openTakes, textOf } from "./take_actions.js";
import { t } from "../shared/texts.js";

const MOVES = ["up", "down", "drop", "drag", "join"]; // that concern a shot beside it

/** Whether a shot's result stays whatever its row says. */
const isKept = (row) => row.lock || Boolean(row.use_take);

/** Show what the shot with a label saw, of the story as it stands here. */
async function lookAt(dialog, label) {
  const text = await textOf(dialog);
  if (text === null) return;
  if (!dialog.isChanged()) return void dialog.look({ label, asked: dialog.loopPass() === dialog.asked.pass ? null : dialog.asked });
  const script = await dialog.ask(() => textToSave(dialog, dialog.history.value, text));
  if (script !== null) dialog.look({ label, asked: { ...dialog.asked, script, file: NO_FILE } });
}

/** `id` is the row's, `value` what else an act needs; see table.js. */
export function act(dialog, name, id, value) {
  const story = dialog.history.value;
  const at = story.rows.findIndex((row) => row.id === id);
  if (MOVES.includes(name) && dialog.controls.filter.isNarrowing) {
    dialog.say(t("filter.stays"));
  } else if (name === "say") {
    dialog.controls.say(value.text, value);
  } else if (name === "field") {
    const isScene = value.name === "scene"; // whose number many shots have
    const next = isScene ? model.setScene(story, id, value.value) : model.setRow(story, id, { [value.name]: value.value });
    dialog.change(next, value.isTyped === false ? null : `${id} ${value.name}`, isScene ? next.rows : [next.rows[at]]);
  } else if (name === "up" || name === "down") {
    dialog.change(model.moveRow(story, id, name === "up" ? -1 : 1));
    dialog.controls.focusShot(id, value?.from ?? name);
    const now = dialog.history.value.rows.findIndex((row) => row.id === id);
    dialog.say(t("story.moved", { number: now + 1, scene: dialog.history.value.rows[now].scene }));
  } else if (name === "drop") {
    dialog.change(model.dropRow(story, id, value.target, value.after));
    if (value.from === "timeline") dialog.controls.focusShot(id, value.from);
  } else if (name === "add" || name === "duplicate") {
    const [next, added] = name === "add" ? model.addRow(story, id) : model.duplicateRow(story, id);
    dialog.change(next);
    dialog.table.focus(added, "prompt");
  } else if (name === "split") {
    const [next, added] = splitRow(story, id, value.place) ?? [];
    if (!next) return void dialog.say(t("story.split.nowhere"));
    dialog.change(next);
    dialog.table.putCursor(added, 0);
    dialog.say(t(isKept(story.rows[at]) ? "story.split.locked" : "story.split.done", { number: at + 1, next: at + 2 }));
  } else if (name === "join") {
    const [next, seam] = joinRow(story, id) ?? [];
    if (!next) return void dialog.say(t("story.join.nowhere"));
    dialog.change(next);
    dialog.table.putCursor(id, seam);
    dialog.say(t(isKept(story.rows[at]) ? "story.join.locked" : "story.join.done", { number: at + 1, next: at + 2 }));
  } else if (name === "remove") {
    dialog.change(model.removeRow(story, id));
    const rows = dialog.history.value.rows;
    dialog.table.focus(rows[Math.min(at, rows.length - 1)]?.id, "remove");
  } else if (name === "memory") {
    lookAt(dialog, model.labelsOf(story.rows)[at]);
  } else if (name === "promote") {
    openPromote(dialog, id);
  } else if (name === "takes") {
    openTakes(dialog, id);
  } else if (name === "roll") {
    rollAgain(dialog, id, { isLater: value.isLater });
  } else if (name === "toggle_scene") {
    dialog.change(model.toggleScene(story, id));
  }
}
