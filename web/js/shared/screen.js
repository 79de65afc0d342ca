/** The player over the page: the finished shots of a story, one after the other. */
import { h, setText } from "./dom.js";
import { icon } from "./icons.js";
import { Player } from "./player.js";
import { t } from "./texts.js";

// Nothing that is done here is meant for what is below it.
const KEPT = ["keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "drop", "dragover"];
const MOST_NUMBERS = 12; // of skipped shots in one sentence

let screen = null; // the one that is open

class Screen {
  constructor(shots) {
    this.shots = shots;
    this.player = new Player(shots, (shown) => this.show(shown));
    const button = (name, mark, act) => h("button", {
      type: "button", "data-act": name, "aria-label": t(`player.${name}`), title: t(`player.${name}.long`), onclick: act,
    }, icon(mark));
    this.title = h("h2", { id: "sm-player-title" });
    this.prompt = h("span", { class: "sm-words" });
    this.message = h("div", { class: "sm-message", role: "status", "aria-live": "polite" });
    this.toggle = button("toggle", "pause", () => this.player.toggle());
    this.element = h("dialog", { class: "sm-player", "aria-labelledby": "sm-player-title" },
      h("header", {}, this.title, this.prompt, button("close", "close", () => this.close())),
      this.player.element,
      h("footer", {}, button("back", "back", () => this.player.step(-1)), this.toggle,
        button("next", "next", () => this.player.step(1)), this.message));
    this.player.element.addEventListener("click", () => this.player.toggle());
    this.element.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    for (const kind of KEPT) this.element.addEventListener(kind, (event) => event.stopPropagation());
  }

  async open(at, how) {
    document.body.append(this.element);
    this.element.showModal();
    this.toggle.focus();
    if (await this.player.play(at, how)) return;
    setText(this.title, t("player.title"));
    setText(this.message, t("player.nothing"));
  }

  show({ at, shot, skipped, state }) {
    setText(this.title, shot.title ?? t("player.shot", { number: shot.number, of: this.shots().length }));
    setText(this.prompt, shot.prompt ?? "");
    this.prompt.title = shot.prompt ?? "";
    this.element.dataset.state = state;
    this.toggle.replaceChildren(icon(state === "plays" ? "pause" : "play"));
    this.toggle.setAttribute("aria-pressed", String(state === "plays"));
    const isSame = at === this.at && this.state !== "ended" && ["plays", "pauses"].includes(state);
    Object.assign(this, { at, state });
    if (isSame && !skipped.length) return; // what was said of the shot holds
    const missing = skipped.length ? t("player.missing", { numbers: numbersIn(skipped) }) : "";
    const end = { ended: skipped.length ? t("player.end") : "", broken: t("player.broken", shot) }[state] ?? "";
    setText(this.message, [end, missing].filter(Boolean).join(" "));
  }

  pressed(event) {
    event.stopPropagation();
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const onButton = event.target.closest("button");
    if (event.key === "Escape") this.close();
    else if (event.key === "ArrowLeft") this.player.step(-1);
    else if (event.key === "ArrowRight") this.player.step(1);
    else if (event.key === " " && !onButton) this.player.toggle();
    else return;
    event.preventDefault();
  }

  close() {
    this.player.stop();
    this.element.close();
    this.element.remove();
    if (screen === this) screen = null;
  }
}

function numbersIn(numbers) {
  return numbers.slice(0, MOST_NUMBERS).join(", ") + (numbers.length > MOST_NUMBERS ? ", ..." : "");
}

/**
 * Play finished shots over the page, from place `at` on, or `only` that one; for `shots` see Player.
 * A shot may have a `title` to be shown in the place of its number.
 */
export function watch(shots, at = 0, how = {}) {
  screen?.close();
  screen = new Screen(shots);
  screen.open(at, how);
}
