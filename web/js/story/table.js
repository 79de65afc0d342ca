/** The table of shots in the story editor: one row per shot, changed only where the story changed. */
import { h, setText } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { filesOf } from "../shared/input_pictures.js";
import { posterOf } from "./api.js";
import { CAPTIONS, withCaption } from "./captions.js";
import { buildDetails } from "./details.js";
import { uploadAll } from "./picker.js";
import { RowPlayer } from "./player.js";
import { RowList } from "./row_list.js";
import { isShown, ONE_FILE, textOf, valueOf } from "./row_values.js";
import { stateTexts, t } from "../shared/texts.js";
import { exactTime } from "../shared/time_left.js";

const DRAG_TYPE = "application/x-storymem-shot";
const MORE_FIELDS = ["negative_prompt", "first_frame_prompt", "continuity", "lora_strength", "loras", "reference_images", "start_image", "end_image", "remember", "promote", "audio", "dialogue", "subtitle"];
const KEYS_WITH_SHIFT = { Enter: "split", Backspace: "join", Delete: "join" };
const LEFT_OUT = "sm-left-out"; // not `hidden`: to take 200 rows from the layout takes 80 ms
const PARTS = { // of a row, that are changed later
  head: ".sm-scene", poster: ".sm-poster", picture: ".sm-poster img", number: ".sm-number", state: ".sm-state", took: ".sm-took",
  cut: '[data-field="cut"]', up: '[data-act="up"]', toggle: '[data-act="toggle_scene"]', more: '[data-act="more"]',
  prompt: '[data-field="prompt"]', takes: '[data-act="takes"]', takesCount: ".sm-count",
};

export class StoryTable {
  /** `act(name, id, value)` is told what the artist does; see dialog.js. */
  constructor(act) {
    this.act = act;
    this.leftOut = new Set(); // ids of the rows that are not shown; see filter.js
    this.player = new RowPlayer();
    this.element = h("ol", { class: "sm-shots", "aria-label": t("story.table") });
    this.list = new RowList(this.element, {
      make: (row) => this.build(row),
      tell: (...of) => this.showPart(...of),
      shown: () => { this.narrow(); this.player.goOn(); },
    });
    this.parts = this.list.parts; // row id -> the elements of its row, as far as they are made
    this.element.addEventListener("input", (event) => this.typed(event));
    this.element.addEventListener("change", (event) => this.typed(event));
    this.element.addEventListener("click", (event) => this.clicked(event));
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("error", ({ target }) => { target.hidden ||= target.tagName === "IMG"; }, true);
    for (const kind of ["dragstart", "dragover", "dragleave", "drop", "dragend"]) {
      this.element.addEventListener(kind, (event) => this.dragged(event));
    }
  }

  /** Make the table show these rows; `facts` by row id holds state and video, `takes` how many. */
  show(rows, labels, facts, takes = new Map()) {
    Object.assign(this, { labels, facts, takes });
    this.list.show(rows);
  }

  showPart(part, row, i) {
    if (part.row !== row) this.fill(part, row);
    const place = `${i} ${this.labels[i]} ${row.starts}`;
    if (part.place !== place) this.number(part, row, i, this.labels[i], place);
    this.showFacts(part, this.facts.get(row.id));
    this.plan?.showLine(part);
    this.showTakes(part, this.takes.get(row.id) ?? 0);
  }

  /** Leave rows out; the first one of a scene that is shown has its head. */
  narrow(leftOut = this.leftOut) {
    this.leftOut = leftOut;
    let isBegun = false; // whether the scene's head is shown
    this.list.rows.forEach(({ id, starts }, i) => {
      const part = this.parts.get(id);
      if (!part) return; // not made yet
      const { element, head } = part;
      if (starts || i === 0) isBegun = false;
      const isOut = leftOut.has(id);
      const hasHead = !isOut && !isBegun;
      isBegun ||= hasHead;
      if (element.classList.contains(LEFT_OUT) !== isOut) element.classList.toggle(LEFT_OUT, isOut);
      if (head.hidden === hasHead) head.hidden = !hasHead;
    });
  }

  /** The shots as they stand in the table, for the player. */
  shots() {
    this.list.whole();
    const parts = [...this.element.children].map((row) => this.parts.get(Number(row.dataset.id)));
    return parts.map(({ row, video }, i) => ({ number: i + 1, video: video ?? null, prompt: row.prompt }));
  }

