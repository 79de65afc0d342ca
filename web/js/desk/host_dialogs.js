/** Saying and asking something as the host does; as the browser does where the host cannot. */
import { app } from "../../../../scripts/app.js";

const LIFE = 8000; // milliseconds that a message stays

/** Tell the user something; `severity` is info or warn. */
export function say(text, severity = "info") {
  const { toast } = app.extensionManager ?? {};
  if (toast?.add) toast.add({ severity, summary: "StoryMem", detail: text, life: LIFE });
  else window.alert(text);
}

/** A line of text from the user; `null` when there is none wanted. */
export async function askFor(title, message, defaultValue) {
  const { dialog } = app.extensionManager ?? {};
  if (!dialog?.prompt) return window.prompt(`${title}\n${message}`, defaultValue);
  return dialog.prompt({ title, message, defaultValue });
}
