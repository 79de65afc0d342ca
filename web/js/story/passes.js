/** Which pass of a story the editor shows, the film or a draft of it, and the board of that pass. */
import { api } from "../../../../scripts/api.js";
import { h } from "../shared/dom.js";
import { t } from "../shared/texts.js";

export const FILM = "film";

/** The address of a board: `kind` is png or pdf. */
export function boardOf(folder, kind) {
  return api.apiURL(`/storymem/board?${new URLSearchParams({ folder, as: kind })}`);
}

/** What a pass is called. */
export const nameOfPass = (name) => (name === FILM ? t("pass.film") : t(`promote.pass.${name}`));

export class PassChoice {
  constructor(dialog) {
    this.dialog = dialog;
    this.select = h("select", { "aria-label": t("pass.label"), title: t("pass.label.long"), onchange: () => this.choose() });
    this.label = h("label", { class: "sm-pass", hidden: true }, h("span", {}, t("pass.label")), this.select);
    this.links = ["png", "pdf"].map((kind) => h("a", {
      class: "sm-board", target: "_blank", rel: "noopener", "data-board": kind,
      title: t(`board.${kind}.long`), hidden: true,
    }, t(`board.${kind}`)));
    this.note = h("span", { class: "sm-other", hidden: true, title: t("pass.other.long") }, t("pass.other"));
    this.element = h("div", { class: "sm-passes" }, this.label, ...this.links, this.note);
  }

  /** What the server said of the story: the passes that are there, and where the shown one is. */
  show({ passes = [], place = "" }) {
    const { pass = FILM } = this.dialog.asked;
    const names = [...new Set([FILM, ...passes, pass])];
    const shown = names.join();
    if (shown !== this.shown) {
      this.select.replaceChildren(...names.map((value) => h("option", { value }, nameOfPass(value))));
      this.shown = shown;
    }
    this.select.value = pass;
    this.label.hidden = names.length < 2;
    const isOther = pass !== (this.dialog.loopPass?.() ?? FILM);
    this.note.hidden = !isOther;
    this.dialog.element.classList.toggle("sm-other-pass", isOther);
    for (const link of this.links) {
      link.hidden = !place;
      if (place) link.href = boardOf(place, link.dataset.board);
    }
  }

  choose() {
    this.dialog.showPass(this.select.value);
  }
}