  /** Make a row that stays where it is show what its shot says now. */
  showRow(row) {
    this.fill(this.list.partOf(row.id), row);
  }

  /** Move the keyboard to a control of a row; `name` as in `data-field` or `data-act`. */
  focus(id, name) {
    const element = this.nearest(id);
    if (!element) return void this.elsewhere?.().focus();
    const control = element.querySelector(`[data-field="${name}"], [data-act="${name}"]`);
    (control && !control.disabled ? control : element.querySelector("textarea")).focus();
    element.scrollIntoView({ block: "nearest" });
  }

  /** A row, or the one that is shown closest below it, or else above; `null` where none is. */
  nearest(id) {
    const element = this.list.partOf(id)?.element;
    let [next, before] = [element, element];
    while (next?.classList.contains(LEFT_OUT)) next = next.nextElementSibling;
    while (before?.classList.contains(LEFT_OUT)) before = before.previousElementSibling;
    return next ?? before ?? null;
  }

  /** The keyboard into a shot's prompt, at a place in it, or with what is chosen there. */
  putCursor(id, place, end = place) {
    this.focus(id, "prompt");
    this.parts.get(id)?.prompt.setSelectionRange(place, end);
  }

  /** The row that an element is in; `null` for none. */
  idOf(element) {
    return this.element.contains(element) ? idOf(element) : null;
  }

  reveal(id) {
    this.list.partOf(id)?.element.scrollIntoView({ block: "nearest" });
  }

  /** The place of the cursor in a shot's prompt: also once the keyboard has left it. */
  cursorIn(id) {
    return { place: this.parts.get(id).prompt.selectionStart };
  }

  // --- building ------------------------------------------------------------------------------

  build(row) {
    this.blank ??= blankRow();
    const element = this.blank.cloneNode(true); // far quicker than creating each element
    element.dataset.id = row.id;
    const part = { element, controls: [...element.querySelectorAll("[data-field]")] };
    for (const [name, selector] of Object.entries(PARTS)) part[name] = element.querySelector(selector);
    return part;
  }

  buildMore(part) {
    const id = Number(part.element.dataset.id);
    const { element, extra, show } = buildDetails((name, names) => this.setPictures(id, name, names), (text, how) => this.act("say", id, { text, ...how }));
    Object.assign(part, { details: element, extra, showPictures: show });
    part.element.append(element);
    part.controls = [...part.element.querySelectorAll("[data-field]")];
  }

  fill(part, row) {
    part.row = row;
    for (const control of part.controls) {
      const name = control.dataset.field;
      if (control.type === "checkbox") {
        if (control.checked !== Boolean(row[name])) control.checked = Boolean(row[name]);
        continue;
      }
      if (isShown(row, name, control.value)) continue;
      const text = textOf(row, name);
      // What a browser makes of line ends is not a change: the row keeps its own.
      if (control.value !== text.replace(/\r\n?/g, "\n")) control.value = text;
    }
    const negative = part.details?.querySelector('[data-field="negative_prompt"]');
    if (negative) negative.placeholder = t(row.negative_prompt === "" ? "story.negative.none" : "story.negative.auto");
    part.showPictures?.(row);
    if (part.extra) part.extra.textContent = row.extra ? t("story.extra", { fields: namesIn(row.extra) }) : "";
    part.more.classList.toggle("sm-set", MORE_FIELDS.some((name) => row[name]?.length || typeof row[name] === "number") || Boolean(row.extra));
    part.takes.classList.toggle("sm-set", Boolean(row.use_take));
    part.element.classList.toggle("sm-continues", !row.cut);
  }

  number(part, row, i, label, place) {
    part.place = place;
    setText(part.number, String(i + 1));
    part.element.setAttribute("aria-label", t("story.shot", { number: i + 1, scene: row.scene }));
    part.element.dataset.label = label;
    part.toggle.disabled = i === 0;
    part.toggle.setAttribute("aria-pressed", String(row.starts && i > 0));
    part.cut.parentElement.title = t(i === 0 ? "story.cut.first" : "story.cut.long");
    part.up.disabled = i === 0;
  }

