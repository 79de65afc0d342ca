/** The way to what each shot saw, for all that stands below the gallery. */

let opener = () => {};

/** Say what opens it; see gallery/seen_dialog.js. */
export function opensSeen(open) {
  opener = open;
}

/** Show what a shot saw: `{ storyNode, label, asked }`. */
export function openSeen(shot) {
  opener(shot);
}
