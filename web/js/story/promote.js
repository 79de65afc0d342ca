/** A dialog over the story editor in which a shot takes over what a draft of the story made. */
import { h, setText, switchOff } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { post } from "../shared/server.js";
import { serverText } from "../shared/server_text.js";
import { t } from "../shared/texts.js";
import { MEMORY, START, without, withEntry } from "./promote_text.js";

const KEPT = ["keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "input", "focusin"];

export const readFrames = (script, source, shot) => post("/storymem/promote/frames", { ...script, source, shot });
export const chooseFrame = (script, source, shot, frame) => post("/storymem/promote/choose", { ...script, source, shot, frame });

export class PromoteDialog {
  /**
   * For the shot `number`. `script()` is what stands in the editor, as the server wants it, or null;
   * `text()` what the shot takes over, `change(text)` is told what else; `closed()` at the end.
   */
  constructor(host, { number, isHeld, script, text, change, closed }) {
    Object.assign(this, { host, number, script, text, change, closed, source: "", shot: number, frame: -1, tiles: [], asked: 0 });
    const act = (name, more = {}) => h("button", { type: "button", "data-promote": name, title: t(`promote.${name}.long`), onclick: () => this.act(name), ...more },
      h("span", {}, t(`promote.${name}`)));
    this.passes = h("select", { "aria-label": t("promote.pass"), title: t("promote.pass"), onchange: () => this.read(this.passes.value, this.shot) });
    this.shots = h("select", { "aria-label": t("promote.shot"), title: t("promote.shot.long"), onchange: () => this.read(this.source, Number(this.shots.value)) });
    this.list = h("ul", { class: "sm-choices", "aria-label": t("promote.frames") });
    this.name = h("input", { type: "text", autocomplete: "off", placeholder: t("promote.name"), "aria-label": t("promote.name"), title: t("promote.name.long") });
    this.ofFrame = [act("start"), act("memory"), this.name];
    this.ofShot = [act("seed"), act("keyframes")];
    this.now = h("output", { class: "sm-promoted" });
    this.message = h("div", { class: "sm-message", role: "status", "aria-live": "polite" });
    this.nothing = act("nothing");
    this.element = h("dialog", { class: "sm-picker sm-promote", "aria-labelledby": "sm-promote-title" },
      h("header", {}, h("h2", { id: "sm-promote-title" }, t("promote.title", { number })), this.passes, this.shots, h("div", { class: "sm-space" }),
        h("button", { type: "button", "data-promote": "close", title: t("promote.close"), "aria-label": t("promote.close"), onclick: () => this.close() }, icon("close"))),
      h("p", { class: "sm-hint", hidden: !isHeld }, t("promote.held")),
      this.list,
      h("div", { class: "sm-promote-acts" }, ...this.ofFrame, h("div", { class: "sm-space" }), ...this.ofShot),
      h("footer", {}, h("div", { class: "sm-promote-now" }, this.now, this.message), this.nothing));
    this.listen();
  }

  listen() {
    this.list.addEventListener("click", ({ target }) => this.choose(target.closest("[data-frame]")));
    this.element.addEventListener("change", (event) => event.stopPropagation());
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    for (const kind of KEPT) this.element.addEventListener(kind, (event) => event.stopPropagation());
  }

  async open() {
    this.host.append(this.element);
    this.element.showModal();
    this.showNow();
    this.allow(false);
    await this.read("", this.number);
    (this.tiles[0] ?? this.element.querySelector('[data-promote="close"]')).focus();
  }

  async read(source, shot) {
    const asked = ++this.asked;
    this.tell(t("promote.reading"));
    const answer = await this.ask((script) => readFrames(script, source, shot));
    if (asked !== this.asked || !answer) return;
    Object.assign(this, { source: answer.source, shot, frame: -1 });
    this.passes.replaceChildren(...answer.passes.map((name) => h("option", { value: name, selected: name === this.source }, t(`promote.pass.${name}`))));
    this.passes.hidden = answer.passes.length < 2;
    const others = answer.shots.some(({ number }) => number === shot) ? [] : [{ number: shot, words: t("promote.unfinished") }];
    this.shots.replaceChildren(...[...others, ...answer.shots].map(({ number, words }) => (
      h("option", { value: number, selected: number === shot }, t("promote.option", { number, words })))));
    this.tiles = answer.frames.map(({ frame, src }, i) => h("button", {
      type: "button", "data-frame": frame, "aria-pressed": "false", tabindex: i ? "-1" : "0", "aria-label": t("promote.frame", { frame }), title: t("promote.frame", { frame }),
    }, h("img", { alt: "", src, draggable: "false" }), h("span", { class: "sm-words" }, String(frame))));
    this.list.replaceChildren(...this.tiles.map((tile) => h("li", {}, tile)));
    this.allow(true);
    if (answer.damaged) this.tell(serverText(answer.damaged), { isWrong: true });
    else this.tell(this.tiles.length ? "" : t("promote.none"));
  }

  /** What the server answers, `null` when it refuses, which is shown. */
  async ask(work) {
    const script = await this.script();
    const answer = script && await work(script).catch((error) => ({ error: t("story.no_answer", { why: error.message }) }));
    if (answer?.error) this.tell(serverText(answer.error), { isWrong: true });
    return answer && !answer.error ? answer : null;
  }

  choose(tile) {
    if (!tile) return;
    this.frame = Number(tile.dataset.frame);
    for (const one of this.tiles) one.setAttribute("aria-pressed", String(one === tile));
    this.point(tile);
    this.allow(true);
  }

  /** Of all frames, Tab stops at one. */
  point(tile) {
    for (const one of this.tiles) if (one.tabIndex === 0) one.tabIndex = -1;
    tile.tabIndex = 0;
  }

  /** Who gets the keyboard of a control that is switched off. */
  first = () => this.tiles[0] ?? this.shots;

  allow(isRead) {
    switchOff([
      ...this.ofFrame.map((control) => [control, this.frame < 0]),
      ...this.ofShot.map((control) => [control, !isRead || !this.tiles.length]),
    ], this.first);
  }

  async act(name) {
    const { source, shot } = this;
    const of = { shot: shot === this.number ? 0 : shot, source };
    if (name === "nothing") return void this.put("");
    if (name === "seed") return void this.put(withEntry(this.text(), { kind: "seed", ...of }));
    if (name === "keyframes") return void this.put(withEntry(this.text(), { kind: MEMORY, ...of }));
    const { frame } = this;
    const who = name === "memory" ? this.name.value.replace(/[#,;，；\]\n]/g, " ").trim() : "";
    const answer = await this.ask((script) => chooseFrame(script, source, shot, frame));
    if (answer) this.put(withEntry(this.text(), { kind: name === "start" ? START : MEMORY, ...of, frame, name: who, picture: answer.picture }));
  }

  put(text) {
    this.change(text);
    this.showNow();
    this.tell("");
  }

  /** What the shot takes over now, each with a cross. */
  showNow() {
    const entries = this.text().split(",").map((part) => part.trim()).filter(Boolean);
    switchOff([[this.nothing, !entries.length]], this.first);
    const words = (entry) => entry.replace(/\s*#[0-9a-f]+$/, "");
    this.now.replaceChildren(...(entries.length ? entries.map((entry) => h("span", { class: "sm-chip" }, words(entry),
      h("button", { type: "button", "aria-label": t("promote.remove", { entry: words(entry) }), title: t("promote.remove", { entry: words(entry) }),
        onclick: () => { this.put(without(this.text(), entry)); this.nothing.focus(); } }, icon("close")))) : [t("promote.now.nothing")]));
  }

  pressed(event) {
    event.stopPropagation();
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      event.preventDefault();
      return void this.close();
    }
    const at = this.tiles.indexOf(event.target);
    if (at < 0) return;
    const perLine = this.tiles.filter((tile) => tile.offsetTop === this.tiles[0].offsetTop).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perLine, ArrowDown: perLine }[event.key];
    if (by) event.preventDefault();
    const next = by && this.tiles[at + by];
    if (!next) return;
    this.point(next);
    next.focus();
  }

  tell(text, { isWrong = false } = {}) {
    this.element.classList.toggle("sm-wrong", isWrong);
    setText(this.message, text);
  }

  close() {
    this.asked += 1;
    this.element.close();
    this.element.remove();
    this.closed();
  }
}