  showFacts(part, facts) {
    const state = facts?.state ?? "waiting";
    if (part.shownState !== state) {
      part.shownState = state;
      const { kind, word, long } = stateTexts(state);
      part.element.dataset.state = kind;
      setText(part.state, word);
      part.state.title = long;
    }
    const took = facts?.took ? exactTime(facts.took) : "";
    if ((part.shownTook ?? "") !== took) {
      part.shownTook = took;
      setText(part.took, took);
      part.took.title = took && t("time.took", { time: took });
      part.took.hidden = !took;
    }
    const who = (facts?.who ?? []).join(", ");
    if ((part.who ?? "") !== who) {
      part.who = who;
      const named = who ? `\n${t("story.who", { names: who })}` : "";
      part.prompt.title = `${t("story.prompt.long")}${named}`;
    }
    const video = facts?.video ?? null;
    if ((part.video ?? null) === video) return;
    part.video = video;
    part.poster.disabled = !video;
    const source = video ? posterOf(video) : "";
    if ((part.source ?? "") === source) return;
    part.source = source;
    part.picture.hidden = !source;
    if (source) part.picture.src = source;
    else part.picture.removeAttribute("src");
  }

  showTakes(part, count) {
    if ((part.count ?? 0) === count) return;
    part.count = count;
    setText(part.takesCount, count > 1 ? String(count) : "");
    part.takes.title = t(count ? "story.takes.count" : "story.takes.long", { count });
  }

  // --- what the artist does --------------------------------------------------------------------

  typed(event) {
    const name = event.target.dataset?.field;
    const id = idOf(event.target);
    if (!name || !id) return;
    const isText = event.target.tagName === "TEXTAREA" || event.target.type === "text";
    if ((event.type === "input") !== isText) return; // of both events, the one that tells each change once
    const value = event.target.type === "checkbox" ? event.target.checked : valueOf(name, event.target.value);
    if (name === "scene" && !Number.isInteger(value)) return;
    if (!CAPTIONS.includes(name)) return void this.act("field", id, { name, value });
    const { prompt } = this.parts.get(id).row;
    this.act("field", id, { name: "prompt", value: withCaption(prompt, name, value) });
  }

  clicked(event) {
    const button = event.target.closest("button[data-act]");
    if (!button) return;
    const id = idOf(button);
    if (button.dataset.act === "more") this.toggleMore(id);
    else if (button.dataset.act === "play") this.player.toggle(this.parts.get(id));
    else if (button.dataset.act !== "handle") this.act(button.dataset.act, id, { ...this.cursorIn(id), isLater: event.shiftKey || event.altKey });
  }

  pressed(event) {
    const id = idOf(event.target);
    if (event.target.dataset?.act === "play" && !event.altKey) return void this.playBeside(event);
    const onHandle = event.target.dataset?.act === "handle";
    const step = { ArrowUp: "up", ArrowDown: "down" }[event.key];
    const ofTakes = event.altKey && !event.ctrlKey && { KeyT: "takes", KeyR: "roll" }[event.code];
    const ofAlt = ofTakes ? ofTakes : event.shiftKey ? KEYS_WITH_SHIFT[event.key] : { Enter: "add" }[event.key];
    const wanted = step && (event.altKey || onHandle) ? step : event.altKey ? ofAlt : null;
    if (!id || !wanted) return;
    event.preventDefault();
    event.stopPropagation();
    if (wanted === "roll" && event.repeat) return;
    this.act(wanted, id, { ...this.cursorIn(id), isLater: event.shiftKey, from: event.target.dataset.field ?? event.target.dataset.act });
  }

  /** Left and right on a poster: the finished shot before or after it, in the keyboard's hands. */
  playBeside(event) {
    const by = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    let row = event.target.closest("li[data-id]")[by];
    while (row && (row.classList.contains(LEFT_OUT) || !this.parts.get(Number(row.dataset.id)).video)) row = row[by];
    const part = row && this.parts.get(Number(row.dataset.id));
    if (!part) return;
    if (this.player.part) this.player.play(part);
    part.poster.focus();
    part.element.scrollIntoView({ block: "nearest" });
  }

  /** Pictures that are dropped on a row are its references, or its start or end image where that stands. */
  async dropFiles(id, name, files) {
    const names = await uploadAll(files, (text, how) => this.act("say", id, { text, ...how }));
    const row = this.parts.get(id)?.row;
    if (row && names.length) this.setPictures(id, name, ONE_FILE.includes(name) ? names : [...row.reference_images, ...names]);
  }

  setPictures(id, name, names) {
    const value = ONE_FILE.includes(name) ? names.at(-1) ?? "" : [...new Set(names)];
    this.act("field", id, { name, value, isTyped: false }); // a step of its own for undo
  }

