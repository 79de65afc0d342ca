/** Takes in the story editor: how many a shot has, another one, and the dialog that compares them. */
import { t } from "../shared/texts.js";
import { cleanTakes, listTakes, NO_FILE, removeTake } from "./api.js";
import * as model from "./model.js";
import { TakesDialog } from "./takes.js";

const LARGEST_SEED = 2 ** 32;

/** The row of a shot, with its number from 1; `null` when it is gone. */
function rowOf(dialog, id) {
  const rows = dialog.history?.value.rows ?? [];
  const at = rows.findIndex((row) => row.id === id);
  return at < 0 ? null : { row: rows[at], number: at + 1 };
}

/** The script as it stands, as the server wants it; `null` when it cannot be read. */
async function scriptOf(dialog) {
  const script = await dialog.currentText();
  if (script === null) return null;
  const { character, prefix } = dialog.asked;
  return { script, file: NO_FILE, character, prefix, default_name: dialog.defaultName ?? "" };
}

/** Make another take of a shot at the next run, with a seed of its own; what is told of it. */
export function rollAgain(dialog, id) {
  const found = rowOf(dialog, id);
  if (!found) return "";
  let seed;
  do seed = crypto.getRandomValues(new Uint32Array(1))[0] % LARGEST_SEED;
  while (String(seed) === String(found.row.seed));
  dialog.change(model.setTake(dialog.history.value, id, { seed, use_take: null, lock: false }));
  const words = t("story.rolled", { number: found.number, seed });
  dialog.say(words);
  return words;
}

export async function openTakes(dialog, id) {
  const found = rowOf(dialog, id);
  if (!found) return;
  dialog.table.player.stop();
  const withScript = async (ask) => {
    const script = await scriptOf(dialog);
    return script && dialog.ask(() => ask(script));
  };
  const takes = new TakesDialog({ number: found.number, prompt: found.row.prompt }, {
    read: () => withScript((script) => listTakes(script, rowOf(dialog, id)?.number - 1)),
    chosen: () => rowOf(dialog, id)?.row.use_take ?? null,
    choose: (name) => dialog.change(model.setTake(dialog.history.value, id, { use_take: name })),
    roll: () => rollAgain(dialog, id),
    remove: (key) => withScript((script) => removeTake(script, key)),
    clean: (isMeant) => withScript((script) => cleanTakes(script, isMeant)),
    closed: () => {
      dialog.table.focus(id, "takes");
      dialog.recheck();
      countTakes(dialog);
    },
  });
  await takes.open();
}

/** Ask how many takes each shot has, and show it at its row. */
export async function countTakes(dialog) {
  const story = dialog.history?.value;
  const script = story && await scriptOf(dialog);
  if (!script) return;
  let answer;
  try {
    answer = await listTakes(script, null);
  } catch {
    return; // the server does not answer, which is told where it matters
  }
  if (answer.error || story !== dialog.history?.value) return;
  dialog.takes = new Map(story.rows.map((row, i) => [row.id, answer.counts[i] ?? 0]));
  dialog.showRows();
}
