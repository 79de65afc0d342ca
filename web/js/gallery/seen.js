/** What each shot saw: a chooser of shots, and the memory of the chosen one for a gallery's view. */
import { api } from "../../../../scripts/api.js";
import { h, switchOff } from "../shared/dom.js";
import { askedBy } from "../story/api.js";
import { captionOf } from "../story/captions.js";
import { lastRead } from "../story/extension.js";
import { t } from "../shared/texts.js";
import { readBank } from "./bank.js";
import * as edit from "./edits.js";
import { changesAt, editsAt, saySame } from "./later.js";

const NOW = ""; // of the chooser: no shot
const MAX_PROMPT = 60; // characters
const FEW = 40; // unseen frames that are shown until all are asked for: drawing hundreds takes a while

export class SeenShots {
  /**
   * `story()` gives the Load Story node, `memory()` the gallery of its Memory Bank, whose edits are
   * changed (null: none is), `draw()` draws again; `hasNow`: whether no shot may be chosen, too.
   * `asked`: what is asked for in place of what stands on the node, such as an edited script.
   */
  constructor({ story, memory, draw, hasNow = false, asked = null }) {
    Object.assign(this, { story, memory, redraw: draw, hasNow, asked });
    this.forget();
    this.message = "";
    this.isOn = !hasNow;
    const step = (by, name, sign) => h("button", {
      type: "button", class: "storymem-step", "aria-label": t(name), title: t(name), onclick: () => this.step(by),
    }, sign);
    this.back = step(-1, "seen.previous", "‹");
    this.next = step(1, "seen.next", "›");
    this.select = h("select", {
      "aria-label": t("seen.choose"), title: t("seen.open.long"),
      onchange: () => this.choose(this.select.value),
      onpointerdown: () => this.refill(),
      onfocus: () => this.refill(),
      onkeydown: (event) => event.stopPropagation(),
    });
    this.element = h("div", { class: "storymem-chooser" }, this.back, this.select, this.next);
    this.refill();
  }

  forget() {
    this.asking = (this.asking ?? 0) + 1; // counts questions, so that an answer to an older one is left aside
    this.answer = { shots: [], shot: null, memory: null };
    this.bank = null;
  }

  /** The shots as they are known: as answered here, else as the list on Load Story shows them. */
  get shots() {
    if (this.answer.shots.length) return this.answer.shots;
    return (lastRead(this.story())?.shots ?? []).map(({ label, prompt, video }) => ({ label, prompt, record: video }));
  }

  /** Number of the shot with a label, 0 when it is not known. */
  numberOf(label) {
    return this.shots.findIndex((shot) => shot.label === label) + 1;
  }

  refill() {
    const { shots } = this;
    const words = JSON.stringify(shots.map(({ label, prompt, record }) => [label, prompt, Boolean(record)]));
    if (this.filled !== words) {
      this.filled = words;
      const options = shots.map(({ label, prompt, record }, i) => h("option", { value: label }, t(
        record ? "seen.option" : "seen.option.not_made",
        { number: i + 1, prompt: captionOf(prompt, "shot_caption").slice(0, MAX_PROMPT) },
      )));
      this.select.replaceChildren(...(this.hasNow ? [h("option", { value: NOW }, t("seen.now"))] : []), ...options);
    }
    this.element.hidden = this.hasNow && !this.isOn && !shots.some(({ record }) => record);
    this.showChosen();
  }

  showChosen() {
    const chosen = this.isOn ? this.wanted || (this.shots[this.answer.shot]?.label ?? NOW) : NOW;
    if (this.select.value !== chosen) this.select.value = chosen;
    const at = this.select.selectedIndex;
    switchOff([[this.back, at <= 0], [this.next, at < 0 || at >= this.select.options.length - 1]], () => this.select);
  }

  step(by) {
    this.refill();
    const option = this.select.options[this.select.selectedIndex + by];
    if (option) this.choose(option.value);
  }

  /** Show a shot's memory by its label, or the latest finished one's; in a gallery with `now`, none. */
  async choose(label) {
    this.isOn = !this.hasNow || label !== NOW;
    this.wanted = label;
    this.showsAll = false;
    if (!this.isOn) this.forget();
    else if (!(await this.read())) return;
    this.refill();
    this.redraw();
  }

