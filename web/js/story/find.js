/** Find and replace over all prompts of the story editor. */
import { h, setText } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { t } from "../shared/texts.js";
import { FoundMarks } from "./find_marks.js";
import { setFields, setRow } from "./model.js";
import { isWide } from "./parts.js";

const SPECIAL = /[\\^$.*+?()[\]{}|]/g;
const IN_WORD = /[\p{L}\p{N}_]/u;

/** What finds these words in a text, or `null` for none. */
export function patternOf(words, { matchesCase, wholeWords }) {
  if (!words) return null;
  const edge = (letter, sign) => (wholeWords && IN_WORD.test(letter) && !isWide(letter) ? `(?${sign}[\\p{L}\\p{N}_])` : "");
  const [first, last] = [[...words][0], [...words].at(-1)];
  return new RegExp(edge(first, "<!") + words.replace(SPECIAL, "\\$&") + edge(last, "!"), matchesCase ? "gu" : "giu");
}

/** Where a pattern is in a text, as [begin, end]. */
export function placesOf(pattern, text) {
  return pattern ? Array.from(text.matchAll(pattern), ({ 0: { length }, index }) => [index, index + length]) : [];
}

export class FindBar {
  /** `dialog` is the story editor, `table` its rows. */
  constructor(dialog, table) {
    Object.assign(this, { dialog, table });
    this.marks = new FoundMarks(table);
    this.known = new WeakMap(); // row -> where the words are in its prompt, as its text field shows it
    this.at = null; // the shown place: { id of the row, number: which one of the row's }
    const field = (name) => h("input", {
      type: "text", "data-find": name, autocomplete: "off", spellcheck: "false", placeholder: t(`find.${name}`), "aria-label": t(`find.${name}`),
    });
    const button = (name, mark, act) => h("button", {
      type: "button", "data-find": name, onclick: act, title: t(`find.${name}.long`), "aria-label": t(`find.${name}`),
    }, mark ? icon(mark) : t(`find.${name}`));
    const choice = (name, sign) => h("button", {
      type: "button", "data-find": name, "aria-pressed": "false", title: t(`find.${name}.long`), "aria-label": t(`find.${name}`),
      onclick: ({ currentTarget }) => {
        currentTarget.setAttribute("aria-pressed", String(currentTarget.getAttribute("aria-pressed") !== "true"));
        this.search();
      },
    }, sign);
    this.words = field("words");
    this.other = field("other");
    this.choices = { matchesCase: choice("case", "Aa"), wholeWords: choice("whole", "ab|") };
    this.count = h("output", { class: "sm-count", "aria-live": "polite" });
    this.replacing = h("div", { class: "sm-find-line" }, this.other,
      button("replace", null, () => this.replace()), button("all", null, () => this.replaceAll()));
    this.element = h("div", { class: "sm-find", role: "search", "aria-label": t("find"), hidden: true },
      h("div", { class: "sm-find-line" }, this.words, ...Object.values(this.choices), button("previous", "up", () => this.step(-1)),
        button("next", "down", () => this.step(1)), this.count, button("close", "close", () => this.close())),
      this.replacing);
    this.words.addEventListener("input", () => this.search());
    this.element.addEventListener("keydown", (event) => this.pressed(event));
  }

  get isOpen() {
    return !this.element.hidden;
  }

  get rows() {
    return this.dialog.history?.value.rows ?? [];
  }

  open({ replace = false } = {}) {
    this.table.list.whole();
    const held = document.activeElement;
    this.origin = this.table.idOf(held);
    if (held.dataset?.field === "prompt") {
      const chosen = held.value.slice(held.selectionStart, held.selectionEnd);
      if (chosen && !chosen.includes("\n")) this.words.value = chosen;
    }
    if (!this.isOpen) this.replacing.hidden = true;
    if (replace) this.replacing.hidden = false;
    this.element.hidden = false;
    this.words.focus();
    this.words.select();
    this.search();
  }

  hide() {
    this.element.hidden = true;
    this.marks.clear();
  }

  /** Whether it was open; the keyboard goes to the shown place. */
  close() {
    if (!this.isOpen) return false;
    this.hide();
    const row = this.rows.find(({ id }) => id === (this.at?.id ?? this.origin)) ?? this.rows[0];
    if (row) this.table.putCursor(row.id, ...(this.at ? this.placesIn(row)[this.at.number] : [0]));
    return true;
  }

