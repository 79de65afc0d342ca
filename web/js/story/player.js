/** Shots played where they stand in the story editor's table, and from the list on Load Story. */
import { addressOf, mutedVideo, release } from "../shared/player.js";
import { watch } from "../shared/screen.js";

const USES_SPACE = "button, input, select, textarea, a[href], [contenteditable], summary";

/** Whether a Space is for the story: it is not typed, and presses nothing. */
export function isSpaceForStory(event) {
  if (event.key !== " " || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return false;
  return !event.target.closest(USES_SPACE) || event.target.closest('[role="tab"][aria-selected="true"]') !== null;
}

/** Rows of a story as the player takes them. */
export function shotsOf(rows) {
  return rows.map(({ video, prompt }, i) => ({ number: i + 1, video: video ?? null, prompt }));
}

/** One shot at a time, in its row of the table; it plays on until it is stopped. */
export class RowPlayer {
  constructor() {
    this.part = null; // of the row that plays
    this.video = mutedVideo({ loop: true }, () => this.stop());
  }

  /** Play a row's shot, or stop it where it plays. */
  toggle(part) {
    const wasHere = this.part === part;
    this.stop();
    if (!wasHere) this.play(part);
  }

  play(part) {
    this.stop();
    if (!part.video) return;
    this.part = part;
    part.poster.append(this.video);
    part.poster.setAttribute("aria-pressed", "true");
    part.element.classList.add("sm-plays");
    this.video.src = addressOf(part.video);
    this.video.play().catch(() => {}); // stopped before it began, or it cannot be read
  }

  /** Whether anything was stopped. */
  stop() {
    const { part } = this;
    if (!part) return false;
    this.part = null;
    release(this.video);
    this.video.remove();
    part.poster.setAttribute("aria-pressed", "false");
    part.element.classList.remove("sm-plays");
    return true;
  }

  /** After rows were moved, which pauses what is in them. */
  goOn() {
    if (!this.part) return;
    if (!this.part.element.isConnected) this.stop();
    else if (this.video.paused) this.video.play().catch(() => {});
  }
}

/** The shots of the list on a node: a click plays one, Space and Enter the story so far. */
export function watchFromList(list, shots) {
  list.addEventListener("click", ({ target }) => {
    const at = [...list.children].indexOf(target.closest("li"));
    if (at >= 0 && shots()[at]?.video) watch(shots, at, { only: true });
  });
  list.addEventListener("keydown", (event) => {
    if (event.target !== list || !["Enter", " "].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    watch(shots);
  });
}
