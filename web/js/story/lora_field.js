/** The LoRAs of a shot in the story editor: one line, and the host's files to choose from. */
import { api } from "../../../../scripts/api.js";
import { h } from "../shared/dom.js";
import { t } from "../shared/texts.js";

const NEEDS_JSON = /[,;:，；、：<>[\]]|^\{/; // signs of a line: see storymem/script/loras.py
let asked = null; // names of the host's LoRA files, a pair by what its files share

function names() {
  asked ??= api.fetchApi("/storymem/loras").then((answer) => (answer.ok ? answer.json() : { names: [] })).then((answer) => answer.names)
    .catch(() => []);
  return asked;
}

/** What a line says, and one name more: as JSON where it is that already, or no line can hold the name. */
function withName(has, name) {
  const isJson = /^[[{]/.test(has);
  if (!isJson && !NEEDS_JSON.test(name)) return has ? `${has}, ${name}` : name;
  try {
    const list = isJson ? [JSON.parse(has)].flat() : has ? [has] : [];
    return JSON.stringify([...list, { name }]);
  } catch {
    return `${has}, ${name}`; // typed wrong before, and told
  }
}

/** `line` with a list whose choice is added to it, as if it were typed. */
export function loraField(line) {
  const input = line.querySelector("input");
  const first = () => h("option", { value: "" }, t("story.loras.add"));
  const choice = h("select", { class: "sm-loras", "aria-label": t("story.loras.add"), title: t("story.loras.add") }, first());
  const fill = async () => {
    if (choice.options.length > 1) return;
    const found = await names();
    if (choice.options.length > 1) return;
    const rest = found.length ? found.map((name) => h("option", { value: name }, name))
      : [h("option", { value: "", disabled: "" }, t("story.loras.none"))];
    choice.append(...rest);
    if (!found.length) asked = null; // files may come
  };
  for (const event of ["pointerenter", "focus"]) choice.addEventListener(event, fill);
  choice.addEventListener("change", (event) => {
    event.stopPropagation(); // of a list that is no field of the story
    if (!choice.value) return;
    input.value = withName(input.value.trim().replace(/[,，;；]$/, ""), choice.value);
    choice.value = "";
    input.dispatchEvent(new Event("input", { bubbles: true }));
  });
  return h("div", { class: "sm-of-loras" }, line, choice);
}
