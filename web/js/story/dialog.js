/** The story editor: a dialog over the page with a table of shots, the script as text, and undo. */
import { setText } from "../shared/dom.js";
import { confirmed } from "../shared/settings.js";
import { StoryControls } from "./controls.js";
import * as model from "./model.js";
import { NO_FILE, readStory, writeScript } from "./api.js";
import { countTakes } from "./take_actions.js";
import { act } from "./acts.js";
import { exportFile, importFile } from "./files.js";
import { t } from "../shared/texts.js";
import { headOfDialog, indexBeingMade, standingOf } from "./standing.js";

const CHECK_AFTER_MS = 350;

export class StoryDialog {
  /**
   * `asked` is what stands on the node (see api.js), `save(text)` puts a script there, `about` is shown,
   * `running(mark)` gives the latest event of a run in progress of the script marked so, or null,
   * `otherRun(place)` that of whatever script, `loopPass()` names the pass that the next run makes,
   * `look` shows what a shot saw (see gallery/seen_dialog.js).
   */
  constructor({ asked, about = "", save, running, otherRun, loopPass, look, onClose }) {
    Object.assign(this, { asked, save, running, otherRun, loopPass, look, onClose });
    this.answers = new WeakMap(); // story -> what the server said of it
    this.facts = new Map(); // row id -> state and video, as the story's folder tells
    this.begun = new Map(); // mark of a script that was here -> its rows' ids by label
    this.fromFile = asked.file !== NO_FILE && asked.file !== "";
    this.history = null; // until the script is read; null as well while its text has an error
    this.text = null; // the text tab's content when it is no story
    this.dropped = null; // such a text that was undone, and the story it was undone to
    this.reading = 0; // counts what is read, so that an answer to an older text is left aside
    this.controls = new StoryControls(this);
    const { element, note, table } = this.controls;
    Object.assign(this, { element, table });
    note.textContent = [about, this.fromFile ? t("story.from_file", { file: asked.file }) : ""].filter(Boolean).join("\n");
    note.hidden = !note.textContent;
  }

  async open() {
    document.body.append(this.element);
    this.element.showModal();
    this.say(this.warned = t("story.reading"));
    const answer = await this.ask(() => readStory(this.asked));
    this.original = answer ? answer.text : this.fromFile ? null : this.asked.script;
    if (!answer || answer.error) {
      this.text = this.original;
      if (answer) this.showError(answer.error);
      this.showTab("text");
      this.refreshText();
      this.controls.raw.focus();
      return;
    }
    this.begin(answer);
    this.table.focus(this.history.value.rows[0]?.id, "prompt");
  }

  begin(answer) {
    const story = model.storyOf(answer);
    if (this.history) {
      this.history.set(story, "text");
    } else {
      this.history = new model.History(story);
      this.differs = answer.text !== this.original; // what stands on the node could not be read
    }
    this.text = this.dropped = null;
    this.defaultName = answer.default_name;
    this.learn(story, answer);
    this.refresh();
    countTakes(this);
  }

  /** Colour rows by a run in progress. */
  showRunning() {
    if (this.history) this.showRows();
  }

  /** Ask again where the shots stand; `isEnd`: of a run, which may have made takes of them. */
  recheck({ isEnd = false } = {}) {
    if (!this.history) return;
    this.table.plan.again({ isMade: true });
    this.checkNext({ again: true });
    if (isEnd) countTakes(this);
  }

  // --- changes -------------------------------------------------------------------------------

  act(name, id, value) {
    if (this.history) act(this, name, id, value);
  }

  /** `changed`: the rows that are others now, where no row came, went or moved. */
  change(story, kind = null, changed = story.rows) {
    if (!this.history) return;
    this.history.set(story, kind);
    this.dropped = null;
    if (!this.element.classList.contains("sm-wrong")) this.say(this.warned ?? ""); // no longer what was done last
    this.refresh(changed);
  }

  /** See `change`. */
  setFields(fields, ...how) {
    if (this.history) this.change(model.setFields(this.history.value, fields), ...how);
  }

