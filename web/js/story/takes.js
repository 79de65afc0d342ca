/** Takes of a shot: a list, and two of them side by side, in a dialog over the story editor. */
import { h, setText, switchOff } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { addressOf, mutedVideo, release } from "../shared/player.js";
import { language, t } from "../shared/texts.js";
import { posterOf } from "./api.js";
import { captionOf } from "./captions.js";

const FRAME = 1 / 16; // seconds
const KEPT = ["keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "drop", "dragover"];
const SIDES = ["left", "right"];

export function sizeText(bytes) {
  return bytes < 2 ** 20 ? `${Math.ceil(bytes / 1024)} KB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

function dateText(seconds) {
  return new Date(seconds * 1000).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });
}

/** What tells a take from the one in the film, in words. */
export function differencesOf(take) {
  const said = (value) => (value == null || value === "" ? t("take.unset") : String(value));
  return take.differs.map(({ kind, was, now, count, lines }) => {
    const wordOf = { begins: (way) => t([`take.${way}`, "take.unset"]), seed: (seed) => seed ?? t("take.seed.nodes") }[kind] ?? said;
    const ways = [was, now].map(wordOf);
    const words = t(`take.differs.${kind}`, { was: ways[0], now: ways[1], count });
    return lines?.length ? `${words}: ${lines.join("; ")}` : words;
  });
}

/** One of the two takes that are compared. */
class Stage {
  constructor(side, dialog) {
    this.take = null;
    this.video = mutedVideo({ loop: true, "data-side": side }, () => dialog.say(t("take.broken", this.take)));
    this.name = h("span", {});
    this.use = h("button", { type: "button", "data-act": `use_${side}`, title: t("take.use.long"), onclick: () => dialog.choose(this.take) }, t("take.use"));
    this.element = h("figure", { "data-side": side, hidden: true },
      h("figcaption", {}, this.name, this.use), this.video);
    this.video.addEventListener("click", () => dialog.toggle());
  }

  show(take) {
    this.element.hidden = !take;
    const isSame = this.take?.key === take?.key;
    this.take = take;
    if (take) { // whose number is another one when others are gone
      setText(this.name, t("take.name", take));
      this.video.setAttribute("aria-label", t("take.name", take));
    }
    if (isSame) return;
    release(this.video);
    if (!take) return;
    this.video.src = addressOf(take.video);
  }
}

export class TakesDialog {
  /**
   * `shot` is `{ number, prompt, isLast }`, number from 1. `does` is what can be asked for: `read()` gives
   * the server's answer, or only an `error`, `chosen()` how the script calls its take, `choose(take)` (null: none), `roll({ isLater, say })`,
   * `remove(key, isMeant)` and `clean(isMeant)` do as well, `closed()` is told at the end.
   */
  constructor(shot, does) {
    Object.assign(this, { shot, does, takes: [], active: null });
    const button = (name, mark, act, extra = {}) => h("button", {
      type: "button", "data-act": name, title: t(`take.${name}.long`), "aria-label": t(`take.${name}`), onclick: act, ...extra,
    }, mark ? icon(mark) : null, h("span", {}, t(`take.${name}`)));
    this.stages = SIDES.map((side) => new Stage(side, this));
    this.list = h("ol", { class: "sm-take-list", role: "listbox", tabindex: "0", "aria-label": t("take.list"), title: t("take.keys") });
    this.message = h("div", { class: "sm-message", role: "status", "aria-live": "polite" });
    this.play = button("play", "play", () => this.toggle());
    this.time = h("input", { type: "range", min: 0, max: 1, step: FRAME, value: 0, "aria-label": t("take.time") });
    this.roll = h("button", { type: "button", "data-act": "roll", title: t("story.roll.long"), onclick: ({ shiftKey, altKey }) => this.rollAgain(shiftKey || altKey) }, icon("roll"), t("story.roll"));
    this.free = button("free", null, () => this.choose(null));
    this.element = h("dialog", { class: "sm-editor sm-takes", "aria-labelledby": "sm-takes-title" },
      h("header", {}, h("h2", { id: "sm-takes-title" }, t("take.title", shot)),
        h("span", { class: "sm-summary sm-words" }, captionOf(shot.prompt, "shot_caption").slice(0, 120)), h("div", { class: "sm-space" }),
        this.roll, this.free, button("delete", null, () => this.remove()), button("clean", null, () => this.clean()),
        button("close", "close", () => this.close(), { class: "sm-close" })),
      h("div", { class: "sm-both" }, this.list, h("div", { class: "sm-stages" }, ...this.stages.map(({ element }) => element))),
      h("div", { class: "sm-strip" }, this.play, this.time),
      h("footer", {}, this.message));
    this.listen();
  }

  listen() {
    const { element, list, time } = this;
    list.addEventListener("click", ({ target }) => this.clicked(target));
    time.addEventListener("input", () => this.seek(Number(time.value)));
    const [{ video }] = this.stages;
    video.addEventListener("timeupdate", () => { if (!this.isSeeking) time.value = video.currentTime; });
    for (const stage of this.stages) {
      stage.video.addEventListener("loadedmetadata", () => {
        time.max = Math.max(...this.stages.map((one) => one.video.duration || 0));
      });
    }
    element.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    element.addEventListener("keydown", (event) => this.pressed(event));
    element.addEventListener("error", ({ target }) => { if (target.tagName === "IMG") target.hidden = true; }, true);
    for (const kind of KEPT) element.addEventListener(kind, (event) => event.stopPropagation());
  }

  async open() {
    document.body.append(this.element);
    this.element.showModal();
    this.list.focus();
    await this.read();
  }

  /** Ask for the takes, and show them; what was compared stays where it is still there. */
  async read() {
    const answer = await this.does.read();
    if (!this.element.isConnected) return;
    if (!answer.takes) return void this.say(answer.error);
    this.takes = answer.takes.toReversed();
    const kept = this.stages.map(({ take }) => this.takes.find(({ key }) => key === take?.key));
    const first = kept[0] ?? this.takes.find(({ shown }) => shown) ?? this.takes[0];
    const second = kept[1] ?? this.takes.find((take) => take !== first);
    this.active = this.takes.find(({ key }) => key === this.active?.key) ?? second ?? first ?? null;
    this.build();
    this.place(0, first ?? null);
    this.place(1, second === first ? null : second ?? null);
    if (answer.error) this.say(answer.error);
    else this.say(t(["take.none", "take.one", "take.keys"][Math.min(this.takes.length, 2)]));
  }

  build() {
    this.list.replaceChildren(...this.takes.map((take) => this.line(take)));
    this.mark();
  }

  line(take) {
    const seed = take.seed === null ? "" : t("take.seed", take);
    const facts = [dateText(take.when), seed, t("take.frames", take), sizeText(take.size)].filter(Boolean).join(" · ");
    const differences = differencesOf(take);
    return h("li", { role: "option", id: `sm-take-${take.number}`, "data-key": take.key },
      h("img", { alt: "", loading: "lazy", decoding: "async", src: posterOf(take.video) }),
      h("div", { class: "sm-facts" },
        h("div", { class: "sm-first" }, t("take.name", take),
          take.shown ? h("span", { class: "sm-badge" }, t("take.shown")) : null,
          h("span", { class: "sm-badge sm-of-script", hidden: true }, t("take.chosen")),
          ...SIDES.map((side) => h("span", { class: "sm-place", "data-at": side, hidden: true }, t(`take.${side}`)))),
        h("span", { class: "sm-dim" }, facts),
        differences.length
          ? h("ul", { class: "sm-differences", title: `${t("take.differs")}\n${differences.join("\n")}` },
            ...differences.slice(0, 3).map((words) => h("li", {}, words)))
          : null));
  }

  /** Show which take is where, which is chosen and which has the keyboard. */
  mark() {
    const chosen = this.does.chosen();
    const isChosen = (take) => Boolean(chosen) && take.key.startsWith(chosen);
    [...this.list.children].forEach((line, i) => {
      const take = this.takes[i];
      line.setAttribute("aria-selected", String(take === this.active));
      line.classList.toggle("sm-chosen", isChosen(take));
      line.querySelector(".sm-of-script").hidden = !isChosen(take);
      this.stages.forEach((stage, n) => { line.querySelector(`[data-at="${SIDES[n]}"]`).hidden = stage.take?.key !== take.key; });
    });
    for (const stage of this.stages) stage.use.setAttribute("aria-pressed", String(Boolean(stage.take) && isChosen(stage.take)));
    if (this.active) this.list.setAttribute("aria-activedescendant", `sm-take-${this.active.number}`);
    else this.list.removeAttribute("aria-activedescendant");
    switchOff([[this.free, !chosen], [this.element.querySelector('[data-act="delete"]'), !this.active]], () => this.list);
  }

  /** Show a take on a side; one that stands on the other changes places with it. */
  place(side, take) {
    const [here, other] = [this.stages[side], this.stages[1 - side]];
    if (take && other.take?.key === take.key) other.show(here.take);
    here.show(take);
    for (const { video } of this.stages) video.pause();
    this.isPlaying = false;
    this.showPlaying();
    this.seek(0);
    this.mark();
  }

  clicked(target) {
    const line = target.closest("li[data-key]");
    if (!line) return;
    this.active = this.takes.find(({ key }) => key === line.dataset.key);
    const isThere = this.stages.some(({ take }) => take?.key === this.active.key);
    if (isThere) this.mark();
    else this.place(1, this.active);
  }

  move(by) {
    const at = this.takes.indexOf(this.active);
    this.active = this.takes[Math.min(Math.max(at + by, 0), this.takes.length - 1)] ?? null;
    this.mark();
    this.list.children[this.takes.indexOf(this.active)]?.scrollIntoView({ block: "nearest" });
  }

  pressed(event) {
    event.stopPropagation();
    if (event.isComposing || event.ctrlKey || event.metaKey) return;
    const inList = event.target === this.list;
    const isRoll = event.altKey ? event.code === "KeyR" : event.key.toLowerCase() === "r" && inList;
    if (event.key === "Escape") this.close();
    else if (isRoll) {
      if (!event.repeat) this.rollAgain(event.shiftKey);
    }
    else if (event.altKey) return;
    else if (event.key === " " && !event.target.closest("button")) this.toggle();
    else if (!inList) return;
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") this.move(event.key === "ArrowDown" ? 1 : -1);
    else if (event.key === "Home" || event.key === "End") this.move(event.key === "End" ? this.takes.length : -this.takes.length);
    else if ((event.key === "1" || event.key === "2") && this.active) this.place(Number(event.key) - 1, this.active);
    else if (event.key === "Enter" && this.active) this.choose(this.active);
    else if (event.key === "Delete" && this.active) this.remove();
    else return;
    event.preventDefault();
  }

  // --- playing ---------------------------------------------------------------------------------

  toggle() {
    this.isPlaying = !this.isPlaying;
    const [first] = this.stages;
    for (const { take, video } of this.stages) {
      if (!take) continue;
      if (!this.isPlaying) video.pause();
      else video.play().catch(() => {}); // stopped before it began, or it cannot be read
    }
    // Both at the same place, whatever one of them did before.
    if (this.isPlaying) this.seek(first.video.currentTime);
    this.showPlaying();
  }

  showPlaying() {
    this.play.setAttribute("aria-pressed", String(Boolean(this.isPlaying)));
    this.play.replaceChildren(icon(this.isPlaying ? "pause" : "play"), h("span", {}, t("take.play")));
  }

  seek(seconds) {
    for (const { take, video } of this.stages) {
      if (take && video.readyState > 0) video.currentTime = Math.min(seconds, Math.max(0, video.duration - FRAME) || 0);
    }
    this.time.value = seconds;
  }

  // --- what the artist does --------------------------------------------------------------------

  choose(take) {
    this.does.choose(take);
    this.mark();
    this.say(t(take ? this.shot.isLast ? "take.used" : "take.used.before" : "take.freed", take ?? {}));
  }

  async rollAgain(isLater) {
    const rolled = this.does.roll({ isLater, say: (text) => this.say(text) });
    this.mark();
    await rolled;
    this.mark();
  }

  async remove() {
    const take = this.active;
    if (!take) return;
    const found = await this.does.remove(take.key, false);
    if (found.error) return void this.say(found.error);
    if (!window.confirm(t("take.delete.sure", { ...take, size: sizeText(take.size) }))) return;
    for (const stage of this.stages) if (stage.take?.key === take.key) stage.show(null); // on Windows it would be held
    const at = this.takes.indexOf(take);
    const answer = await this.does.remove(take.key, true);
    if (!answer.error) this.active = this.takes[at + 1] ?? this.takes[at - 1] ?? null;
    await this.read();
    this.say(answer.error || t("take.deleted", { ...take, size: sizeText(answer.freed) }));
  }

  async clean() {
    const found = await this.does.clean(false);
    if (found.error || !found.takes) return void this.say(found.error || t("take.clean.none"));
    if (!window.confirm(t("take.clean.sure", { ...found, size: sizeText(found.size) }))) return;
    for (const stage of this.stages) stage.show(null);
    const answer = await this.does.clean(true);
    await this.read();
    this.say(answer.error || t("take.cleaned", { ...answer, size: sizeText(answer.freed) }));
  }

  say(text) {
    if (text) setText(this.message, text);
  }

  close() {
    for (const { video } of this.stages) release(video);
    this.element.close();
    this.element.remove();
    // To close it takes the browser a while: what comes of it is for the next frame.
    requestAnimationFrame(() => this.does.closed?.());
  }
}
