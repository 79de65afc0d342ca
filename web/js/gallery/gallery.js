/** The memory gallery of one node: what the story remembers, and what the artist changes in it. */
import { app } from "../../../../scripts/app.js";
import { soon } from "../shared/dom.js";
import { MEMORY_BANK, REHEARSAL, everyNode, kindOf } from "../shared/graph.js";
import { noteChange } from "../shared/host.js";
import { t } from "../shared/texts.js";
import { continues, isPicture, upload } from "./bank.js";
import * as edit from "./edits.js";
import { editsAtLast, entryOf } from "./later.js";
import { alsoDrawn, galleryOf, sourceOf, storyNodeOf } from "./nodes.js";
import { SeenShots } from "./seen.js";
import { enlargeFrom } from "./seen_dialog.js";
import { GalleryView } from "./view.js";

const EMPTY_HEIGHT = 76;
const HEIGHT = 216;

export class Gallery {
  constructor(node) {
    this.node = node;
    this.isBank = kindOf(node) === MEMORY_BANK;
    this.isRehearsal = kindOf(node) === REHEARSAL;
    this.own = null; // the bank that this node gave
    this.story = null; // Memory Bank only: the newest bank that grew from its own
    this.message = "";
    this.seen = new SeenShots({
      story: () => storyNodeOf(node), memory: () => galleryOf(this.source), draw: () => this.draw(), hasNow: true,
    });
    this.doings = {
      act: (name, item, text) => this.act(name, item, text),
      addFiles: (files) => this.addFiles(files),
      addUrl: (url) => this.addUrl(url),
    };
    this.view = new GalleryView({ ...this.doings, takesPictures: this.isBank || this.isRehearsal, chooser: this.seen.element });
    this.views = [this.view];
    this.put(node, this.view);
    if (this.isBank || this.isRehearsal) hide(this.widget);
  }

  put(place, view) {
    const widget = place.addDOMWidget("gallery", "storymem_gallery", view.element, {
      hideInPanel: true, serialize: false,
      hideOnZoom: false,
      getMinHeight: () => (this.bank || this.images.length || this.isRehearsal ? HEIGHT : EMPTY_HEIGHT),
    });
    widget.serialize = false;
  }

  /** Show it on a subgraph around its node, too. */
  showOn(place) {
    const view = new GalleryView({ ...this.doings, takesPictures: this.isBank || this.isRehearsal });
    this.views.push(view);
    this.put(place, view);
    this.draw();
  }

  get widget() {
    return this.node.widgets?.find((widget) => widget.name === "edits");
  }

  /** The node whose edits change this bank: a Memory Bank, else a Rehearsal Memory. */
  get source() {
    return sourceOf(this.node);
  }

  /** Whether the edits are this node's own. */
  get isSource() {
    return this.source === this.node;
  }

  /** The bank to show. */
  get bank() {
    if (!this.isBank) return this.own ?? (this.isSource ? null : galleryOf(this.source)?.bank ?? null);
    return this.story && (!this.own || continues(this.story, this.own)) ? this.story : this.own;
  }

  get images() {
    return this.isSource ? this.readEdits().edits.images : [];
  }

  /** `{ edits, problem }`: what the Memory Bank's widget holds; a problem when it cannot be changed. */
  readEdits() {
    const nothing = edit.readEdits("");
    const widget = galleryOf(this.source)?.widget;
    if (!widget) return { edits: nothing, problem: "no_source" };
    if (this.source.inputs?.some((input) => input.name === "edits" && input.link != null)) {
      return { edits: nothing, problem: "linked" };
    }
    try {
      return { edits: edit.readEdits(widget.value), problem: "" };
    } catch {
      return { edits: nothing, problem: "broken" };
    }
  }

  write(edits) {
    const { widget, node } = galleryOf(this.source);
    widget.value = edit.writeEdits(edits);
    widget.callback?.(widget.value);
    node.setDirtyCanvas?.(true, true);
    drawAll();
    noteChange();
  }

  act(name, item, text = "") {
    const shown = this.seen.isOn ? this.seen : this;
    if (name === "enlarge") {
      return enlargeFrom(this.view, shown, item, (what, frame, words) => this.act(what, { frame }, words));
    }
    if (this.seen.isOn && (item?.frame || name === "show_all")) return this.seen.act(name, item?.frame);
    const { edits, problem } = this.readEdits();
    if (name === "start_over" && problem === "broken") return this.write(edit.readEdits(""));
    if (problem) return undefined;
    const frame = item?.frame;
    const next = frame && edit.wanted(editsAtLast(edits), frame);
    switch (name) {
      case "pin": return this.write(edit.want(edits, frame, { ...next, pinned: true }));
      case "unpin": return this.write(edit.want(edits, frame, { ...next, pinned: false }));
      case "drop": return this.write(edit.want(edits, frame, { ...next, kept: false }));
      case "restore": {
        const pinned = edit.pinnedIfRestored(edits, frame);
        return this.write(edit.want(edits, frame, { kept: true, pinned }));
      }
      case "name": {
        const label = edit.labelFrom(text, frame);
        if (label === edit.labelOf(edits, frame)) return undefined;
        return this.write(edit.wantLabel(edits, frame, label));
      }
      case "undo": return this.write(edit.undone(edits, frame, this.bank?.edits));
      case "undo_all": return this.write(this.frames.reduce(
        (all, one) => (this.isPending(edits, one) ? edit.undone(all, one, this.bank?.edits) : all),
        edits,
      ));
      case "clear": return this.write(edit.withoutClicks(edits));
      case "remove": return this.write({ ...edits, images: edits.images.filter((i) => i !== item) });
      default: return undefined;
    }
  }

