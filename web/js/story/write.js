/** A dialog over the story editor in which a language model, asked elsewhere, writes: by copy and paste. */
import { h, setText } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { post } from "../shared/server.js";
import { serverText } from "../shared/server_text.js";
import { t } from "../shared/texts.js";
import * as model from "./model.js";
import { changesOf, dialogueOf, indicesOf, numbersOf, putRewritten, sceneAround, wordsApart } from "./rewritten.js";

const CHECK_AFTER_MS = 300;
const KEPT = ["keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "drop", "dragover"];
const WAYS = ["idea", "rewrite"];
const LANGUAGES = ["english", "chinese", "idea"];
const typed = { idea: "", shots: "8", style: "", cast: "", language: "english", dialogue: false, which: "", instruction: "", answers: {}, of: null };
const words = (name) => t(`write.${name}`);

/** Open it over the editor `dialog`; `id`: of the row that has the keyboard. */
export function openWriting(dialog, id) {
  new Writing(dialog, id).open();
}

class Writing {
  constructor(dialog, id) {
    this.dialog = dialog;
    if (typed.of !== dialog) Object.assign(typed, { of: dialog, instruction: "", answers: { ...typed.answers, rewrite: "" } });
    this.asked = 0;
    this.found = null; // what an answer is, as soon as it can be used
    const rows = dialog.history?.value.rows ?? [];
    const at = rows.findIndex((row) => row.id === id);
    this.way = at >= 0 && rows.some(({ prompt }) => prompt.trim()) ? "rewrite" : "idea";
    if (at >= 0) typed.which = String(at + 1);
    this.build();
    this.listen();
    this.showWay();
  }

  build() {
    const button = (name, mark, act, more = {}) => h("button", {
      type: "button", "data-write": name, title: t(`write.${name}.long`), "aria-label": words(name), onclick: act, ...more,
    }, mark ? icon(mark) : null, h("span", {}, words(name)));
    const field = (name, tag, more = {}, ...inside) => h("label", { class: `sm-of-${name}` }, h("span", {}, words(name)),
      h(tag, { "data-typed": name, "aria-label": words(name), autocomplete: "off", ...more }, ...inside));
    const hint = (name) => ({ placeholder: t(`write.${name}.hint`) });
    this.tabs = WAYS.map((way) => h("button", {
      type: "button", role: "tab", id: `sm-write-${way}`, "data-way": way, onclick: () => this.choose(way),
    }, t(`write.tab.${way}`)));
    this.forms = {
      idea: h("div", { class: "sm-form" }, field("idea", "textarea", { rows: 4, ...hint("idea") }),
        h("div", { class: "sm-line" }, field("shots", "input", { type: "number", min: 1, max: 200 }),
          field("language", "select", {}, ...LANGUAGES.map((value) => h("option", { value }, t(`write.language.${value}`)))),
          field("dialogue", "input", { type: "checkbox" })),
        field("style", "input", { type: "text", ...hint("style") }), field("cast", "textarea", { rows: 3, ...hint("cast") })),
      rewrite: h("div", { class: "sm-form" },
        h("div", { class: "sm-line" }, field("which", "input", { type: "text", inputmode: "numeric", ...hint("which") }), button("which.scene", null, () => this.takeScene())),
        field("instruction", "textarea", { rows: 4, ...hint("instruction") })),
    };
    this.request = h("textarea", { readonly: true, rows: 5, class: "sm-request", "aria-label": words("request") });
    this.answer = h("textarea", { rows: 6, class: "sm-answer", "aria-label": words("answer"), spellcheck: "false", ...hint("answer") });
    this.result = h("ol", { class: "sm-result", tabindex: "0", "aria-label": words("answer"), hidden: true });
    this.message = h("div", { class: "sm-message", role: "status", "aria-live": "polite" });
    this.correct = button("correct", "copy", () => this.copy(true), { hidden: true });
    this.use = button("use", null, () => this.takeOver(), { class: "sm-primary", disabled: true, "aria-keyshortcuts": "Control+Enter" });
    this.element = h("dialog", { class: "sm-editor sm-write", "aria-labelledby": "sm-write-title" },
      h("header", {}, h("h2", { id: "sm-write-title" }, words("title")), h("div", { class: "sm-space" }),
        button("close", "close", () => this.close(), { class: "sm-close" })),
      h("div", { class: "sm-tabs-line" }, h("div", { role: "tablist", class: "sm-tabs", onkeydown: (event) => this.arrow(event) }, ...this.tabs)),
      h("div", { class: "sm-both" },
        h("section", { "aria-label": words("step.ask") }, h("h3", {}, words("step.ask")), this.forms.idea, this.forms.rewrite,
          button("copy", "copy", () => this.copy(false), { class: "sm-primary" }), this.request),
        h("section", { "aria-label": words("step.answer") }, h("h3", {}, words("step.answer")), this.answer, this.result)),
      h("footer", {}, this.message, this.correct, this.use));
    for (const control of this.element.querySelectorAll("[data-typed]")) {
      const name = control.dataset.typed;
      if (control.type === "checkbox") control.checked = typed[name];
      else control.value = typed[name];
    }
  }

  listen() {
    this.element.addEventListener("input", ({ target }) => {
      const name = target.dataset.typed;
      if (name) {
        typed[name] = target.type === "checkbox" ? target.checked : target.value;
        this.request.value = ""; // of what was typed before
      }
      if (target === this.answer) typed.answers[this.way] = target.value;
      this.later();
    });
    this.element.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    this.element.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.isComposing) return;
      if (event.key === "Escape") this.close();
      else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) this.takeOver();
      else return;
      event.preventDefault();
    });
    for (const kind of KEPT) this.element.addEventListener(kind, (event) => event.stopPropagation());
  }

  open() {
    this.held = document.activeElement;
    document.body.append(this.element);
    this.element.showModal();
    this.firstField().focus();
    this.check();
  }

  firstField() {
    return this.forms[this.way].querySelector(this.way === "idea" ? "[data-typed=idea]" : "[data-typed=instruction]");
  }

  arrow(event) {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    this.choose(WAYS[1 - WAYS.indexOf(this.way)]);
    this.tabs[WAYS.indexOf(this.way)].focus();
  }

  choose(way) {
    this.way = way;
    this.showWay();
    this.check();
  }

  showWay() {
    for (const tab of this.tabs) {
      const isChosen = tab.dataset.way === this.way;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
    }
    for (const way of WAYS) this.forms[way].hidden = way !== this.way;
    this.request.value = "";
    this.answer.value = typed.answers[this.way] ?? "";
  }

  // --- asking --------------------------------------------------------------------------------

  get story() {
    const { history, text } = this.dialog;
    return text === null ? history?.value ?? null : null;
  }

  /** What the server is asked of; null, and told, where it cannot be. */
  body() {
    if (this.way === "idea") {
      const { idea, style, cast, language, dialogue } = typed;
      return { idea, style, cast, language, dialogue, shots: Number(typed.shots) || 0 };
    }
    if (!this.story) return void this.say(words("broken"), true);
    const indices = indicesOf(typed.which, this.story.rows.length);
    if (!indices) return void this.say(t("write.no_shots", { count: this.story.rows.length }), true);
    return { story: model.viewOf(this.story), shots: indices, instruction: typed.instruction };
  }

  takeScene() {
    const at = this.story && indicesOf(typed.which || "1", this.story.rows.length)?.[0];
    if (at == null) return void this.body();
    typed.which = numbersOf(sceneAround(this.story.rows, at));
    const control = this.forms.rewrite.querySelector("[data-typed=which]");
    control.value = typed.which;
    control.focus();
    this.request.value = "";
    this.later();
  }

  async ask(path, body) {
    try {
      return await post(`/storymem/${this.way === "idea" ? "write" : "rewrite"}/${path}`, body);
    } catch (error) {
      return { error: t("story.no_answer", { why: error.message }) };
    }
  }

  /** Copy the request; `isAgain`: with the answer, and what is wrong with it. */
  async copy(isAgain) {
    const body = this.body();
    if (!body) return;
    const told = await this.ask("request", isAgain ? { ...body, answer: this.answer.value } : body);
    if (!this.element.isConnected) return;
    if (told.error) return void this.say(serverText(told.error), true);
    this.request.value = told.request;
    const isCopied = await navigator.clipboard?.writeText(told.request).then(() => true, () => false);
    if (!this.element.isConnected) return;
    if (isCopied) {
      this.answer.focus();
      this.say(words("copied"));
    } else {
      this.request.focus();
      this.request.select();
      this.say(words("copy_by_hand"));
    }
  }

  // --- what came back --------------------------------------------------------------------------

  later() {
    this.show(null);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.check(), CHECK_AFTER_MS);
  }

  async check() {
    clearTimeout(this.timer);
    const asked = ++this.asked;
    this.show(null);
    const answer = this.answer.value;
    if (!answer.trim()) return void this.say("");
    const body = this.body();
    if (!body) return;
    const { story } = this;
    const told = await this.ask("answer", { ...body, answer });
    if (asked !== this.asked || !this.element.isConnected) return;
    if (told.error) {
      this.say(serverText(told.error), true);
      this.correct.hidden = false;
    } else if (this.way === "idea") {
      this.showWritten(told);
    } else {
      this.showRewritten(story, body.shots, told);
    }
  }

  show(found, items = []) {
    this.found = found;
    this.use.disabled = !found;
    this.correct.hidden = true;
    this.result.hidden = !items.length;
    this.result.replaceChildren(...items);
  }

  showWritten({ script, name, prompts, warnings }) {
    this.show({ script, count: prompts.length }, prompts.map((prompt) => h("li", {}, h("p", {}, prompt))));
    const key = warnings.length ? "write.found.faults" : "write.found";
    this.say([t(key, { count: prompts.length, name }), ...warnings.map(doubtOf)].join("\n"));
    this.correct.hidden = !warnings.length;
  }

  showRewritten(story, indices, { shots, warnings }) {
    const changes = changesOf(story.rows, indices, shots);
    const count = (kind) => changes.filter((change) => change.kind === kind).length;
    const facts = { changed: count("changed"), added: count("new"), removed: count("gone") };
    const isOther = facts.changed + facts.added + facts.removed > 0;
    this.show(isOther ? { story, indices, shots, facts } : null, changes.map(itemOf));
    this.say([isOther ? t("write.changes", facts) : words("same"), ...warnings.map(doubtOf)].join("\n"));
    this.correct.hidden = !warnings.length;
  }

  async takeOver() {
    if (!this.found || this.isTaking) return;
    this.isTaking = true;
    const { dialog, found } = this;
    if (this.way === "idea") {
      const answer = await dialog.readText(found.script);
      this.isTaking = false;
      if (!answer || answer.error) return void this.say(answer?.error ?? "", true);
      typed.answers.idea = "";
      this.close();
      dialog.showTab("table");
      dialog.refresh();
      dialog.say(t("write.done.idea", found));
    } else {
      typed.answers.rewrite = "";
      this.isTaking = false;
      const next = putRewritten(found.story, found.indices, found.shots);
      this.close();
      dialog.change(next);
      dialog.showTab("table");
      dialog.say(t("write.done.rewrite", found.facts));
      const row = next.rows[Math.min(found.indices[0], next.rows.length - 1)];
      if (row) dialog.table.focus(row.id, "prompt");
    }
  }

  say(text, isWrong = false) {
    this.element.classList.toggle("sm-wrong", isWrong);
    setText(this.message, text);
  }

  close() {
    clearTimeout(this.timer);
    this.asked += 1;
    this.element.close();
    this.element.remove();
    if (this.held?.isConnected) this.held.focus();
  }
}

