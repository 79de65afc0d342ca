/** The timeline over the story editor's table: a block for each shot, as wide as the shot is long. */
import { h, setText } from "../shared/dom.js";
import { everyNode, holderOf, kindOf } from "../shared/graph.js";
import { stateTexts, t } from "../shared/texts.js";
import { posterOf } from "./api.js";
import { RowList } from "./row_list.js";

const DRAG_TYPE = "application/x-storymem-shot";
const USUAL_LENGTH = 81; // frames, of Wan 2.2
const [NARROWEST, USUAL_WIDTH, WIDEST] = [34, 78, 320]; // pixels of a block
const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 };

/** Frames of a shot for which the script says none: what the graph's sampler makes, if there is one. */
function lengthInGraph() {
  const found = new Set();
  for (const node of everyNode()) {
    if (!String(kindOf(node)).startsWith("StoryMem")) continue;
    const length = Number(holderOf(node, "length")?.widget.value);
    if (length > 0) found.add(length);
  }
  return found.size === 1 ? [...found][0] : USUAL_LENGTH;
}

export class Timeline {
  /** `act(name, id, value)` is told what the artist does, `choose(id)` which shot is clicked. */
  constructor({ act, choose }) {
    Object.assign(this, { act, choose });
    this.leftOut = new Set(); // ids of shots that the table does not show
    this.usual = lengthInGraph();
    this.element = h("div", { class: "sm-timeline", role: "list", "aria-label": t("timeline") });
    this.list = new RowList(this.element, {
      make: (row) => this.build(row),
      tell: (part, row, i) => {
        this.fill(part, row, i, this.facts.get(row.id));
        this.dim(part);
      },
      shown: () => { if (!this.parts.has(this.stop)) this.keepStop(this.list.rows[0]?.id); },
    });
    this.parts = this.list.parts; // row id -> the elements of its block, as far as they are made
    this.element.addEventListener("click", ({ target }) => { if (idOf(target)) this.choose(idOf(target)); });
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("focusin", ({ target }) => this.keepStop(idOf(target)));
    this.element.addEventListener("pointerover", ({ target }) => this.describe(this.parts.get(idOf(target))));
    this.element.addEventListener("error", ({ target }) => { target.hidden = true; }, true); // of a picture
    for (const kind of ["dragstart", "dragover", "drop", "dragend"]) {
      this.element.addEventListener(kind, (event) => this.dragged(event));
    }
  }

  /** Make the blocks those of these rows; `facts` by row id holds state and video. */
  show(rows, facts) {
    this.facts = facts;
    this.list.show(rows);
  }

  /** Make a block that stays where it is show what its shot says now. */
  showRow(row) {
    const part = this.list.partOf(row.id);
    this.fill(part, row, part.at, part.facts);
  }

  /** Dim the blocks of shots that the table leaves out. */
  narrow(leftOut) {
    this.leftOut = leftOut;
    for (const part of this.parts.values()) this.dim(part);
  }

  dim(part) {
    const isOut = this.leftOut.has(part.row.id);
    if (Boolean(part.isOut) === isOut) return;
    part.isOut = isOut;
    part.element.classList.toggle("sm-dimmed", isOut);
    if (isOut) part.block.setAttribute("aria-description", t("filter.left_out"));
    else part.block.removeAttribute("aria-description");
  }

