/** The gallery on a node: thumbnails with what each is, drawn from a plain model. */
import { neighbourOf } from "./arrows.js";
import {
  FactBubble, PICTURE_ENDINGS, factsOf, inputUrl, pictureUrl, placeOf, whoIsOn,
} from "./bank.js";
import { h } from "../shared/dom.js";
import { t } from "../shared/texts.js";

const BUBBLE = new FactBubble();
const KEYS = { p: "pin", d: "drop", Delete: "drop", Backspace: "drop", r: "restore", u: "undo", t: "name" };
const MAX_NAMES = 200; // characters

/**
 * `act(name, item)` is called for every click; names: enlarge, pin, unpin, drop, restore, undo (item
 * is the model's), remove (a file name), undo_all, clear, start_over, and name with what was typed;
 * `addFiles(files)` for pictures and `addUrl(url)` for one that was dragged from the page.
 */
export class GalleryView {
  constructor({ act, addFiles, addUrl, takesPictures = false, chooser = null }) {
    Object.assign(this, { act, addFiles, addUrl });
    this.cards = new Map();
    this.items = new Map();
    this.current = null; // key of the card that Tab reaches
    this.status = h("span", { class: "storymem-status" });
    this.undoAll = this.#button("undo_all");
    this.clear = this.#button("clear");
    this.startOver = this.#button("start_over", t("gallery.start_over"));
    this.notes = h("div", { class: "storymem-notes", "aria-live": "polite" });
    this.images = h("div", { class: "storymem-images", role: "list", "aria-label": t("gallery.pictures") });
    this.kept = h("div", { class: "storymem-grid", role: "list", "aria-label": t("gallery.kept") });
    this.unseenTitle = h("div", { class: "storymem-title" });
    this.unseen = h("div", { class: "storymem-grid", role: "list", "aria-label": t("seen.unseen") });
    this.more = this.#button("show_all");
    this.droppedTitle = h("div", { class: "storymem-title" });
    this.dropped = h("div", { class: "storymem-grid", role: "list", "aria-label": t("gallery.dropped") });
    this.scroll = h(
      "div",
      { class: "storymem-scroll", "data-capture-wheel": "true" },
      this.images,
      this.kept,
      this.unseenTitle,
      this.unseen,
      this.more,
      this.droppedTitle,
      this.dropped,
    );
    const bar = h("div", { class: "storymem-bar" }, this.status, this.startOver, this.undoAll, this.clear);
    if (takesPictures) bar.append(...this.#addButton());
    this.element = h(
      "div",
      { class: "storymem-gallery", role: "group", "aria-label": t("gallery.label") },
      h(
        "div",
        { class: "storymem-inside" },
        ...(chooser ? [chooser] : []),
        bar,
        this.notes,
        this.scroll,
      ),
    );
    this.#listen(takesPictures);
  }

  /** Draw `{ status, notes, kept, unseen, dropped, images, undo, clear, broken }`; kept, unseen (of one
   * shot) and dropped hold items. */
  draw(model) {
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    const place = [...this.items.keys()].indexOf(this.current);
    this.status.textContent = model.status;
    this.notes.replaceChildren(...model.notes.map((note) => h("div", {}, note)));
    this.#count(this.undoAll, "undo_all", model.undo);
    this.#count(this.clear, "clear", model.clear);
    this.startOver.hidden = !model.broken;
    const used = new Set();
    this.items = new Map();
    this.#fill(this.kept, model.kept, used);
    const unseen = model.unseen ?? [];
    this.#fill(this.unseen, unseen, used);
    this.#fill(this.dropped, model.dropped, used);
    this.unseenTitle.hidden = !unseen.length;
    this.unseenTitle.textContent = `${t("seen.unseen")}: ${model.unseenCount}`;
    this.#count(this.more, "show_all", model.more ?? 0);
    for (const key of [...this.cards.keys()]) if (!used.has(key)) this.cards.delete(key);
    this.droppedTitle.hidden = !model.dropped.length;
    this.droppedTitle.textContent = `${t("gallery.dropped")}: ${model.dropped.length}`;
    this.#fillImages(model.images);
    this.#choose(place);
    this.#rove();
    if (focused && focused !== document.activeElement) this.#focus(focused);
    else if (focused?.matches(":focus-visible")) this.#tell(focused);
  }

  /** The card that Tab reaches: the same one, its picture elsewhere, or what stands in its place. */
  #choose(place) {
    if (this.items.has(this.current)) return;
    const digest = this.current?.slice(1);
    const keys = [...this.items.keys()];
    this.current = keys.find((key) => key.slice(1) === digest) ?? keys[Math.min(place, keys.length - 1)] ?? keys[0];
  }

