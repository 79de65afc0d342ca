/** Scripts from the artist's computer into the story editor, and back. */
import { h } from "../shared/dom.js";
import { decode } from "./encoding.js";
import { t } from "../shared/texts.js";
import { currentText } from "./saving.js";

const LARGEST_FILE = 2 * 2 ** 20 - 2 ** 16; // bytes: what the server takes in one piece

export async function importFile(dialog, file) {
  if (file.size > LARGEST_FILE) {
    dialog.showError(t("story.too_large", { file: file.name }));
    return;
  }
  let text;
  try {
    text = decode(await file.arrayBuffer());
  } catch {
    dialog.showError(t("story.not_text", { file: file.name }));
    return;
  }
  const answer = await dialog.readText(text);
  if (answer?.error) {
    dialog.showTab("text");
    dialog.refreshText();
  } else if (answer) {
    dialog.say(t("story.imported", { file: file.name, shots: answer.shots.length }));
  }
}

export async function exportFile(dialog) {
  const text = await currentText(dialog);
  if (text === null) return;
  const story = dialog.history?.value;
  const plain = dialog.text !== null ? !text.trimStart().startsWith("{") : story.format === "plain";
  const name = (story?.name || dialog.defaultName || "story").replace(/[\\/:*?"<>|\x00-\x1f]/g, "_");
  download(`${name}.${plain ? "txt" : "json"}`, text);
}

function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