  step(name) {
    if (!this.history || (this.text !== null && name === "redo")) return;
    const { rows } = this.history.value;
    if (this.text !== null) {
      this.dropped = { story: this.history.value, text: this.text };
      this.text = null;
      this.reading += 1;
    } else if (name === "redo" && this.canRestore()) {
      this.text = this.dropped.text;
      this.dropped = null;
      this.showTab("text");
      this.refreshText();
      this.readText(this.text);
      return;
    } else if (!this.history[name]()) {
      return;
    }
    this.refresh(undefined, this.history.value.rows.findIndex((row, i) => row !== rows?.[i]));
    this.say(t(`story.${name}.done`));
  }

  /** Whether Redo brings back a text that is no story. */
  canRestore() {
    return this.dropped !== null && this.dropped.story === this.history?.value;
  }

  // --- what the server says ------------------------------------------------------------------

  refresh(changed = this.history.value.rows, near = changed === this.history.value.rows ? this.numberOfHeld() : -1) {
    const story = this.history.value;
    this.controls.showHeads(story, this.defaultName ?? "");
    const known = this.answers.get(story);
    if (known) this.learn(story, known);
    if (changed === story.rows || this.coloured) this.showRows();
    else for (const row of changed) this.controls.showRow(row);
    this.controls.filter.refresh();
    this.controls.find.refresh();
    this.refreshText();
    if (!document.activeElement?.closest("dialog")) this.takeKeyboard(near); // which one above it may have
    this.controls.offerAnyway(false);
    this.armed = false;
    clearTimeout(this.timer);
    if (known) this.tell(known);
    else this.timer = setTimeout(() => this.checkNext(), CHECK_AFTER_MS);
  }

  /** Which of the drawn rows has the keyboard. */
  numberOfHeld() {
    const held = this.table.idOf(document.activeElement);
    return held === null ? -1 : (this.drawn ?? []).findIndex(({ id }) => id === held);
  }

  /** The control that had the keyboard is gone, and keys must not reach the canvas: to row `near`. */
  takeKeyboard(near) {
    const { rows } = this.history.value;
    if (this.controls.tab === "table") this.table.focus(rows[Math.min(Math.max(near, 0), rows.length - 1)]?.id, "prompt");
    if (!this.element.contains(document.activeElement)) this.controls.focusTab();
  }

  /** Show the shots of another pass: `film`, or a draft of it. */
  showPass(pass) {
    this.asked = { ...this.asked, pass };
    this.answers = new WeakMap();
    this.facts = new Map();
    if (!this.history) return;
    this.check();
    countTakes(this);
  }

  /** The latest event of a run in progress of the pass that is shown, if it is of the script as it stands. */
  runShown() {
    const { mark, place } = this.answers.get(this.history.value) ?? {};
    const run = this.running?.(mark);
    return run && (!place || run.folder === place) ? run : null;
  }

  showRows() {
    const { rows } = this.history.value;
    const labels = model.labelsOf(rows);
    this.drawn = rows;
    const run = this.runShown();
    const other = run ? null : this.otherRun?.(this.answers.get(this.history.value)?.place);
    const at = indexBeingMade(other, rows, this.begun.get(other?.script));
    this.coloured = Boolean(run ?? other); // by a run, which is of another script after a change
    const { row: planned } = this.table.plan.knownOf(this.history.value);
    const facts = new Map(rows.map((row, i) => [row.id, standingOf(this.facts.get(row.id), {
      planned: planned(row), run: i === at ? "running" : run?.states[labels[i]],
    })]));
    if (this.controls.tab === "table") this.controls.showRows(rows, labels, facts, this.takes);
    this.states = [...facts.values()].map(({ state }) => state);
    this.tellSummary();
  }

  /** What stands over the table; while a run is on, the time that it needs goes down. */
  tellSummary() {
    if (!this.history) return;
    const { text, long } = headOfDialog(this);
    setText(this.controls.summary, text);
    this.controls.summary.title = long;
  }

  /** Ask the server what the story as it stands now says; the answer, `null` when it gave none. */
  async check({ again = false } = {}) {
    const story = this.history.value;
    const answer = (!again && this.answers.get(story)) || await this.askAbout(story);
    if (!answer) return null;
    if (answer.pass !== this.asked.pass) return answer; // another one was chosen meanwhile
    this.answers.set(story, answer);
    if (this.history.value === story) {
      this.learn(story, answer);
      this.showRows();
      this.refreshText();
      if (this.text === null && !this.armed) this.tell(answer); // else another error is shown
    }
    return answer;
  }

