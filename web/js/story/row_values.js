/** What the fields of a row in the story editor show, and what is typed in them means. */
import { CAPTIONS, captionOf } from "./captions.js";

export const ONE_FILE = ["start_image", "end_image", "audio"]; // fields that hold the name of one file

export function textOf(row, name) {
  if (CAPTIONS.includes(name)) return captionOf(row.prompt, name);
  if (name === "reference_images") return row.reference_images.join("\n");
  return row[name] == null ? "" : String(row[name]);
}

export function valueOf(name, text) {
  if (["prompt", "first_frame_prompt", "dialogue", "subtitle", ...CAPTIONS].includes(name)) return text;
  if ([...ONE_FILE, "remember", "promote", "loras"].includes(name)) return text.trim();
  if (name === "reference_images") return text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (name === "scene") return /^\d{1,6}$/.test(text.trim()) ? Number(text) : NaN;
  return text.trim() === "" ? null : text;
}

/** Whether what is typed in a field says what its row says: spaces and empty lines that mean nothing
 * stay while the artist types on. */
export function isShown(row, name, text) {
  if (CAPTIONS.includes(name)) return text.trim() === textOf(row, name).trim();
  const value = valueOf(name, text);
  return value === row[name] || JSON.stringify(value) === JSON.stringify(row[name]);
}
