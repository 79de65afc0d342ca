/** The controls of the story editor and its keys; what they do is the dialog's (dialog.js). */
import { h, switchOff } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { watch } from "../shared/screen.js";
import { t } from "../shared/texts.js";
import { ShotFilter } from "./filter.js";
import { FindBar } from "./find.js";
import { PassChoice } from "./passes.js";
import { isSpaceForStory } from "./player.js";
import { saveAndRun } from "./roll.js";
import { finish } from "./saving.js";
import { StoryTable } from "./table.js";
import { Timeline } from "./timeline.js";
import { openWriting } from "./write.js";

const HEADS = ["name", "cast", "character", "target", "overview"];
// Nothing that is done in the dialog is meant for the canvas below it.
const KEPT = ["keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "drop", "dragover"];

function button(name, mark, action, extra = {}) {
  return h("button", {
    type: "button", "data-act": name, onclick: action, title: t(`story.${name}.long`),
    "aria-label": t(`story.${name}`), ...extra,
  }, mark ? icon(mark) : null, h("span", {}, t(`story.${name}`)));
}

function head(name, tag, attributes = {}) {
  return h("label", { class: `sm-head-${name}` },
    h("span", {}, t(`story.${name}`)),
    h(tag, { "data-head": name, "aria-label": t(`story.${name}`), title: t(`story.${name}.long`), ...attributes }));
}

/** A file that is dropped where none belongs would be opened in place of the page. */
function keepPage(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "none";
}

export class StoryControls {
  /**
   * `does` is what the artist can ask for: act(name, id, value), chooseTab(name), exportFile(),
   * importFile(file), leave(), readText(text), setFields(fields, kind, changed), step(name), typedText().
   */
  constructor(does) {
    this.does = does;
    this.table = new StoryTable((name, id, value) => does.act(name, id, value));
    this.timeline = new Timeline({ act: (name, id, value) => does.act(name, id, value), choose: (id) => this.goTo(id) });
    this.find = new FindBar(does, this.table);
    this.filter = new ShotFilter(does, this);
    this.passes = new PassChoice(does);
    this.table.elsewhere = () => this.filter.words;
    this.heads = {
      name: head("name", "input", { type: "text", autocomplete: "off" }),
      cast: head("cast", "input", { type: "text", autocomplete: "off" }),
      character: head("character", "textarea", { rows: 2 }),
      overview: head("overview", "textarea", { rows: 2 }),
      target: head("target", "textarea", { rows: 2, placeholder: t("story.target.hint") }),
    };
    this.format = h("select", { "aria-label": t("story.format"), title: t("story.format.long") },
      h("option", { value: "json" }, "JSON"), h("option", { value: "plain" }, t("story.plain")));
    this.file = h("input", { type: "file", accept: ".json,.txt", hidden: true, "aria-hidden": "true", tabindex: "-1" });
    this.raw = h("textarea", { class: "sm-raw", spellcheck: "false", "aria-label": t("story.text") });
    this.message = h("div", { class: "sm-message", role: "status", "aria-live": "polite" });
    this.summary = h("span", { class: "sm-summary" });
    this.note = h("p", { class: "sm-note", hidden: true });
    this.findButton = button("find", "find", () => this.find.open({ replace: true }), { "aria-keyshortcuts": "Control+F Control+H" });
    this.undoButton = button("undo", "undo", () => does.step("undo"), { "aria-keyshortcuts": "Control+Z" });
    this.redoButton = button("redo", "redo", () => does.step("redo"), { "aria-keyshortcuts": "Control+Y" });
    this.saveButton = button("save", null, () => finish(does), { class: "sm-primary", "aria-keyshortcuts": "Control+S" });
    this.runButton = button("run", null, () => saveAndRun(does), { "aria-keyshortcuts": "Control+Enter" });
    this.tabs = ["table", "text"].map((name) => h("button", {
      type: "button", role: "tab", id: `sm-tab-${name}`, "aria-controls": `sm-panel-${name}`,
      "data-tab": name, onclick: () => does.chooseTab(name),
    }, t(`story.tab.${name}`)));
    this.panels = {
      table: h("div", { class: "sm-panel", tabindex: "-1", role: "tabpanel", id: "sm-panel-table", "aria-labelledby": "sm-tab-table" },
        h("div", { class: "sm-heads" }, ...HEADS.map((name) => this.heads[name])), this.table.element, this.filter.none,
        button("add_last", "add", () => does.act("add", null), { class: "sm-add-last" })),
      text: h("div", { class: "sm-panel", role: "tabpanel", id: "sm-panel-text", "aria-labelledby": "sm-tab-text", hidden: true }, this.raw),
    };
    this.element = this.build();
    this.showTab("table");
    this.listen();
  }

  build() {
    const { does, file } = this;
    const tablist = h("div", { role: "tablist", class: "sm-tabs", onkeydown: (event) => this.arrowTab(event) }, ...this.tabs);
    return h("dialog", { class: "sm-editor", "aria-labelledby": "sm-editor-title" },
      h("header", {},
        h("h2", { id: "sm-editor-title" }, t("story.title")), this.summary,
        h("div", { class: "sm-space" }),
        button("watch", "play", () => this.watch(), { "aria-keyshortcuts": "Space" }),
        button("write", "edit", () => this.write(), { "aria-keyshortcuts": "Alt+W" }), this.findButton, this.undoButton, this.redoButton,
        h("label", { class: "sm-format" }, h("span", {}, t("story.format")), this.format),
        button("import", null, () => file.click()), button("export", null, () => does.exportFile()),
        button("close", "close", () => does.leave(), { class: "sm-close" })),
      h("div", { class: "sm-tabs-line" }, tablist, this.passes.element, this.filter.element), this.note, this.find.element, this.timeline.element, this.panels.table, this.panels.text, file,
      h("footer", {}, this.message, this.runButton, this.saveButton));
  }

  listen() {
    const { does } = this;
    this.format.addEventListener("change", () => does.setFields({ format: this.format.value }));
    this.file.addEventListener("change", () => {
      const [file] = this.file.files;
      this.file.value = "";
      if (file) does.importFile(file);
    });
    this.raw.addEventListener("input", () => does.typedText());
    this.table.element.addEventListener("focusin", ({ target }) => {
      this.lastRow = this.table.idOf(target);
      this.timeline.select(this.lastRow);
    });
    this.panels.table.addEventListener("input", ({ target }) => {
      const name = target.dataset.head;
      if (name) does.setFields({ [name]: target.value }, `head ${name}`, []);
    });
    this.element.addEventListener("cancel", (event) => {
      if (event.target !== this.element) return; // of the choice of a file, which bubbles
      event.preventDefault();
      does.leave();
    });
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("close", () => this.table.player.stop());
    for (const kind of ["dragover", "drop"]) this.element.addEventListener(kind, keepPage);
    for (const kind of KEPT) this.element.addEventListener(kind, (event) => event.stopPropagation());
  }

  pressed(event) {
    const { does } = this;
    event.stopPropagation();
    if (event.key === "Escape" && !event.isComposing) {
      event.preventDefault(); // else a second one would close the dialog without asking
      if (!this.table.player.stop() && !this.filter.takesKey(event) && !this.find.close()) does.leave();
    } else if (isSpaceForStory(event)) {
      event.preventDefault();
      this.watch();
    } else if (event.altKey && !event.ctrlKey && !event.shiftKey && event.code === "KeyW") {
      event.preventDefault();
      this.write();
    } else if (this.tab === "table" && (this.filter.takesKey(event) || this.find.takesKey(event))) event.preventDefault();
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase();
    const inText = event.target === this.raw; // the browser's own undo is right there
    if (key === "s") {
      if (!event.repeat) finish(does); // a key held down answers no question
    } else if (key === "enter") {
      if (!event.repeat) saveAndRun(does);
    } else if (key === "z" && !inText) does.step(event.shiftKey ? "redo" : "undo");
    else if (key === "y" && !inText) does.step("redo");
    else return;
    event.preventDefault();
  }

  /** Play the story so far. */
  watch() {
    this.table.player.stop();
    watch(() => this.table.shots());
  }

  /** A language model writes: the shot with the keyboard, or all. */
  write() {
    openWriting(this.does, this.tab === "table" ? this.lastRow : null);
  }

  arrowTab(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    this.does.chooseTab(this.tab === "table" ? "text" : "table");
    this.focusTab();
  }

  tabOf(name = this.tab) {
    return this.tabs.find((tab) => tab.dataset.tab === name);
  }

  focusTab(name) {
    this.tabOf(name).focus();
  }

  showTab(name) {
    this.tab = name;
    this.findButton.disabled = this.timeline.element.hidden = this.filter.element.hidden = name !== "table";
    if (name !== "table") this.find.hide();
    for (const tab of this.tabs) {
      const chosen = tab.dataset.tab === name;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
    for (const [key, panel] of Object.entries(this.panels)) panel.hidden = key !== name;
  }

  /** What stands over the table; `defaultName` is shown while the story has no name. */
  showHeads(story, defaultName) {
    for (const name of HEADS) {
      const control = this.heads[name].querySelector("[data-head]");
      const text = story[name] ?? "";
      if (control.value !== text.replace(/\r\n?/g, "\n")) control.value = text;
    }
    this.heads.cast.querySelector("input").readOnly = story.cast === null; // it holds more than names
    this.heads.target.querySelector("textarea").readOnly = story.target === null; // it is no text
    this.heads.name.querySelector("input").placeholder = defaultName;
    this.format.value = story.format;
  }

  /** Who is in the story as it is read; shown where no cast is typed. */
  showNames(names) {
    this.heads.cast.querySelector("input").placeholder = names.length ? t("story.cast.found", { names: names.join(", ") }) : "";
  }

  /** The script as text; one that is being typed is left as it is unless it says something else. */
  showText(text) {
    const plain = (value) => (document.activeElement === this.raw ? value.replace(/\r/g, "") : value);
    if (plain(this.raw.value) !== plain(text)) this.raw.value = text;
  }

  /** The shots in the table and over it; see there. */
  showRows(rows, labels, facts, takes) {
    this.table.show(rows, labels, facts, takes);
    this.timeline.show(rows, facts);
    Object.assign(this.filter, { labels, facts }).refresh();
  }

  /** One that stays where it is. */
  showRow(row) {
    this.table.showRow(row);
    this.timeline.showRow(row);
  }

  /** The keyboard into a shot's row, also where that is left out. */
  goTo(id) {
    this.filter.keep(id);
    this.table.focus(id, "prompt");
  }

  /** The keyboard to a shot: to its block when it was moved there, else to a control of its row. */
  focusShot(id, name) {
    if (name === "timeline") this.timeline.focus(id);
    else this.table.focus(id, name);
  }

  /** Which of the controls can be used. */
  enable({ table, format, undo, redo }) {
    this.tabs[0].setAttribute("aria-disabled", String(!table));
    this.format.disabled = !format;
    switchOff([[this.undoButton, !undo], [this.redoButton, !redo]],
      () => [this.undoButton, this.redoButton].find((one) => !one.disabled) ?? this.tabOf());
  }

  /** Whether Save saves a script that has an error. */
  offerAnyway(isOffered) {
    this.saveButton.classList.toggle("sm-anyway", isOffered);
  }

  say(text, { isWrong = false } = {}) {
    this.element.classList.toggle("sm-wrong", isWrong);
    this.message.textContent = text;
  }
}
