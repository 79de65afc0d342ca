/** The controls of the story editor and its keys; what they do is the dialog's (dialog.js). */
import { h } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { StoryTable } from "./table.js";
import { setFields } from "./model.js";
import { t } from "../shared/texts.js";

/** The controls by name, for a StoryDialog. */
export function buildControls(dialog) {
  const button = (name, mark, action, extra = {}) => h("button", {
    type: "button", "data-act": name, onclick: action, title: t(`story.${name}.long`),
    "aria-label": t(`story.${name}`), ...extra,
  }, mark ? icon(mark) : null, h("span", {}, t(`story.${name}`)));
  const head = (name, tag, attributes = {}) => h("label", { class: `sm-head-${name}` },
    h("span", {}, t(`story.${name}`)),
    h(tag, { "data-head": name, "aria-label": t(`story.${name}`), title: t(`story.${name}.long`), ...attributes }));
  const table = new StoryTable((name, id, value) => dialog.act(name, id, value));
  const name = head("name", "input", { type: "text", autocomplete: "off" });
  const character = head("character", "textarea", { rows: 2 });
  const overview = head("overview", "textarea", { rows: 2 });
  const format = h("select", { "aria-label": t("story.format"), title: t("story.format.long") },
    h("option", { value: "json" }, "JSON"), h("option", { value: "plain" }, t("story.plain")));
  const file = h("input", { type: "file", accept: ".json,.txt", hidden: true, "aria-hidden": "true", tabindex: "-1" });
  const raw = h("textarea", { class: "sm-raw", spellcheck: "false", "aria-label": t("story.text") });
  const message = h("div", { class: "sm-message", role: "status", "aria-live": "polite" });
  const summary = h("span", { class: "sm-summary" });
  const note = h("p", { class: "sm-note", hidden: true });
  const undoButton = button("undo", "undo", () => dialog.step("undo"), { "aria-keyshortcuts": "Control+Z" });
  const redoButton = button("redo", "redo", () => dialog.step("redo"), { "aria-keyshortcuts": "Control+Y" });
  const saveButton = button("save", null, () => dialog.finish(), { class: "sm-primary", "aria-keyshortcuts": "Control+S" });
  const tabs = ["table", "text"].map((name) => h("button", {
    type: "button", role: "tab", id: `sm-tab-${name}`, "aria-controls": `sm-panel-${name}`,
    "data-tab": name, onclick: () => dialog.chooseTab(name),
  }, t(`story.tab.${name}`)));
  const panels = {
    table: h("div", { class: "sm-panel", role: "tabpanel", id: "sm-panel-table", "aria-labelledby": "sm-tab-table" },
      h("div", { class: "sm-heads" }, name, character, overview), table.element,
      button("add_last", "add", () => dialog.act("add", null), { class: "sm-add-last" })),
    text: h("div", { class: "sm-panel", role: "tabpanel", id: "sm-panel-text", "aria-labelledby": "sm-tab-text", hidden: true }, raw),
  };
  const tablist = h("div", { role: "tablist", class: "sm-tabs", onkeydown: (event) => dialog.arrowTab(event) }, ...tabs);
  const element = h("dialog", { class: "sm-editor", "aria-labelledby": "sm-editor-title" },
    h("header", {},
      h("h2", { id: "sm-editor-title" }, t("story.title")), summary,
      h("div", { class: "sm-space" }),
      undoButton, redoButton,
      h("label", { class: "sm-format" }, h("span", {}, t("story.format")), format),
      button("import", null, () => file.click()), button("export", null, () => dialog.exportFile()),
      button("close", "close", () => dialog.leave(), { class: "sm-close" })),
    tablist, note, panels.table, panels.text, file,
    h("footer", {}, message, saveButton));
  return {
    table, name, character, overview, format, file, raw, message, summary, note,
    undoButton, redoButton, saveButton, tabs, panels, element,
  };
}

/** Let the controls of a StoryDialog work. */
export function listen(dialog) {
  dialog.format.addEventListener("change", () => dialog.change(setFields(dialog.history.value, { format: dialog.format.value })));
  dialog.file.addEventListener("change", () => dialog.importFile());
  dialog.raw.addEventListener("input", () => dialog.typedText());
  dialog.panels.table.addEventListener("input", ({ target }) => {
    const name = target.dataset.head;
    if (name && dialog.history) dialog.change(setFields(dialog.history.value, { [name]: target.value }), `head ${name}`, []);
  });
  dialog.element.addEventListener("cancel", (event) => {
    event.preventDefault();
    dialog.leave();
  });
  dialog.element.addEventListener("keydown", (event) => pressed(dialog, event));
  // Nothing that is done here is meant for the canvas below.
  for (const kind of ["keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "drop", "dragover"]) {
    dialog.element.addEventListener(kind, (event) => event.stopPropagation());
  }
}

function pressed(dialog, event) {
  event.stopPropagation();
  if (event.key === "Escape" && !event.isComposing) {
    event.preventDefault(); // else a second one would close the dialog without asking
    dialog.leave();
  }
  if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
  const key = event.key.toLowerCase();
  const inText = event.target === dialog.raw; // the browser's own undo is right there
  if (key === "s") {
    if (!event.repeat) dialog.finish(); // a key held down answers no question
  } else if (key === "z" && !inText) dialog.step(event.shiftKey ? "redo" : "undo");
  else if (key === "y" && !inText) dialog.step("redo");
  else return;
  event.preventDefault();
}
