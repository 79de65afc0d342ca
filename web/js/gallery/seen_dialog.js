/** A dialog that shows what each shot of a story saw. */
import { h } from "../shared/dom.js";
import { t } from "../shared/texts.js";
import { whenRead } from "../story/extension.js";
import { enlarge } from "./lightbox.js";
import { alsoDrawn, memoryOf } from "./nodes.js";
import { SeenShots } from "./seen.js";
import { GalleryView } from "./view.js";

/**
 * Open it at a shot's label, else at the latest finished shot. `asked`: the script to go by, when it
 * is not the one that stands on the Load Story node `storyNode`.
 */
export function openSeen({ storyNode, label = "", asked = null }) {
  const before = document.activeElement;
  const draw = () => view.draw(seen.model());
  const seen = new SeenShots({ story: () => storyNode, memory: () => memoryOf(storyNode), draw, asked });
  const view = new GalleryView({
    chooser: seen.element,
    act: (name, item) => (name === "enlarge" ? enlargeFrom(view, seen, item) : seen.act(name, item?.frame)),
  });
  const close = h("button", { type: "button", onclick: () => dialog.close() }, t("act.close"));
  const dialog = h(
    "dialog",
    { class: "storymem-dialog storymem-seen", "aria-label": t("seen.title") },
    h("div", { class: "storymem-dialog-bar" }, h("h2", {}, t("seen.title")), close),
    view.element,
  );
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // the host's keys mean the graph
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    alsoDrawn.delete(draw);
    whenRead.removeEventListener("read", heard);
    dialog.remove();
    before?.focus?.();
  });
  const heard = ({ detail }) => seen.readAgain(detail.node);
  whenRead.addEventListener("read", heard);
  alsoDrawn.add(draw);
  draw();
  document.body.append(dialog);
  dialog.showModal();
  seen.select.focus();
  seen.choose(label);
  return dialog;
}

/** One of the shown frames, large, and those beside it. */
export function enlargeFrom(view, shown, item, act = (name, frame) => shown.act(name, frame)) {
  const frames = view.order.map(({ frame }) => frame);
  enlarge(Math.max(0, frames.indexOf(item.frame)), {
    count: () => frames.length,
    look: (index) => shown.look(frames[index]),
    act,
  });
}
