/** One frame of the memory, large, with all its facts. */
import { LARGE, factsOf, pictureUrl, placeOf } from "./gallery_bank.js";
import { h } from "./common.js";
import { t } from "./texts.js";

/**
 * Open the dialog. `look(i)` gives `{ frame, pending, actions }` of the i-th frame, `count` their
 * number, `act(name, frame)` does what a button says. Escape closes, and the focus goes back.
 */
export function enlarge(index, { count, look, act }) {
  const before = document.activeElement;
  const picture = h("img", { alt: "" });
  const facts = h("div", { class: "storymem-dialog-facts" });
  const buttons = h("div", { class: "storymem-dialog-actions" });
  const step = (by) => h("button", {
    type: "button",
    "aria-label": t(by < 0 ? "act.previous" : "act.next"),
    onclick: () => move(by),
  }, by < 0 ? "‹" : "›");
  const stage = h("div", { class: "storymem-dialog-stage" }, step(-1), picture, step(1));
  const close = h("button", { type: "button", onclick: () => dialog.close() }, t("act.close"));
  const dialog = h(
    "dialog",
    { class: "storymem-dialog", "aria-label": t("gallery.label") },
    stage,
    facts,
    h("div", { class: "storymem-dialog-bar" }, buttons, close),
  );

  function draw() {
    const { frame, pending, actions } = look(index);
    picture.src = pictureUrl(frame, LARGE);
    picture.alt = placeOf(frame);
    facts.replaceChildren(...factsOf(frame, pending).map((line) => h("div", {}, line)));
    const focused = document.activeElement?.dataset?.act;
    buttons.replaceChildren(...actions.map((name) => h("button", {
      type: "button",
      "data-act": name,
      onclick: () => {
        act(name, frame);
        draw();
      },
    }, t(`act.${name}`))));
    if (focused && !buttons.contains(document.activeElement)) {
      (buttons.querySelector(`[data-act="${focused}"]`) ?? buttons.firstElementChild ?? close).focus();
    }
  }

  function move(by) {
    index = (index + by + count()) % count();
    draw();
  }

  picture.addEventListener("error", () => picture.classList.add("gone"));
  picture.addEventListener("load", () => picture.classList.remove("gone"));
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the host's shortcuts mean the graph behind
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    before?.focus?.();
  });
  draw();
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
}
