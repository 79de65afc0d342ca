/** One frame of the memory, large, with all its facts. */
import { LARGE, factsOf, pictureUrl, placeOf } from "./bank.js";
import { h } from "../shared/dom.js";
import { t } from "../shared/texts.js";

/**
 * Open the dialog. `look(i)` gives `{ frame, pending, actions }` of the i-th frame, `count` their
 * number, `act(name, frame)` does what a button says. Escape closes, and the focus goes back.
 */
export function enlarge(index, { count, look, act }) {
  const before = document.activeElement;
  const picture = h("img", { alt: "" });
  const facts = h("div", { class: "storymem-dialog-facts" });
  const buttons = h("div", { class: "storymem-dialog-actions" });
  const names = h("input", {
    type: "text",
    class: "storymem-name",
    maxlength: 200,
    onchange: () => {
      act("name", look(index).frame, names.value);
      draw();
    },
    onkeydown: (event) => {
      event.stopPropagation(); // arrows move in the text
      if (event.isComposing) return;
      if (event.key === "Enter") names.blur();
      if (event.key !== "Escape") return;
      event.preventDefault(); // leaves the text, not the dialog
      draw();
      close.focus();
    },
  });
  const who = h("label", { class: "storymem-dialog-who" }, h("span", {}, t("who.label")), names);
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
    who,
    h("div", { class: "storymem-dialog-bar" }, buttons, close),
  );

  function draw() {
    const { frame, pending, actions, who: shown, from } = look(index);
    picture.src = pictureUrl(frame, LARGE);
    picture.alt = placeOf(frame);
    facts.replaceChildren(...factsOf(frame, pending, shown, from).map((line) => h("div", {}, line)));
    const focused = document.activeElement?.dataset?.act;
    who.hidden = !actions.includes("name");
    names.value = shown.label ?? frame.shows;
    names.placeholder = t(frame.shows ? "who.nobody" : "who.hint");
    buttons.replaceChildren(...actions.filter((name) => name !== "name").map((name) => h("button", {
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