  get frames() {
    return this.bank ? [...this.bank.frames, ...this.bank.dropped] : [];
  }

  isPending(edits, frame) {
    return edit.isPending(edits, frame, this.bank?.edits);
  }

  look(frame, { edits, problem } = this.readEdits()) {
    const last = editsAtLast(edits);
    const pending = problem ? "" : edit.pending(last, frame);
    const next = edit.wanted(last, frame);
    const actions = [];
    if (!problem) {
      if (next.kept) actions.push(next.pinned ? "unpin" : "pin");
      // A picture that is kept elsewhere in the bank would not come back a second time.
      if (next.kept) actions.push("drop");
      else if (frame.role !== "dropped" || !this.keptDigests.has(frame.digest)) actions.push("restore");
      actions.push("name");
      if (this.isPending(edits, frame)) actions.push("undo");
    }
    const label = problem ? frame.label : edit.labelOf(edits, frame);
    const who = { label, isNew: !problem && edit.isRenamed(edits, frame) };
    const from = pending && entryOf(edits, frame.digest)?.shot;
    const shot = from && (this.seen.numberOf(from) || from);
    const change = from && t("next.from", { shot, change: t(`next.from.${pending}`) });
    return { frame, pending, actions, who, ...(change ? { next: change } : {}) };
  }

  get keptDigests() {
    return new Set((this.bank?.frames ?? []).map((frame) => frame.digest));
  }

  draw() {
    const model = this.seen.isOn ? this.seen.model() : this.now();
    for (const view of this.views) view.draw(model);
  }

  /** What the views draw of the latest memory. */
  now() {
    const { bank, images } = this;
    const state = this.readEdits();
    const look = (frame) => this.look(frame, state);
    const kept = (bank?.frames ?? []).map(look);
    const dropped = (bank?.dropped ?? []).map(look);
    const names = new Set((bank?.frames ?? []).map((frame) => frame.name));
    return {
      status: this.status(bank),
      notes: this.notes(bank, state),
      kept,
      dropped,
      images: images.map((name) => ({ name, isNew: !names.has(name), canRemove: !state.problem })),
      undo: [...kept, ...dropped].filter(({ actions }) => actions.includes("undo")).length,
      clear: this.isSource ? edit.countEdits(state.edits) : 0,
      broken: state.problem === "broken",
    };
  }

  status(bank) {
    if (!bank) return t(this.isBank ? "gallery.empty.bank" : this.isRehearsal ? "gallery.empty.rehearsal" : "gallery.empty");
    if (!bank.count) return t("gallery.sees.none");
    const used = bank.frames.filter((frame) => !["waiting", "open"].includes(frame.role)).length;
    const places = Math.min(bank.max_frames, bank.count);
    const of = `gallery.sees.${bank.tell}`;
    return t([`${of}.${bank.policy}`, of], { used, places, count: bank.count });
  }

  notes(bank, { edits, problem }) {
    const notes = [];
    if (problem && (bank || problem === "broken")) notes.push(t(`gallery.${problem}`));
    if (bank && bank.count > bank.frames.length) {
      notes.push(t("gallery.left_out", { count: bank.count - bank.frames.length }));
    }
    const last = editsAtLast(edits);
    const pinned = this.frames.filter((frame) => edit.wanted(last, frame).pinned).length;
    if (bank && pinned > bank.max_frames) {
      notes.push(t("gallery.too_many", { pinned, max: bank.max_frames }));
    }
    const changes = problem ? 0 : this.frames.filter((frame) => this.isPending(edits, frame)).length;
    if (changes) notes.push(t("gallery.takes_effect", { count: changes }));
    if (this.message) notes.push(this.message);
    return notes;
  }

  say(key, values) {
    this.message = t(key, values);
    this.draw();
  }

  async addFiles(files) {
    for (const file of files) {
      if (!isPicture(file.name)) {
        this.say("gallery.not_a_picture", { name: file.name });
        continue;
      }
      this.say("gallery.uploading", { name: file.name });
      try {
        const name = await upload(file);
        const { edits, problem } = this.readEdits();
        if (!problem && !edits.images.includes(name)) {
          this.write({ ...edits, images: [...edits.images, name] });
        }
        this.say("gallery.added", { name });
      } catch (error) {
        this.say("gallery.upload_failed", { name: file.name, why: error.message });
      }
    }
  }

  /** A picture that was dragged from the page itself, such as a preview. */
  async addUrl(url) {
    const from = url ? new URL(url, location.href) : null;
    if (from?.origin !== location.origin) return;
    const blob = await (await fetch(from)).blob();
    const name = from.searchParams.get("filename") ?? "picture.jpg";
    await this.addFiles([new File([blob], name, { type: blob.type })]);
  }

  /** What a workflow file keeps: nothing when the Memory Bank keeps the same. */
  saved() {
    const { bank } = this;
    const same = !this.isSource && JSON.stringify(galleryOf(this.source)?.bank ?? null);
    return bank && JSON.stringify(bank) !== same ? bank : undefined;
  }
}

/** The raw text of the changes stays in the workflow, but out of sight. */
function hide(widget) {
  if (!widget) return;
  widget.hidden = true;
  (widget.options ??= {}).hidden = true;
  widget.computeSize = () => [0, -4];
}

export const drawAll = soon(() => {
  for (const node of everyNode()) galleryOf(node)?.draw();
  for (const draw of alsoDrawn) draw();
  app.canvas?.setDirty?.(true, true);
});