  draggedFiles(event, item) {
    this.mark?.classList.remove("sm-drop");
    this.mark = item;
    if (!["dragover", "drop"].includes(event.type)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.type === "dragover") item.classList.add("sm-drop");
    else this.dropFiles(Number(item.dataset.id), event.target.closest("[data-drop]")?.dataset.drop ?? "reference_images", filesOf(event.dataTransfer));
  }

  dragged(event) {
    const item = event.target.closest?.("li[data-id]");
    if (item && !this.dragging && event.dataTransfer.types.includes("Files")) return void this.draggedFiles(event, item);
    if (event.type === "dragstart") {
      if (event.target.dataset?.act !== "handle") return;
      if (this.leftOut.size) {
        event.preventDefault();
        return void this.act("drag", idOf(event.target)); // which says why it is off
      }
      this.dragging = idOf(event.target);
      event.dataTransfer.setData(DRAG_TYPE, String(this.dragging));
      event.dataTransfer.effectAllowed = "move";
      event.dataTransfer.setDragImage(this.parts.get(this.dragging).element, 20, 20);
      return;
    }
    this.mark?.classList.remove("sm-before", "sm-after");
    if (event.type === "dragend") this.dragging = null;
    if (!this.dragging || !item || !["dragover", "drop"].includes(event.type)) return;
    event.preventDefault();
    event.stopPropagation();
    const box = item.getBoundingClientRect();
    const after = event.clientY > box.top + box.height / 2;
    if (event.type === "drop") {
      this.act("drop", this.dragging, { target: Number(item.dataset.id), after });
      this.dragging = null;
    } else {
      this.mark = item;
      item.classList.add(after ? "sm-after" : "sm-before");
    }
  }

  toggleMore(id) {
    const part = this.parts.get(id);
    if (!part.details) {
      this.buildMore(part);
      this.fill(part, part.row);
    } else {
      part.details.hidden = !part.details.hidden;
    }
    part.more.setAttribute("aria-expanded", String(!part.details.hidden));
  }
}

/** The elements of a row, before they say anything of a shot. */
function blankRow() {
  const field = (tag, name, attributes = {}) =>
    h(tag, { "data-field": name, "aria-label": t(`story.${name}`), title: t(`story.${name}.long`), ...attributes });
  const button = (name, mark, attributes = {}) => h("button", {
    type: "button", "data-act": name, "aria-label": t(`story.${name}`), title: t(`story.${name}.long`), ...attributes,
  }, icon(mark));
  const check = (name) => h("label", { class: "sm-check", title: t(`story.${name}.long`) },
    field("input", name, { type: "checkbox" }), h("span", {}, t(`story.${name}`)));
  const number = (name) => h("label", {}, h("span", {}, t(`story.${name}`)), field("input", name, {
    type: "text", inputmode: "numeric", autocomplete: "off", placeholder: t("story.auto"),
  }));
  const takes = button("takes", "takes", { class: "sm-takes-of" });
  takes.append(h("span", { class: "sm-count" }));
  const scene = field("input", "scene", { type: "text", inputmode: "numeric", autocomplete: "off" });
  return h("li", { role: "group", title: "" },
    h("div", { class: "sm-scene" }, h("label", {}, h("span", {}, t("story.scene")), scene)),
    h("div", { class: "sm-row" },
      button("handle", "drag", { class: "sm-handle", draggable: "true" }),
      h("button", { type: "button", class: "sm-poster", "data-act": "play", title: t("story.play.long"), "aria-pressed": "false", disabled: true },
        h("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false", hidden: true }),
        h("span", { class: "sm-number" }), h("span", { class: "sm-took", hidden: true }), h("span", { class: "sm-state" })),
      field("textarea", "prompt", { rows: 3, spellcheck: "true", placeholder: t("story.prompt.hint") }),
      h("div", { class: "sm-fields" }, check("cut"), check("lock"), number("length"), number("seed")),
      h("div", { class: "sm-buttons" },
        button("up", "up"), button("add", "add"), button("duplicate", "copy"), button("down", "down"),
        button("toggle_scene", "scene"), button("remove", "remove"), button("roll", "roll"), takes,
        button("split", "split"), button("join", "join"), button("memory", "memory"),
        button("more", "more", { "aria-expanded": "false" }))));
}

function idOf(element) {
  const id = element.closest?.("li[data-id]")?.dataset.id;
  return id ? Number(id) : null;
}

function namesIn(extra) {
  try {
    return Object.keys(JSON.parse(extra)).join(", ");
  } catch {
    return "...";
  }
}
