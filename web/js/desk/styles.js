/** The pack's style sheets, here before the first workflow is: nothing is ever shown without them. */
import { app } from "../../../../scripts/app.js";
import { h } from "../shared/dom.js";

const SHEETS = ["desk", "editor", "gallery", "plan", "player", "setup", "story", "takes", "write"];

function load(name) {
  const href = new URL(`../../css/${name}.css`, import.meta.url).href; // whatever the pack's folder is called
  const link = h("link", { rel: "stylesheet", href });
  document.head.append(link);
  return new Promise((done) => { link.onload = link.onerror = done; });
}

app.registerExtension({
  name: "StoryMem.Styles",
  async setup() {
    await Promise.all(SHEETS.map(load));
  },
});
