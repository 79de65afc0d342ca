/** A dialog over the story editor in which pictures of the host's input folder are chosen. */
import { h, setText } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { filesOf, isPicture, listPictures, thumbnailUrl, upload } from "../shared/input_pictures.js";
import { t } from "../shared/texts.js";

const SEARCH_AFTER_MS = 200;
const KEPT = ["keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "input", "change", "focusin"];

/** Put pictures into the input folder, one after the other: their names there; `tell(text, how)` of each. */
export async function uploadAll(files, tell) {
  const names = [];
  const wrong = [];
  for (const file of files) {
    if (!isPicture(file.name)) {
      wrong.push(t("gallery.not_a_picture", { name: file.name }));
      continue;
    }
    tell(t("gallery.uploading", { name: file.name }));
    try {
      names.push(await upload(file));
    } catch (error) {
      wrong.push(t("gallery.upload_failed", { name: file.name, why: error.message }));
    }
  }
  tell(wrong.join("\n"), { isWrong: wrong.length > 0 });
  return names;
}

/** The chosen names, or `null`; `isMany`: several may be. `chosen` are so from the beginning. */
export function pickPictures(host, { isMany, chosen }) {
  return new Promise((done) => new Picker(host, isMany, chosen, done).open());
}

class Picker {
  constructor(host, isMany, chosen, done) {
    Object.assign(this, { host, isMany, done, chosen: new Set(chosen), tiles: [], asked: 0 });
    const button = (name, mark, act, more = {}) => h("button", {
      type: "button", "data-picker": name, onclick: act, title: t(`picker.${name}.long`), ...more,
    }, mark ? icon(mark) : null, h("span", {}, t(`picker.${name}`)));
    this.words = h("input", { type: "text", autocomplete: "off", placeholder: t("picker.words"), "aria-label": t("picker.words") });
    this.file = h("input", { type: "file", accept: "image/*", multiple: isMany, hidden: true, tabindex: "-1", "aria-hidden": "true" });
    this.list = h("ul", { class: "sm-choices", "aria-label": t("picker.list") });
    this.message = h("div", { class: "sm-message", role: "status", "aria-live": "polite" });
    this.use = button("use", null, () => this.close([...this.chosen]), { class: "sm-primary", hidden: !isMany });
    this.element = h("dialog", { class: "sm-picker", "aria-labelledby": "sm-picker-title" },
      h("header", {}, h("h2", { id: "sm-picker-title" }, t(isMany ? "picker.title" : "picker.title.one")), this.words, h("div", { class: "sm-space" }),
        button("upload", "add", () => this.file.click()), button("close", "close", () => this.close(null), { "aria-label": t("picker.close") })),
      this.list, this.file, h("footer", {}, this.message, this.use));
    this.listen();
  }

  listen() {
    this.words.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.search(), SEARCH_AFTER_MS);
    });
    this.file.addEventListener("change", () => this.add([...this.file.files]));
    this.list.addEventListener("click", ({ target }) => this.toggle(target.closest("[data-name]")));
    this.list.addEventListener("error", ({ target }) => { target.hidden = true; }, true); // of a picture
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("cancel", (event) => {
      if (event.target !== this.element) return; // of the choice of a file, which bubbles
      event.preventDefault();
      this.close(null);
    });
    for (const kind of ["dragover", "drop"]) {
      this.element.addEventListener(kind, (event) => {
        event.preventDefault();
        event.stopPropagation();
        if (kind === "drop") this.add(filesOf(event.dataTransfer));
      });
    }
    for (const kind of KEPT) this.element.addEventListener(kind, (event) => event.stopPropagation());
  }

  async open() {
    this.held = document.activeElement;
    this.host.append(this.element);
    this.element.showModal();
    this.words.focus();
    await this.search();
  }

  async search() {
    const asked = ++this.asked;
    try {
      const { pictures, left_out: leftOut } = await listPictures(this.words.value);
      if (asked !== this.asked) return;
      this.show(pictures);
      this.tell(leftOut ? t("picker.left_out", { count: leftOut }) : pictures.length ? "" : t("picker.none"));
    } catch (error) {
      if (asked === this.asked) this.tell(t("story.no_answer", { why: error.message }), { isWrong: true });
    }
  }

  show(pictures) {
    this.tiles = pictures.map(({ name, version }) => h("button", {
      type: "button", "data-name": name, "aria-pressed": String(this.chosen.has(name)), tabindex: "-1", title: name, "aria-label": name,
    }, h("img", { alt: "", loading: "lazy", decoding: "async", src: thumbnailUrl(name, version) }), h("span", { class: "sm-words" }, name)));
    if (this.tiles.length) this.tiles[0].tabIndex = 0;
    this.list.replaceChildren(...this.tiles.map((tile) => h("li", {}, tile)));
    this.showCount();
  }

  showCount() {
    setText(this.use.lastChild, t(this.chosen.size ? "picker.use" : "picker.use.none", { count: this.chosen.size }));
  }

  toggle(tile) {
    if (!tile) return;
    const { name } = tile.dataset;
    if (!this.isMany) return void this.close([name]);
    if (!this.chosen.delete(name)) this.chosen.add(name);
    tile.setAttribute("aria-pressed", String(this.chosen.has(name)));
    this.showCount();
  }

  async add(files) {
    this.file.value = "";
    let told = ["", {}];
    const names = await uploadAll(files, (...what) => { told = what; this.tell(...what); });
    if (!this.element.isConnected || !names.length) return;
    if (!this.isMany) return void this.close(names.slice(-1));
    for (const name of names) this.chosen.add(name);
    this.words.value = "";
    await this.search();
    if (told[0]) this.tell(...told);
  }

  pressed(event) {
    event.stopPropagation();
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      event.preventDefault();
      this.close(null);
    } else if (event.key === "Enter" && event.target === this.words && this.isMany) {
      event.preventDefault();
      this.close([...this.chosen]);
    } else {
      this.step(event);
    }
  }

  /** Of all tiles, Tab stops at one; arrow keys go to the others. */
  step(event) {
    const at = this.tiles.indexOf(event.target);
    const isDown = event.target === this.words && event.key === "ArrowDown";
    if (at < 0 && !isDown) return;
    const perLine = this.tiles.filter((tile) => tile.offsetTop === this.tiles[0].offsetTop).length;
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -perLine, ArrowDown: perLine }[event.key];
    const next = isDown ? this.tiles[0] : by && this.tiles[at + by];
    if (by || isDown) event.preventDefault();
    if (!next) return;
    for (const tile of this.tiles) if (tile.tabIndex === 0) tile.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  tell(text, { isWrong = false } = {}) {
    this.element.classList.toggle("sm-wrong", isWrong);
    setText(this.message, text);
  }

  close(names) {
    clearTimeout(this.timer);
    this.asked += 1;
    this.element.close();
    this.element.remove();
    if (this.held?.isConnected) this.held.focus();
    this.done(names);
  }
}