  build({ id }) {
    this.blank ??= h("div", { role: "listitem" }, h("span", { class: "sm-of-scene" }), h("button", { type: "button", draggable: "true", tabindex: "-1" },
      h("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false", hidden: true }), h("span", { class: "sm-number" })));
    const element = this.blank.cloneNode(true);
    element.dataset.shot = id;
    const [scene, block] = element.children;
    const [picture, number] = block.children;
    return { element, scene, block, picture, number };
  }

  fill(part, row, at, facts) {
    const state = facts?.state ?? "waiting";
    const said = `${at} ${row.scene} ${row.starts} ${row.cut} ${row.length} ${row.lock} ${state}`;
    Object.assign(part, { row, at, facts });
    if (part.said !== said) this.number(part, said, state);
    const video = facts?.video ?? null;
    if (part.video === video) return;
    part.video = video;
    const source = video ? posterOf(video) : "";
    if ((part.source ?? "") === source) return;
    part.source = source;
    part.picture.hidden = !source;
    if (source) part.picture.src = source;
    else part.picture.removeAttribute("src");
  }

  number(part, said, state) {
    const { element, row, at } = part;
    const starts = row.starts || at === 0;
    part.said = said;
    element.dataset.state = stateTexts(state).kind;
    element.classList.toggle("sm-cuts", row.cut);
    element.classList.toggle("sm-starts", starts);
    element.classList.toggle("sm-locked", row.lock);
    const width = Math.round((USUAL_WIDTH * this.framesOf(row)) / this.usual);
    element.style.width = `${Math.min(WIDEST, Math.max(NARROWEST, width))}px`;
    setText(part.scene, starts ? t("timeline.scene", { scene: row.scene }) : "");
    setText(part.number, String(at + 1));
    part.block.setAttribute("aria-label", this.nameOf(part, state));
  }

  nameOf({ row, at }, state) {
    const begins = t(row.cut ? "timeline.cut" : "timeline.continues", { number: at });
    const shot = t("story.shot", { number: at + 1, scene: row.scene });
    return `${shot}, ${t("timeline.frames", { frames: this.framesOf(row) })}, ${begins}, ${stateTexts(state).word}`;
  }

  framesOf(row) {
    const frames = row.length == null ? NaN : Number(row.length);
    return frames > 0 ? frames : this.usual;
  }

  /** What a shot is about, shown once somebody points at it. */
  describe(part) {
    if (part) part.block.title = `${part.block.getAttribute("aria-label")}\n${part.row.prompt.slice(0, 400)}`;
  }

  // --- which one ---------------------------------------------------------------------------------

  /** The shot whose row has the keyboard is marked, and in view. */
  select(id) {
    this.parts.get(this.selected)?.block.removeAttribute("aria-current");
    this.selected = id;
    const part = this.list.partOf(id);
    if (!part) return;
    part.block.setAttribute("aria-current", "true");
    this.keepStop(id);
    this.reveal(part);
  }

  reveal({ element }) {
    const { scrollLeft, clientWidth } = this.element;
    const left = element.offsetLeft - this.element.offsetLeft;
    if (left < scrollLeft) this.element.scrollLeft = left - 12;
    else if (left + element.offsetWidth > scrollLeft + clientWidth) this.element.scrollLeft = left + element.offsetWidth - clientWidth + 12;
  }

  /** Of all blocks, Tab stops at one. */
  keepStop(id) {
    if (!this.parts.has(id)) return;
    const before = this.parts.get(this.stop);
    if (before) before.block.tabIndex = -1;
    this.stop = id;
    this.parts.get(id).block.tabIndex = 0;
  }

  focus(id) {
    const part = this.list.partOf(id);
    if (!part) return;
    part.block.focus({ preventScroll: true });
    this.reveal(part);
  }

  // --- what the artist does ------------------------------------------------------------------------

  pressed(event) {
    const id = idOf(event.target);
    if (!id || event.ctrlKey || event.metaKey || event.shiftKey || event.isComposing) return;
    this.list.whole();
    const by = STEPS[event.key];
    if (by && event.altKey) this.act(by < 0 ? "up" : "down", id, { from: "timeline" });
    else if (event.altKey) return;
    else if (by) this.focusAt(event.target.closest("[data-shot]")[by < 0 ? "previousElementSibling" : "nextElementSibling"]);
    else if (event.key === "Home") this.focusAt(this.element.firstChild);
    else if (event.key === "End") this.focusAt(this.element.lastChild);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  focusAt(item) {
    if (item) this.focus(Number(item.dataset.shot));
  }

  dragged(event) {
    const id = idOf(event.target);
    if (event.type === "dragstart") {
      if (this.leftOut.size) {
        event.preventDefault();
        return void this.act("drag", id); // which says why it is off
      }
      this.dragging = id;
      event.dataTransfer.setData(DRAG_TYPE, String(id));
      event.dataTransfer.effectAllowed = "move";
      return;
    }
    this.mark?.classList.remove("sm-before", "sm-after");
    if (event.type === "dragend") this.dragging = null;
    if (!this.dragging || !id || event.type === "dragend") return;
    event.preventDefault();
    event.stopPropagation();
    const { element } = this.parts.get(id);
    const box = element.getBoundingClientRect();
    const after = event.clientX > box.left + box.width / 2;
    if (event.type === "drop") {
      this.act("drop", this.dragging, { target: id, after, from: "timeline" });
      this.dragging = null;
    } else {
      this.mark = element;
      element.classList.add(after ? "sm-after" : "sm-before");
    }
  }
}

function idOf(element) {
  const id = element.closest?.("[data-shot]")?.dataset.shot;
  return id ? Number(id) : null;
}