  /** Ask as well, but after what is being asked: a long story is much to read and to write. */
  async checkNext(how = {}) {
    const story = this.history.value;
    await this.asking?.answer;
    const isWanted = how.again || story === this.history.value; // what is there now, reported again
    if (isWanted && this.element.isConnected) await this.check(how);
  }

  async askAbout(story) {
    const { pass } = this.asked;
    if (this.asking?.story !== story || this.asking.pass !== pass) {
      const asking = { story, pass, answer: this.ask(() => writeScript(model.viewOf(story), this.asked)) };
      this.asking = asking;
      asking.answer.then(() => { if (this.asking === asking) this.asking = null; });
    }
    const answer = await this.asking.answer;
    return answer && { ...answer, text: story.text ?? answer.script };
  }

  learn(story, answer) {
    this.answers.set(story, answer);
    if (answer.error) return;
    this.controls.showNames(answer.names ?? []);
    this.controls.passes.show(answer);
    this.begun.set(answer.mark, new Map(story.rows.map(({ id }, i) => [answer.shots[i].label, id])));
    story.rows.forEach((row, i) => {
      const { state, video, who, took } = answer.shots[i];
      const known = this.facts.get(row.id); // an edited shot keeps showing what it was
      this.facts.set(row.id, { state, who, video: video ?? known?.video ?? null, took: video ? took : known?.took });
    });
  }

  tell(answer) {
    this.told?.(answer);
    if (answer.error) return void this.showError(answer.error);
    const warnings = (answer.warnings ?? []).map((warning) => t("story.warning", { warning })).join("\n");
    // What an act said of itself stays until there is more to say.
    const isOver = this.element.classList.contains("sm-wrong") || this.controls.message.textContent === this.warned;
    if (warnings || isOver) this.say(warnings);
    this.warned = warnings;
  }

  async ask(question) {
    try {
      return await question();
    } catch (error) {
      this.showError(t("story.no_answer", { why: error.message }));
      return null;
    }
  }

  say(text) {
    this.controls.say(text);
  }

  showError(text) {
    this.controls.say(text, { isWrong: true });
  }

  // --- the script as text ----------------------------------------------------------------------

  chooseTab(name) {
    if (name === "table" && this.text !== null) {
      this.controls.focusTab("text");
      return; // the message below says what is wrong with the text
    }
    this.showTab(name);
    if (name !== "text" || !this.history) return;
    this.refreshText();
    this.check();
  }

  showTab(name) {
    this.controls.showTab(name);
    if (this.history) this.showRows();
  }

  refreshText() {
    const isStory = this.text === null;
    const { past, future } = this.history ?? { past: [], future: [] };
    this.controls.enable({
      table: isStory,
      format: this.history && isStory, // what cannot be read cannot be rewritten
      undo: past.length || (this.history && !isStory),
      redo: isStory && (future.length || this.canRestore()),
    });
    if (this.controls.tab !== "text") return;
    const text = this.text ?? this.answers.get(this.history?.value)?.text;
    this.controls.raw.readOnly = Boolean(this.history) && text == null; // until the server wrote it
    if (text != null) this.controls.showText(text);
  }

  typedText() {
    this.text = this.controls.raw.value;
    this.reading += 1;
    this.refreshText();
    this.armed = false;
    this.controls.offerAnyway(false);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.readText(), CHECK_AFTER_MS);
  }

  /** Make a story of what was typed as text. */
  async readText(text = this.controls.raw.value) {
    clearTimeout(this.timer);
    const reading = ++this.reading;
    const answer = await this.ask(() => readStory({ ...this.asked, script: text, file: NO_FILE }));
    if (!answer || reading !== this.reading) return null;
    if (answer.error) {
      this.text = text;
      this.showError(answer.error);
      this.refreshText();
      return answer;
    }
    this.begin(answer);
    return answer;
  }

  importFile(file) {
    return importFile(this, file);
  }

  exportFile() {
    return exportFile(this);
  }

  // --- the end -------------------------------------------------------------------------------

  isChanged() {
    if (this.text !== null) return this.text !== this.original;
    return Boolean(this.history) && (this.differs || this.history.value !== this.history.first);
  }

  leave() {
    if (!this.isChanged() || confirmed(t("story.discard"))) this.close();
  }

  close() {
    clearTimeout(this.timer);
    this.element.close();
    this.element.remove();
    this.onClose?.();
  }
}