  /** Ask for the memory; whether nothing newer was asked for meanwhile. */
  async read() {
    const asked = this.asked ?? askedBy(this.story() ?? {});
    const number = ++this.asking;
    if (!this.story() || !asked) {
      this.message = t("seen.no_story");
      return true;
    }
    this.message = this.bank ? "" : t("seen.reading");
    let answer;
    try {
      const reply = await api.fetchApi("/storymem/seen", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ ...asked, shot: this.wanted ?? "" }),
      });
      if (!reply.ok) throw new Error(`${reply.status} ${(await reply.text()).slice(0, 200)}`);
      answer = await reply.json();
    } catch (error) {
      answer = { error: error.message };
    }
    if (number !== this.asking) return false;
    this.message = answer.error ? t("seen.failed", { why: answer.error }) : "";
    this.answer = { shots: answer.shots ?? [], shot: answer.shot ?? null, memory: answer.memory ?? null };
    this.bank = readBank(this.answer.memory);
    const made = this.answer.shots[this.answer.shot];
    if (made) this.wanted = made.label;
    if (!this.message && !made) this.message = t("seen.none_made");
    else if (!this.message && !this.bank) this.message = t(made.record ? "seen.gone" : "seen.not_made", { shot: this.answer.shot + 1 });
    return true;
  }

  /** Load Story was read again, as after each finished shot. */
  async readAgain(node) {
    if (node !== this.story()) return;
    if (!this.isOn) this.forget();
    else if (!(await this.read())) return;
    this.refill();
    if (this.isOn) this.redraw();
  }

  // --- for the gallery's view ------------------------------------------------------------------

  state() {
    const gallery = this.memory();
    const { edits, problem } = gallery ? gallery.readEdits() : { edits: edit.readEdits(""), problem: "no_source" };
    const at = this.bank && !problem ? editsAt(edits, this.answer.shots, this.answer.shot) : edit.readEdits("");
    return { edits, problem, at };
  }

  look(frame, { edits, problem, at } = this.state()) {
    const { shots, shot } = this.answer;
    const pending = problem ? "" : edit.pending(at, frame);
    const wanted = edit.wanted(at, frame);
    const isHere = !problem && changesAt(edits, shots, shot, frame.digest);
    const ran = this.memory()?.bank?.edits;
    const isOther = Boolean(ran) && !saySame(edits, ran, frame.digest, shots[shot]);
    const actions = [];
    if (!problem) {
      if (wanted.kept) actions.push(wanted.pinned ? "unpin" : "pin", "drop");
      else if (frame.role !== "dropped" || !this.kept.has(frame.digest)) actions.push("restore");
      if (isHere || isOther) actions.push("undo");
    }
    const number = { shot: shot + 1 };
    const change = pending && t("next.from", { ...number, change: t(`next.from.${pending}`) });
    return {
      frame, pending, actions, from: shot + 1,
      next: change || (isHere ? t("next.from.done", number) : ""),
      who: { label: edit.labelOf(edits, frame), isNew: false },
    };
  }

  get kept() {
    return new Set((this.bank?.frames ?? []).map(({ digest }) => digest));
  }

  act(name, frame) {
    if (name === "show_all") {
      this.showsAll = true;
      this.redraw();
      return;
    }
    const { edits, problem, at } = this.state();
    if (problem || !this.bank) return;
    const { shots, shot } = this.answer;
    if (name === "undo") {
      this.memory().write(edit.undoneFrom(edits, shots, shot, frame, this.memory().bank?.edits));
      return;
    }
    const next = edit.wanted(at, frame);
    const wanted = {
      pin: { ...next, pinned: true },
      unpin: { ...next, pinned: false },
      drop: { ...next, kept: false },
      restore: { kept: true, pinned: edit.pinnedIfKept(at, frame) },
    }[name];
    if (wanted) this.memory().write(edit.wantFrom(edits, shots, shot, frame, wanted));
  }

  /** What the gallery's view draws. */
  model() {
    const { bank, message } = this;
    const empty = { kept: [], unseen: [], dropped: [], images: [], undo: 0, clear: 0, broken: false };
    if (message || !bank) return { ...empty, status: message || t("seen.reading"), notes: [] };
    const state = this.state();
    const look = (frame) => this.look(frame, state);
    const seen = bank.frames.filter(({ position }) => position > 0);
    seen.sort((one, other) => one.position - other.position);
    const shot = this.answer.shot + 1;
    const unseen = bank.frames.filter(({ position }) => !position);
    const few = this.showsAll ? unseen : unseen.slice(-FEW);
    return {
      ...empty,
      more: unseen.length - few.length,
      unseenCount: bank.count - seen.length,
      status: t(bank.count ? "seen.status" : "seen.status.empty", { shot, used: seen.length, count: bank.count }),
      notes: this.notes(state, shot, seen.length),
      kept: seen.map(look),
      unseen: few.map(look),
      dropped: bank.dropped.map(look),
    };
  }

  notes({ edits, problem, at }, shot, used) {
    const { bank } = this;
    const notes = problem ? [t(`gallery.${problem}`)] : bank.count || bank.dropped.length ? [t("seen.hint", { shot })] : [];
    if (this.answer.shots[this.answer.shot].lock) notes.push(t("seen.locked", { shot }));
    if (bank.count && !used) notes.push(t("seen.none_seen"));
    if (this.answer.memory.is_sure === false) notes.push(t("seen.unsure"));
    if (bank.count > bank.frames.length) notes.push(t("gallery.left_out", { count: bank.count - bank.frames.length }));
    const frames = [...bank.frames, ...bank.dropped];
    const pinned = frames.filter((frame) => edit.wanted(at, frame).pinned).length;
    if (pinned > bank.max_frames) notes.push(t("gallery.too_many", { pinned, max: bank.max_frames }));
    const changes = problem ? 0 : frames.filter((frame) => edit.pending(at, frame)).length;
    if (changes) notes.push(t("gallery.takes_effect", { count: changes }));
    return notes;
  }
}
