/** A list with an element for each row of a story. Of a long one, a few are made in each frame. */
import { placeAfter } from "../shared/dom.js";

const AT_ONCE = 8; // rows that are made together however long that takes
const MOST_MS = 5; // in one frame; that lays out the page in three times as long

export class RowList {
  /**
   * `make(row)` gives what shows a row, with its `element`; `tell(part, row, i)` has that say what
   * the row says; `shown()` is told when rows came or went.
   */
  constructor(element, { make, tell, shown }) {
    Object.assign(this, { element, make, tell, shown });
    this.parts = new Map(); // row id -> what shows the row
    this.rows = [];
    this.next = null; // the first row that is not made yet
  }

  /** Make the list one of these rows: those that are there already are changed, moved or taken out. */
  show(rows) {
    this.rows = rows;
    const wanted = new Set(rows.map(({ id }) => id));
    for (const [id, part] of this.parts) {
      if (wanted.has(id)) continue;
      part.element.remove();
      this.parts.delete(id);
    }
    this.go(0, MOST_MS);
  }

  /** Make what is not made yet now, for somebody who needs a row of it. */
  whole() {
    if (this.next !== null) this.go(this.next, Infinity);
  }

  /** What shows the row of this id; `undefined` for none. */
  partOf(id) {
    if (!this.parts.has(id)) this.whole();
    return this.parts.get(id);
  }

  go(begin, most) {
    cancelAnimationFrame(this.frame);
    const { element, parts, rows } = this;
    const held = document.activeElement;
    const end = performance.now() + most;
    let made = 0;
    let after = begin ? parts.get(rows[begin - 1].id).element : null;
    this.next = null;
    for (let i = begin; i < rows.length; i += 1) {
      const row = rows[i];
      if (!parts.has(row.id)) {
        if (this.next === null && made >= AT_ONCE && performance.now() > end) this.next = i;
        if (this.next !== null) continue;
        parts.set(row.id, this.make(row));
        made += 1;
      }
      const part = parts.get(row.id);
      this.tell(part, row, i);
      placeAfter(element, part.element, after);
      after = part.element;
    }
    if (held !== document.activeElement && element.contains(held)) held.focus({ preventScroll: true });
    this.tellBusy();
    this.shown();
  }

  tellBusy() {
    const isBusy = this.next !== null;
    if (isBusy) this.frame = requestAnimationFrame(() => { if (this.element.isConnected) this.go(this.next, MOST_MS); });
    if (isBusy === this.element.hasAttribute("aria-busy")) return;
    if (isBusy) this.element.setAttribute("aria-busy", "true");
    else this.element.removeAttribute("aria-busy");
  }
}
