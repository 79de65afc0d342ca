/** On Load Story: what an artist should know of the script, and its other readings, one click away. */
import { h, setText } from "../shared/dom.js";
import { t } from "../shared/texts.js";
import { NO_FILE } from "./api.js";

export const NOTE_HEIGHT = 66; // pixels: four lines, which scroll, and a gap
export const OFFERS_HEIGHT = 31; // and a line of buttons

/** The wheel scrolls an element when there is more of it, and else zooms the canvas as everywhere. */
export function scrollsItself(element) {
  element.addEventListener("wheel", (event) => {
    if (element.scrollHeight > element.clientHeight && !event.ctrlKey) event.stopPropagation();
  });
}

function wordsOf({ kind, shots }) {
  if (kind === "kept") return t(shots === 1 ? "story.keep.one" : "story.keep", { shots });
  if (kind === "persons") return t("story.persons");
  return t(shots === 1 ? "story.read_as.one" : "story.read_as", { shots });
}

export class ScriptNote {
  /** `take(script)` puts a script on the node. */
  constructor(take) {
    this.take = take;
    this.executed = []; // what the last run said of a script that comes from another node
    this.text = h("div", { class: "sm-notice", role: "note", hidden: true, tabindex: "0", "aria-label": t("story.note") });
    this.offers = h("div", { class: "sm-offers", hidden: true });
    scrollsItself(this.text);
  }

  get height() {
    return (this.text.hidden ? 0 : NOTE_HEIGHT) + (this.offers.hidden ? 0 : OFFERS_HEIGHT);
  }

  /** Show what the server told of the script, or, without, what the last run did. */
  show(answer, file = NO_FILE) {
    const isWrong = Boolean(answer?.error);
    const lines = isWrong ? [answer.error] : answer ? answer.told ?? [] : this.executed;
    const text = lines.join("\n");
    setText(this.text, text);
    this.text.title = text;
    this.text.hidden = !text;
    this.text.dataset.kind = this.kind = isWrong ? "error" : text ? "warning" : "";
    this.badge = isWrong ? t("story.error") : text ? t("story.notes", { count: lines.length }) : ""; // seen from afar
    const offers = answer?.offers ?? [];
    const shown = JSON.stringify([offers, file]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.offers.replaceChildren(...offers.map((offer) => this.button(offer, file)));
    this.offers.hidden = !offers.length;
  }

  button(offer, file) {
    const { kind, shots, names, script } = offer;
    const why = t(`story.offer.${kind}.long`, { shots, names: names.join(", ") });
    const moves = file === NO_FILE ? "" : ` ${t("story.offer.file", { file })}`;
    const click = () => this.take(script);
    return h("button", { type: "button", "data-offer": kind, title: `${why}${moves}`, onclick: click }, wordsOf(offer));
  }
}
