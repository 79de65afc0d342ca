/** The dialog in which a shot takes over parts of a draft, in the hands of the story editor. */
import * as model from "./model.js";
import { PromoteDialog } from "./promote.js";
import { rowOf, scriptOf } from "./take_actions.js";

export async function openPromote(dialog, id) {
  const found = rowOf(dialog, id);
  if (!found) return;
  dialog.table.player.stop();
  const row = () => rowOf(dialog, id)?.row;
  await new PromoteDialog(dialog.element, {
    number: found.number,
    isHeld: Boolean(found.row.lock || found.row.use_take),
    script: () => scriptOf(dialog),
    text: () => row()?.promote ?? "",
    change: (promote) => dialog.change(model.setRow(dialog.history.value, id, { promote })),
    closed: () => dialog.table.focus(id, "promote"),
  }).open();
}
