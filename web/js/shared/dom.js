/** Elements of the page. */

/** `h("button", { class: "x", onclick: f, "aria-label": "y" }, "text", child)`; text stays text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/**
 * Change an element's text. An element that comes or goes, a text too, has the browser look through
 * the whole page for what the host's `:has()` rules mean; a text that changes has not.
 */
export function setText(element, text) {
  const [node] = element.childNodes;
  if (element.childNodes.length !== 1 || node.nodeType !== Node.TEXT_NODE) element.textContent = text;
  else if (node.data !== text) node.data = text;
}

/** Have `element` follow `after` in `list`, or begin it: only what is elsewhere is moved. */
export function placeAfter(list, element, after) {
  const next = after ? after.nextSibling : list.firstChild;
  if (element === next) return;
  // One that goes far down is taken out until its turn comes, else all others would move up.
  if (element === next?.nextSibling) next.remove();
  else list.insertBefore(element, next);
}

/**
 * Switch controls on or off, `[control, isOff]` each. One that has the keyboard loses it as it is
 * switched off, some browsers say so at once and some later: `next()` is who gets it.
 */
export function switchOff(controls, next) {
  const held = document.activeElement;
  for (const [control, isOff] of controls) control.disabled = isOff;
  if (controls.some(([control, isOff]) => isOff && control === held)) next().focus();
}

const KEPT = ["keydown", "keyup", "keypress", "copy", "paste", "cut", "pointerdown", "wheel", "contextmenu", "drop", "dragover"];

/** A dialog that Escape ends by `end()`; nothing that is done in it is meant for the canvas below. */
export function ownDialog(element, end) {
  element.addEventListener("cancel", (event) => {
    event.preventDefault();
    end();
  });
  for (const kind of KEPT) element.addEventListener(kind, (event) => event.stopPropagation());
}

/** Run `task` once, soon, however often it is asked for. */
export function soon(task) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      task();
    });
  };
}
