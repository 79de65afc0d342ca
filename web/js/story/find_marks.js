/** Where words are found in the story editor's prompts: a text field cannot show it by itself. */
import { h } from "../shared/dom.js";

export class FoundMarks {
  constructor(table) {
    this.table = table;
    this.rows = new Set(); // ids of the rows with a mark
    this.layer = h("div", { class: "sm-found-layer", "aria-hidden": "true" });
    this.follow = () => { this.layer.scrollTop = this.field.scrollTop; };
    // What the plan adds to the rows, or the notes above them take, must not push away what is shown.
    this.watch = new ResizeObserver(() => { if (this.isInView) this.table.reveal(this.id); });
    this.note = () => { this.isInView = this.isSeen(); };
  }

  /** `found`: how often by row id; `shown`: `{ row, places, number }` of the one to look at, if any. */
  show(found, shown) {
    for (const id of this.rows) if (!found.has(id)) this.markRow(id, false);
    for (const id of found.keys()) if (!this.rows.has(id)) this.markRow(id, true);
    this.rows = new Set(found.keys());
    this.field?.removeEventListener("scroll", this.follow);
    this.field = shown && this.table.parts.get(shown.row.id)?.prompt;
    if (this.field) this.showPlaces(shown);
    else this.layer.remove();
    this.keep(this.field ? shown.row.id : null);
  }

  /** Keep a row in view whatever changes its height around it, until it is scrolled away. */
  keep(id) {
    const panel = this.table.element.parentElement;
    this.id = id;
    this.watch.disconnect();
    panel.removeEventListener("scroll", this.note);
    this.isInView = id !== null;
    if (id === null) return;
    panel.addEventListener("scroll", this.note);
    this.watch.observe(panel);
    this.watch.observe(this.table.element);
  }

  isSeen() {
    const { top, bottom } = this.field.getBoundingClientRect();
    const panel = this.table.element.parentElement.getBoundingClientRect();
    return bottom > panel.top && top < panel.bottom;
  }

  clear() {
    this.show(new Map(), null);
  }

  markRow(id, isFound) {
    this.table.parts.get(id)?.element.classList.toggle("sm-found", isFound);
  }

  showPlaces({ row, places, number }) {
    const text = this.field.value;
    const pieces = [];
    let done = 0;
    places.forEach(([begin, end], i) => {
      pieces.push(text.slice(done, begin), h("mark", { class: i === number ? "sm-here" : "" }, text.slice(begin, end)));
      done = end;
    });
    this.layer.replaceChildren(...pieces, text.slice(done), "\n"); // a last line that is empty has its height too
    if (this.layer.parentElement !== this.field.parentElement) this.field.after(this.layer);
    this.table.reveal(row.id);
    this.layer.style.width = `${this.field.clientWidth + 2}px`; // without the bar that scrolls it; with its border
    this.field.addEventListener("scroll", this.follow);
    const here = this.layer.querySelector(".sm-here");
    const { scrollTop, clientHeight } = this.field;
    const isSeen = here.offsetTop >= scrollTop && here.offsetTop + here.offsetHeight <= scrollTop + clientHeight;
    if (!isSeen) this.field.scrollTop = here.offsetTop - clientHeight / 2;
    this.follow();
  }
}
