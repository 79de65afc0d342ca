/** Narrowing the story editor's table to some of its shots: by words and by where they stand. */
import { h, setText } from "../shared/dom.js";
import { isFinished } from "../shared/runs.js";
import { t } from "../shared/texts.js";
import { STATES, isOfState, matchesWords, namedIn, readWords } from "./filter_rules.js";

const sayings = new WeakMap(); // row -> all that it says, as text

function sayingOf(row) {
  if (!sayings.has(row)) sayings.set(row, JSON.stringify({ ...row, id: null }));
  return sayings.get(row);
}

/**
 * A shot that was shown stays until something else is asked for, also when it no longer matches:
 * nothing goes from under the artist's hands. One that comes to match is shown.
 */
export class ShotFilter {
  /** `dialog` is the story editor; `table` and `timeline` show its shots. */
  constructor(dialog, { table, timeline }) {
    Object.assign(this, { dialog, table, timeline });
    this.facts = new Map(); // row id -> state and video, as the table shows them
    this.shown = null; // ids of the rows that are, while not all are asked for
    const about = (name) => ({ "data-filter": name, "aria-label": t(`filter.${name}`), title: t(`filter.${name}.long`) });
    const toAll = () => h("button", { type: "button", "data-filter": "all", title: t("filter.all.long"), onclick: () => this.clear() }, t("filter.all"));
    this.words = h("input", {
      ...about("words"), type: "search", autocomplete: "off", spellcheck: "false", placeholder: t("filter.words"), "aria-keyshortcuts": "Control+Shift+F",
    });
    this.state = h("select", about("state"), ...STATES.map((name) => h("option", { value: name }, t(`filter.state.${name}`))));
    this.count = h("output", { class: "sm-count", "aria-live": "polite" });
    this.all = toAll();
    this.all.hidden = true;
    this.element = h("div", { class: "sm-filter", role: "search", "aria-label": t("filter") }, this.count, this.words, this.state, this.all);
    this.none = h("p", { class: "sm-none-match", hidden: true }, h("span", {}, t("filter.none")), toAll());
    this.words.addEventListener("input", () => this.apply());
    this.state.addEventListener("change", () => this.apply());
    this.words.addEventListener("keydown", (event) => this.pressed(event));
  }

  /** Whether shots are left out, so that nobody sees where one would go. */
  get isNarrowing() {
    return this.table.leftOut.size > 0;
  }

  get isAsked() {
    return this.words.value.trim() !== "" || this.state.value !== "all";
  }

  open() {
    this.words.focus();
    this.words.select();
  }

  /** Other words or another state: what matches now is shown. */
  apply() {
    this.shown = this.isAsked ? new Set() : null;
    this.known = null;
    if (this.shown) this.refresh();
    else this.draw();
  }

  /** Show all shots again. */
  clear() {
    this.words.value = "";
    this.state.value = "all";
    this.words.focus(); // the button goes
    this.apply();
  }

  /** Show a shot whatever is asked for. */
  keep(id) {
    if (!this.shown || this.shown.has(id)) return;
    this.shown.add(id);
    this.draw();
  }

  /** The story or the states of its shots are others. */
  refresh() {
    if (!this.shown) return;
    const { rows } = this.dialog.history.value;
    const matching = this.matching(rows);
    // Of a story that was read anew, no row was shown before.
    const isSame = rows.some(({ id }) => this.known?.has(id));
    for (const { id } of rows) {
      const isPutIn = isSame && !this.known.has(id);
      if (isPutIn || matching.has(id)) this.shown.add(id);
    }
    this.known = new Set(rows.map(({ id }) => id));
    this.draw();
  }

  /** Ids of the rows that match what is asked for. */
  matching(rows) {
    const { answers, history } = this.dialog;
    const { error, warnings = [] } = answers.get(history.value) ?? {};
    const before = this.state.value === "changed" ? new Set(history.first.rows.map(sayingOf)) : null;
    const wanted = readWords(this.words.value);
    const named = namedIn(error ? [error, ...warnings] : warnings);
    const plans = this.table.plan?.shots;
    const isMatching = (row, i) => {
      const { state = "waiting", video, who } = this.facts.get(row.id) ?? {};
      const label = this.labels[i];
      if (!matchesWords(wanted, { prompt: row.prompt, label, scene: row.scene, number: i + 1, who: who ?? [] })) return false;
      return isOfState(this.state.value, {
        state: state.split(" ")[0], isFinished: isFinished(state), hasVideo: Boolean(video), isEdited: before?.has(sayingOf(row)) === false,
        isNamed: named.has(label), plan: plans?.get(row.id),
      });
    };
    return new Set(rows.filter(isMatching).map(({ id }) => id));
  }

  draw() {
    const rows = this.dialog.history?.value.rows ?? [];
    const leftOut = new Set(this.shown ? rows.map(({ id }) => id).filter((id) => !this.shown.has(id)) : []);
    this.table.narrow(leftOut);
    this.timeline.narrow(leftOut);
    const here = rows.length - leftOut.size;
    this.all.hidden = !this.shown;
    this.none.hidden = here > 0 || !rows.length;
    setText(this.count, this.shown ? t("filter.count", { here, total: rows.length }) : "");
    this.dialog.controls.find.refresh();
  }

  pressed(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    this.apply(); // also leaves out what no longer matches
    const first = this.dialog.history?.value.rows.find(({ id }) => !this.table.leftOut.has(id));
    if (first) this.table.focus(first.id, "prompt");
  }

  /** A key pressed anywhere over the table; whether it was for this. */
  takesKey(event) {
    const isHere = this.element.contains(event.target);
    if (event.key === "Escape" && isHere && this.isAsked) this.clear();
    else if ((event.ctrlKey || event.metaKey) && event.shiftKey && !event.altKey && event.key.toLowerCase() === "f") this.open();
    else return false;
    return true;
  }
}