  /** Give the focus back after what had it was moved, hidden or taken away. */
  #focus(element) {
    const stays = element.isConnected && !element.hidden && this.element.contains(element);
    const card = this.cards.get(this.current);
    const next = stays ? element : card?.picture ?? this.element.querySelector("button:not([hidden])");
    next?.focus({ preventScroll: true });
  }

  get order() {
    return [...this.items.values()];
  }

  #fill(grid, items, used) {
    const cards = items.map((item) => {
      let key = `${item.frame.role === "dropped" ? "d" : "k"}${item.frame.digest}`;
      while (used.has(key)) key += "'"; // the same picture twice
      used.add(key);
      this.items.set(key, item);
      const card = this.cards.get(key) ?? this.#card(key);
      this.cards.set(key, card);
      this.#dress(card, item);
      return card.element;
    });
    cards.forEach((card, i) => {
      if (grid.children[i] !== card) grid.insertBefore(card, grid.children[i] ?? null);
    });
    while (grid.children.length > cards.length) grid.lastChild.remove();
  }

  #card(key) {
    const button = (name) => h("button", { type: "button", class: "storymem-act", "data-act": name });
    const card = {
      img: h("img", { alt: "", loading: "lazy", decoding: "async", draggable: "false" }),
      role: h("span", { class: "storymem-role" }),
      place: h("span", { class: "storymem-place" }),
      who: h("span", { class: "storymem-who", hidden: true }),
      next: h("span", { class: "storymem-next" }),
      pin: button("pin"),
      drop: button("drop"),
      name: button("name"),
      undo: button("undo"),
      field: null, // in which names are typed
    };
    card.picture = h(
      "button",
      { type: "button", class: "storymem-picture", "data-act": "enlarge" },
      card.img,
      h("span", { class: "storymem-gone" }, t("gallery.gone")),
      card.role,
    );
    card.element = h(
      "div",
      { class: "storymem-card", role: "listitem", "data-key": key },
      card.picture,
      card.place,
      card.who,
      card.next,
      h("div", { class: "storymem-acts" }, card.pin, card.drop, card.name, card.undo),
    );
    return card;
  }

  /** A field for whom the frame shows: Enter keeps, Escape leaves; the mouse elsewhere keeps, too. */
  #openName(element) {
    const card = this.cards.get(element.dataset.key);
    const { frame, who } = this.items.get(element.dataset.key);
    if (card.field) return;
    const before = who.label ?? frame.shows;
    const close = (keep) => {
      if (!card.field) return;
      const hadFocus = document.activeElement === field;
      const { value } = field;
      card.field = null;
      field.remove();
      card.who.hidden = !card.who.textContent;
      if (hadFocus) card.picture.focus({ preventScroll: true });
      const item = this.items.get(card.element.dataset.key);
      if (keep && item && value.trim() !== before) this.act("name", item, value);
    };
    const field = h("input", {
      type: "text",
      class: "storymem-name",
      maxlength: MAX_NAMES,
      placeholder: t(frame.shows ? "who.nobody" : "who.hint"),
      "aria-label": t("who.long", { place: placeOf(frame) }),
      onblur: () => close(true),
      onkeydown: (event) => {
        event.stopPropagation(); // letters are letters here
        if (event.isComposing) return; // Enter chooses a Chinese word
        if (event.key === "Enter" || event.key === "Escape") {
          event.preventDefault();
          close(event.key === "Enter");
        }
      },
    });
    field.value = before;
    card.field = field;
    card.who.hidden = true;
    card.who.after(field);
    this.#reveal(card.element);
    field.focus({ preventScroll: true });
    field.select();
  }

  #dress(card, { frame, pending, actions, who, from, next }) {
    const source = pictureUrl(frame);
    if (card.img.getAttribute("src") !== source || card.element.classList.contains("gone")) {
      card.element.classList.remove("gone");
      card.img.src = source;
    }
    card.element.dataset.role = frame.role;
    card.element.dataset.pending = pending;
    const role = t(`role.${frame.role}`);
    card.role.textContent = frame.position ? t("seen.position", { position: frame.position, role }) : role;
    card.place.textContent = frame.pool ? `${placeOf(frame)} · ${t(`pool.${frame.pool}`)}` : placeOf(frame);
    card.next.textContent = next ?? (pending ? t(`next.${pending}`) : "");
    card.who.textContent = whoIsOn(frame, who.label);
    card.who.dataset.state = who.isNew ? "new" : who.label === null ? "known" : "own";
    card.who.hidden = !card.who.textContent || card.field !== null;
    card.picture.setAttribute("aria-label", `${t("act.enlarge")}: ${factsOf(frame, pending, who, from).join(". ")}`);
    const place = placeOf(frame);
    const set = (button, names) => {
      const name = names.find((candidate) => actions.includes(candidate));
      button.hidden = !name;
      if (!name) return;
      button.dataset.act = name;
      button.textContent = t(`act.${name}`);
      button.setAttribute("aria-label", t(`act.${name}.${from ? "from" : "long"}`, { place, shot: from }));
    };
    set(card.pin, ["pin", "unpin"]);
    set(card.drop, ["drop", "restore"]);
    set(card.name, ["name"]);
    set(card.undo, ["undo"]);
  }

  #fillImages(images) {
    this.images.hidden = !images.length;
    this.images.replaceChildren(...images.map(({ name, isNew, canRemove }) => h(
      "div",
      { class: "storymem-image", role: "listitem", title: name },
      h("img", { src: inputUrl(name), alt: "", loading: "lazy" }),
      h("span", { class: "storymem-file" }, name),
      isNew ? h("span", { class: "storymem-next" }, t("next.picture")) : null,
      canRemove ? h("button", {
        type: "button",
        class: "storymem-act",
        "data-act": "remove",
        "data-name": name,
        "aria-label": t("gallery.remove.long", { name }),
      }, t("gallery.remove")) : null,
    )));
  }

  #button(name, text = "") {
    return h("button", { type: "button", "data-act": name, hidden: true }, text);
  }

  #count(button, name, count) {
    button.hidden = !count;
    button.textContent = t(`gallery.${name}`, { count });
    button.setAttribute("aria-label", t(`gallery.${name}.long`, { count }));
    button.title = button.getAttribute("aria-label");
  }

  #addButton() {
    const chooser = h("input", {
      type: "file",
      accept: PICTURE_ENDINGS.join(","),
      multiple: true,
      hidden: true,
      "aria-label": t("gallery.add.long"),
      onchange: () => {
        this.addFiles([...chooser.files]);
        chooser.value = "";
      },
    });
    const button = h("button", {
      type: "button",
      "aria-label": t("gallery.add.long"),
      title: t("gallery.add.long"),
      onclick: () => chooser.click(),
    }, t("gallery.add"));
    return [button, chooser];
  }

  #listen(takesPictures) {
    const root = this.element;
    root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-act]");
      if (button) this.#do(button.dataset.act, button);
    });
    root.addEventListener("error", (event) => {
      event.target.closest?.(".storymem-card")?.classList.add("gone");
    }, true); // errors of pictures do not bubble
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("pointerover", (event) => this.#tell(event.target));
    root.addEventListener("pointerleave", () => BUBBLE.hide());
    root.addEventListener("focusin", (event) => {
      const card = event.target.closest(".storymem-card");
      if (card) {
        this.current = card.dataset.key;
        this.#rove();
      }
      if (event.target.matches(":focus-visible")) this.#tell(event.target);
    });
    root.addEventListener("focusout", () => BUBBLE.hide());
    this.scroll.addEventListener("scroll", () => BUBBLE.hide(), { passive: true });
    root.addEventListener("pointerdown", (event) => event.stopPropagation());
    root.addEventListener("contextmenu", (event) => event.stopPropagation());
    if (takesPictures) this.#listenToDrops();
  }

  /** What is known of the card that `element` is in. */
  #tell(element) {
    const card = element.closest?.(".storymem-card");
    const item = card && this.items.get(card.dataset.key);
    if (item && !element.matches(".storymem-name")) BUBBLE.show(card, factsOf(item.frame, item.pending, item.who, item.from));
    else BUBBLE.hide();
  }

  #listenToDrops() {
    const over = (event) => {
      event.preventDefault();
      event.stopPropagation();
      this.element.classList.add("dragging");
    };
    this.element.addEventListener("dragenter", over);
    this.element.addEventListener("dragover", over);
    this.element.addEventListener("dragleave", () => this.element.classList.remove("dragging"));
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation(); // the host would open the picture as a workflow
      this.element.classList.remove("dragging");
      const files = [...event.dataTransfer.files];
      if (files.length) this.addFiles(files);
      else this.addUrl(event.dataTransfer.getData("text/uri-list").split("\n")[0].trim());
    });
  }

  #do(name, button) {
    BUBBLE.hide();
    const card = button.closest(".storymem-card");
    if (name === "name") return this.#openName(card);
    return this.act(name, card ? this.items.get(card.dataset.key) : button.dataset.name);
  }

  #key(event) {
    const card = event.target.closest(".storymem-card");
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (plain) event.stopPropagation(); // Delete means the frame here, not the selected node
    if (event.key === "Escape") BUBBLE.hide();
    if (!card || !plain) return;
    const cards = [...this.kept.children, ...this.unseen.children, ...this.dropped.children];
    const next = neighbourOf(cards, card, event.key);
    if (next) {
      event.preventDefault();
      next.querySelector(".storymem-picture").focus({ preventScroll: true });
      this.#reveal(next);
      return;
    }
    const name = KEYS[event.key];
    const { actions } = this.items.get(card.dataset.key);
    const chosen = name === "pin" && !actions.includes("pin") ? "unpin" : name;
    if (chosen && actions.includes(chosen)) {
      event.preventDefault();
      if (chosen === "name") this.#openName(card);
      else this.act(chosen, this.items.get(card.dataset.key));
    }
  }

  /** Scroll the whole card into view, and nothing but the gallery. */
  #reveal(card) {
    const { scroll } = this;
    const top = card.offsetTop + card.parentElement.offsetTop;
    const over = top + card.offsetHeight + 4 - (scroll.scrollTop + scroll.clientHeight);
    if (over > 0) scroll.scrollTop += over;
    if (top < scroll.scrollTop) scroll.scrollTop = Math.max(0, top - 4);
  }

  #rove() {
    for (const [key, card] of this.cards) {
      const reachable = key === this.current ? "0" : "-1";
      for (const button of [card.picture, card.pin, card.drop, card.name, card.undo]) {
        if (button.getAttribute("tabindex") !== reachable) button.setAttribute("tabindex", reachable);
      }
    }
  }
}
