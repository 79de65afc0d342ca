/** The story editor's way out: the script as it is saved, and the last questions before it is. */
import { t } from "../shared/texts.js";
import { writeScript } from "./api.js";
import * as model from "./model.js";

/** The script as it stands; `null` when the server does not answer. */
export async function currentText(dialog) {
  if (dialog.text !== null) return dialog.text;
  const answer = await dialog.check();
  return answer && answer.text;
}

/** The story as it is saved: one from a file is called like the file, unless it has a name. */
export function named(dialog, story) {
  const isNamed = !dialog.fromFile || story.name || !dialog.defaultName;
  return isNamed ? story : model.setFields(story, { name: dialog.defaultName });
}

/** The script of a story as it is saved; `text`: as it stands. Throws when the server does not answer. */
export async function textToSave(dialog, story, text) {
  const whole = named(dialog, story);
  return whole === story ? text : (await writeScript(model.viewOf(whole), dialog.asked)).script;
}

/** Save and close, once; a script with errors is asked about first. */
export async function finish(dialog) {
  if (dialog.finishing) return;
  dialog.finishing = true;
  try {
    await saveAndClose(dialog);
  } finally {
    dialog.finishing = false;
  }
}

async function saveAndClose(dialog) {
  clearTimeout(dialog.timer);
  const { controls } = dialog;
  if (dialog.text !== null && controls.raw.value === dialog.text) await dialog.readText(dialog.text);
  if (!dialog.isChanged()) return void dialog.close();
  const story = dialog.history?.value;
  if (dialog.text === null && named(dialog, story) !== story) dialog.change(named(dialog, story));
  const [now, typed] = [dialog.history?.value, dialog.text];
  const text = await currentText(dialog);
  if (text === null || !dialog.element.isConnected) return;
  // Typed on while the server answered.
  if (now !== dialog.history?.value || typed !== dialog.text) return void (await saveAndClose(dialog));
  const error = dialog.text !== null || dialog.answers.get(dialog.history?.value)?.error;
  if (error && !dialog.armed) {
    dialog.armed = true;
    controls.offerAnyway(true);
    dialog.showError(`${controls.message.textContent}\n${t("story.anyway")}`);
    return;
  }
  dialog.save(text);
  dialog.close();
}