const doubtOf = (warning) => `· ${serverText(warning)}`;

/** One shot of a difference. */
function itemOf({ kind, index, row, shot }) {
  const head = h("div", { class: "sm-what" }, h("b", {}, index === null ? "+" : String(index + 1)),
    kind === "changed" ? null : h("span", { class: `sm-kind-${kind}` }, words(kind)));
  const cutOf = (one) => words(one.cut ? "cut" : "continues");
  if (kind === "changed" && row.cut !== shot.cut) head.append(h("del", {}, cutOf(row)), h("ins", {}, cutOf(shot)));
  else if (kind === "new") head.append(h("ins", {}, cutOf(shot)));
  const tell = (name, before, after) => {
    if (shot && before !== after) head.append(h("span", {}, t(`story.${name}`)), before ? h("del", {}, before) : "", after ? h("ins", {}, after) : "");
  };
  tell("remember", row?.remember ?? "", shot?.remember ?? "");
  tell("dialogue", row?.dialogue ?? "", shot ? dialogueOf(row, shot) : "");
  const text = kind === "new" ? [["new", shot.prompt]] : kind === "gone" ? [["old", row.prompt]] : wordsApart(row.prompt, shot.prompt);
  const tags = { same: "span", old: "del", new: "ins" };
  return h("li", { "data-kind": kind }, head, h("p", {}, ...text.map(([piece, words_]) => h(tags[piece], {}, words_))));
}
