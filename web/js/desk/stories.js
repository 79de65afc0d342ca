/** The sidebar's list of the stories in the output folder: watch, edit, continue, and where they are. */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { h, setText } from "../shared/dom.js";
import { PROMPT_ENDS } from "../shared/graph.js";
import { icon } from "../shared/icons.js";
import { whenProgress } from "../shared/runs.js";
import { get } from "../shared/server.js";
import { language, t } from "../shared/texts.js";
import { posterOf } from "../story/api.js";
import { FILM, nameOfPass } from "../story/passes.js";
import { say } from "./host_dialogs.js";
import { checkSetup } from "./setup.js";
import { ACTS } from "./story_acts.js";

const AT_ONCE = 30; // stories that come into the list together; more when its end is seen

/** One story of the list. */
class Item {
  constructor(story) {
    this.story = story;
    this.facts = h("span", { class: "sm-facts" });
    this.title = h("span", { class: "sm-title" });
    this.poster = h("button", { type: "button", class: "sm-story-poster", tabindex: "-1", onclick: () => this.do("watch") });
    this.place = h("div", { class: "sm-place", hidden: true });
    this.buttons = Object.fromEntries(Object.entries(ACTS).map(([act, [mark]]) => [act, h("button", {
      type: "button", "data-act": act, onclick: () => this.do(act),
    }, icon(mark), h("span", {}, t(`desk.${act}`)))]));
    this.element = h("li", {}, this.poster, h("div", { class: "sm-about" }, this.title, this.facts,
      h("div", { class: "sm-acts" }, ...Object.values(this.buttons))), this.place);
    this.show(story);
  }

  show(story) {
    const shown = JSON.stringify(story);
    if (shown === this.shown) return;
    this.shown = shown;
    this.story = story;
    const { title, folder, pass, poster, shots, finished, stopped, changed } = story;
    this.element.dataset.folder = folder;
    setText(this.title, pass === FILM ? title : `${title} · ${nameOfPass(pass)}`);
    this.title.title = folder;
    const parts = [shots ? t("desk.shots", { shots, finished }) : t("desk.unreadable"), dateOf(changed)];
    if (stopped) parts.splice(1, 0, t("desk.stopped"));
    setText(this.facts, parts.join(" · "));
    this.facts.title = stopped;
    for (const [act, button] of Object.entries(this.buttons)) {
      button.title = t(`desk.${act}.long`, story);
      button.setAttribute("aria-label", button.title);
    }
    this.buttons.watch.disabled = this.poster.disabled = !finished;
    this.poster.title = this.buttons.watch.title;
    const address = poster ? posterOf(poster) : "";
    if (address === this.address) return;
    this.address = address;
    const picture = address && h("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false", src: address });
    this.poster.replaceChildren(...(picture ? [picture] : []));
  }

  async do(act) {
    try {
      if (act === "path") await this.showPlace();
      else await ACTS[act][1](this.story);
    } catch (error) {
      say(t("desk.failed", { why: error.message }), "warn");
    }
  }

  /** The path to copy by hand, where the browser lets nobody write into the clipboard. */
  async showPlace() {
    const field = h("input", { readonly: true, value: this.story.path, "aria-label": t("desk.path") });
    const word = h("span", { role: "status" });
    this.place.hidden = false;
    this.place.replaceChildren(field, word);
    field.focus();
    field.select();
    const copied = await navigator.clipboard?.writeText(this.story.path).then(() => true, () => false);
    setText(word, t(copied ? "desk.copied" : "desk.copy"));
  }
}

function dateOf(seconds) {
  return new Date(1000 * seconds).toLocaleString(language(), { dateStyle: "medium", timeStyle: "short" });
}

/** The list in the sidebar, while it is open. */
class Stories {
  constructor(element) {
    this.items = new Map(); // folder -> Item
    this.most = AT_ONCE;
    this.filter = h("input", { type: "search", placeholder: t("desk.filter"), "aria-label": t("desk.filter"), oninput: () => this.draw() });
    this.refresh = h("button", { type: "button", "data-act": "refresh", title: t("desk.refresh.long"), onclick: () => this.read() }, t("desk.refresh"));
    this.setup = h("button", { type: "button", "data-act": "setup", title: t("setup.title.long"), "aria-label": t("setup.title"), onclick: checkSetup }, icon("setup"));
    this.message = h("p", { class: "sm-none", role: "status", hidden: true });
    this.list = h("ul", { "aria-label": t("desk.stories.long") });
    this.end = h("li", { class: "sm-end", "aria-hidden": "true" });
    // Of a busy page several come at once; the last one is what is seen now.
    this.sight = new IntersectionObserver((seen) => { if (seen.at(-1).isIntersecting) this.more(); });
    this.element = h("section", { class: "sm-stories" }, h("h2", {}, t("desk.stories")),
      h("div", { class: "sm-bar" }, this.filter, this.refresh, this.setup), this.message, this.list);
    // Nothing that is typed here is meant for the canvas.
    for (const kind of ["keydown", "keyup", "paste", "copy"]) this.element.addEventListener(kind, keepTyped);
    element.replaceChildren(this.element);
  }

  async read() {
    const turn = this.turn = (this.turn ?? 0) + 1;
    try {
      const { stories } = await get("/storymem/library");
      if (turn !== this.turn) return;
      this.stories = stories;
      this.draw();
    } catch (error) {
      if (turn === this.turn) this.tell(t("desk.failed", { why: error.message }));
    }
  }

  draw() {
    const words = this.filter.value.trim().toLowerCase();
    const found = (this.stories ?? []).filter(({ title, folder }) => `${title}\n${folder}`.toLowerCase().includes(words));
    const elements = [...found.slice(0, this.most).map((story) => this.itemOf(story).element), this.end];
    const isSame = elements.length === this.list.children.length && elements.every((one, i) => one === this.list.children[i]);
    if (!isSame) this.list.replaceChildren(...elements);
    this.isWhole = found.length <= this.most;
    // It tells changes only: an end that stays in view, as under a fast wheel, is looked at anew.
    this.sight.unobserve(this.end);
    if (!this.isWhole) this.sight.observe(this.end);
    this.tell(found.length ? "" : t(this.stories?.length ? "desk.none.match" : "desk.none"));
  }

  itemOf(story) {
    const item = this.items.get(story.folder) ?? new Item(story);
    this.items.set(story.folder, item);
    item.show(story);
    return item;
  }

  more() {
    if (this.isWhole || !this.stories) return;
    this.most += AT_ONCE;
    this.draw();
  }

  tell(text) {
    setText(this.message, text);
    this.message.hidden = !text;
  }
}

function keepTyped(event) {
  if (event.target instanceof HTMLInputElement && event.key !== "Escape") event.stopPropagation();
}

let open = null; // the list that is shown

function readAgain() {
  if (open?.element.isConnected) open.read();
}

app.registerExtension({
  name: "StoryMem.Stories",
  setup() {
    app.extensionManager?.registerSidebarTab?.({
      id: "storymem-stories",
      icon: "pi pi-video",
      title: t("desk.stories"),
      tooltip: t("desk.stories.long"),
      label: t("desk.stories"),
      type: "custom",
      render: (element) => {
        open = new Stories(element);
        open.read();
      },
      destroy: () => { open = null; },
    });
    for (const sign of ["reconnected", ...PROMPT_ENDS]) api.addEventListener(sign, readAgain);
    whenProgress((_, event) => { if (event?.state === "finished") readAgain(); });
  },
});
