/** What the user set for this pack in the host's settings; desk/settings.js puts them there. */
import { app } from "../../../../scripts/app.js";

export const AUTOPLAY = "StoryMem.Autoplay";
export const POSTERS = "StoryMem.PosterSize";
export const CONFIRM = "StoryMem.Confirm";
export const PREFIX = "StoryMem.Prefix";

export const DEFAULTS = { [AUTOPLAY]: true, [POSTERS]: "medium", [CONFIRM]: true, [PREFIX]: "storymem" };

const told = new EventTarget();

/** A setting's value; its default where the host has no settings of packs. */
export function setting(id) {
  return app.extensionManager?.setting?.get?.(id) ?? DEFAULTS[id];
}

/** `listener(value)` is called whenever the user changes a setting. */
export function whenSet(id, listener) {
  told.addEventListener(id, ({ detail }) => listener(detail));
}

export function noteSet(id, value) {
  told.dispatchEvent(new CustomEvent(id, { detail: value }));
}

/** Whether the user wants what a question asks for; without asking, if nobody wants to be asked. */
export function confirmed(question) {
  return !setting(CONFIRM) || window.confirm(question);
}
