/** Takes in the story editor: how many a shot has, and the dialog that compares them. */
import { t } from "../shared/texts.js";
import { cleanTakes, listTakes, NO_FILE, removeTake } from "./api.js";
import * as model from "./model.js";
import { rollAgain } from "./roll.js";
import { currentText } from "./saving.js";
import { TakesDialog } from "./takes.js";

/** The row of a shot, with its number from 1; `null` when it is gone. */
export function rowOf(dialog, id) {
  const rows = dialog.history?.value.rows ?? [];
  const at = rows.findIndex((row) => row.id === id);
  return at < 0 ? null : { row: rows[at], number: at + 1 };
}

/** The script as it stands; `null` when the server does not answer. */
export async function textOf(dialog) {
  const known = dialog.text === null && dialog.answers.get(dialog.history?.value);
  return known ? known.text : currentText(dialog);
}

/** The same as the server wants it. */
export async function scriptOf(dialog) {
  const script = await textOf(dialog);
  if (script === null) return null;
  const { character, prefix, pass } = dialog.asked;
  return { script, file: NO_FILE, character, prefix, pass, default_name: dialog.defaultName ?? "" };
}

/** What a row gets with a take, or with none: the take's own seed, which the field then shows, and
 * what stood there before it. */
function choiceOf(dialog, id, take) {
  const { seed } = rowOf(dialog, id)?.row ?? {};
  const seeds = dialog.seedsBefore ??= new Map(); // row id -> the seed that a choice put, and the one before
  const last = seeds.get(id);
  const before = last && last.put === seed ? last.before : seed;
  if (!take) return { use_take: null, seed: before };
  seeds.set(id, { put: take.seed, before });
  return { use_take: take.name, seed: take.seed };
}

export async function openTakes(dialog, id) {
  const found = rowOf(dialog, id);
  if (!found) return;
  dialog.table.player.stop();
  const withScript = async (ask) => {
    const script = await scriptOf(dialog);
    if (!script) return { error: dialog.controls.message.textContent }; // which is below this dialog
    return ask(script).catch((error) => ({ error: t("story.no_answer", { why: error.message }) }));
  };
  const takes = new TakesDialog({ number: found.number, prompt: found.row.prompt, isLast: found.number === dialog.history.value.rows.length }, {
    read: () => withScript((script) => listTakes(script, rowOf(dialog, id)?.number - 1)),
    chosen: () => rowOf(dialog, id)?.row.use_take ?? null,
    choose: (take) => dialog.change(model.setTake(dialog.history.value, id, choiceOf(dialog, id, take))),
    roll: ({ isLater, say }) => rollAgain(dialog, id, {
      isLater,
      say(text, how) {
        say(text);
        dialog.controls.say(text, how); // the takes may be closed before the answer is there
      },
    }),
    remove: (key, isMeant) => withScript((script) => removeTake(script, key, isMeant)),
    clean: (isMeant) => withScript((script) => cleanTakes(script, isMeant)),
    closed: () => {
      dialog.table.focus(id, "takes");
      dialog.recheck();
      countTakes(dialog);
    },
  });
  await takes.open();
}

/** Ask how many takes each shot has, and show it at its row: where a story begins and a run ends,
 * not at every finished shot. */
export async function countTakes(dialog) {
  const counting = dialog.counting = (dialog.counting ?? 0) + 1;
  const story = dialog.history?.value;
  const script = story && await scriptOf(dialog);
  if (!script) return;
  let answer;
  try {
    answer = await listTakes(script, null);
  } catch {
    return; // the server does not answer, which is told where it matters
  }
  if (answer.error || counting !== dialog.counting || !dialog.element.isConnected) return;
  dialog.takes = new Map(story.rows.map((row, i) => [row.id, answer.counts[i] ?? 0]));
  dialog.showRows();
}
