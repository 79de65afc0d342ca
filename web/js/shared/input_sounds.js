/** Sound files of the host's input folder. */
import { api } from "../../../../scripts/api.js";
import { upload } from "./input_pictures.js";

/** Endings of the files whose sound the server reads (storymem/sound/files.py), lower case. */
export const SOUND_ENDINGS = [
  ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aac", ".aif", ".aiff", ".aifc",
  ".wma", ".m4a", ".mp4", ".m4v", ".mov", ".mkv", ".mka", ".webm", ".avi",
];

export function isSound(name) {
  return SOUND_ENDINGS.includes(name.slice(name.lastIndexOf(".")).toLowerCase());
}

/** Put a sound file into the host's input folder; its name there. */
export const uploadSound = upload;

/** Names of sound files, the latest first. */
export async function listSounds() {
  const answer = await api.fetchApi("/storymem/input?kind=sound");
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return (await answer.json()).sounds.map(({ name }) => name);
}

/** Where the host has one, to be heard. */
export function soundUrl(name) {
  const at = name.lastIndexOf("/");
  return api.apiURL(`/view?${new URLSearchParams({ filename: name.slice(at + 1), subfolder: name.slice(0, Math.max(at, 0)), type: "input" })}`);
}