  /** Other words, or another way to compare: the first place from the row on that had the keyboard. */
  search() {
    const isOn = (choice) => choice.getAttribute("aria-pressed") === "true";
    const { matchesCase, wholeWords } = this.choices;
    this.pattern = patternOf(this.words.value, { matchesCase: isOn(matchesCase), wholeWords: isOn(wholeWords) });
    this.known = new WeakMap();
    const { rows } = this;
    const begin = Math.max(0, rows.findIndex(({ id }) => id === this.origin));
    const row = [...rows.slice(begin), ...rows.slice(0, begin)].find((one) => this.placesIn(one).length);
    this.at = row ? { id: row.id, number: 0 } : null;
    this.show();
  }

  /** The story is another one; its rows that were not changed are known. */
  refresh() {
    if (!this.isOpen) return;
    const row = this.rows.find(({ id }) => id === this.at?.id);
    const places = row ? this.placesIn(row).length : 0;
    if (places) this.at = { id: row.id, number: Math.min(this.at.number, places - 1) };
    else this.at = this.after(row ? this.rows.indexOf(row) + 1 : 0);
    this.show();
  }

  placesIn(row) {
    if (this.table.leftOut.has(row.id)) return []; // nobody sees what would be replaced there
    if (!this.known.has(row)) this.known.set(row, placesOf(this.pattern, row.prompt.replace(/\r\n?/g, "\n")));
    return this.known.get(row);
  }

  /** The first place from a row on, and after the last row that of the first one. */
  after(begin) {
    const { rows } = this;
    const row = [...rows.slice(begin), ...rows.slice(0, begin)].find((one) => this.placesIn(one).length);
    return row ? { id: row.id, number: 0 } : null;
  }

  step(by) {
    const { rows, at } = this;
    if (!at) return;
    const row = rows.findIndex(({ id }) => id === at.id);
    const number = at.number + by;
    if (number >= 0 && number < this.placesIn(rows[row]).length) {
      this.at = { id: at.id, number };
    } else if (by > 0) {
      this.at = this.after(row + 1);
    } else {
      const before = [...rows.slice(row), ...rows.slice(0, row)].findLast((one) => this.placesIn(one).length);
      this.at = { id: before.id, number: this.placesIn(before).length - 1 };
    }
    this.show();
  }

  /** Put the other words in the shown place, and show the next one. */
  replace() {
    if (!this.at) return;
    const { id, number } = this.at;
    const at = this.rows.findIndex((row) => row.id === id);
    const { prompt } = this.rows[at];
    const [begin, end] = placesOf(this.pattern, prompt)[number];
    const other = this.other.value;
    const next = prompt.slice(0, begin) + other + prompt.slice(end);
    const passed = placesOf(this.pattern, next).filter(([place]) => place < begin + other.length).length;
    this.at = { id, number: passed }; // what was put in is not found again
    const story = setRow(this.dialog.history.value, id, { prompt: next });
    this.dialog.change(story, null, [story.rows[at]]);
    if (passed >= this.placesIn(this.rows[at]).length) this.at = this.after(at + 1);
    this.show();
  }

  replaceAll() {
    const other = this.other.value;
    let count = 0;
    const changed = [];
    const rows = this.rows.map((row) => {
      const places = this.placesIn(row).length;
      if (!places) return row;
      count += places;
      changed.push({ ...row, prompt: row.prompt.replace(this.pattern, () => other) });
      return changed.at(-1);
    });
    if (!count) return;
    this.origin = this.at?.id ?? this.origin; // where the keyboard goes after it
    this.dialog.change(setFields(this.dialog.history.value, { rows }), null, changed);
    this.element.classList.remove("sm-none");
    setText(this.count, t("find.replaced", { count, shots: changed.length }));
  }

  show() {
    const { rows, at } = this;
    let total = 0;
    let here = 0; // which one of all is shown
    const found = new Map();
    for (const row of rows) {
      const { length } = this.placesIn(row);
      if (row.id === at?.id) here = total + at.number + 1;
      if (length) found.set(row.id, length);
      total += length;
    }
    this.element.classList.toggle("sm-none", Boolean(this.pattern) && !total);
    setText(this.count, !this.pattern ? "" : total ? t("find.count", { here, total }) : t("find.none"));
    const row = rows.find(({ id }) => id === at?.id);
    this.marks.show(found, row ? { row, places: this.placesIn(row), number: at.number } : null);
  }

  pressed(event) {
    if (event.isComposing || event.altKey) return;
    if (event.key !== "Enter" || event.target.tagName !== "INPUT" || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (event.target === this.other && !event.shiftKey) this.replace();
    else this.step(event.shiftKey ? -1 : 1);
  }

  /** A key pressed anywhere in the story editor; whether it was for this. */
  takesKey(event) {
    const key = event.key.toLowerCase();
    const withControl = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (withControl && (key === "f" || key === "h")) this.open({ replace: key === "h" });
    else if (this.isOpen && (key === "f3" || (withControl && key === "g"))) this.step(event.shiftKey ? -1 : 1);
    else return false;
    return true;
  }
}
