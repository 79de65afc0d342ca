/** Load Story LoRA in a workflow from elsewhere: the released files have many names. */
import { app } from "../../../../scripts/app.js";
import { everyNode, holderOf, kindOf } from "../shared/graph.js";
import { post } from "../shared/server.js";

const LOAD_LORA = "StoryMemLoadLoRA";
const INPUTS = ["lora_high", "lora_low"];

/** The widgets of LoRA files that the host's list does not have. */
function unknownFiles() {
  const found = new Map(); // several copies of a subgraph have the same nodes
  for (const node of everyNode()) {
    if (kindOf(node) !== LOAD_LORA) continue;
    for (const name of INPUTS) {
      const own = node.widgets?.find((widget) => widget.name === name);
      const known = own?.options?.values;
      if (!Array.isArray(known)) continue;
      for (const held of [{ node, widget: own }, holderOf(node, name)]) {
        if (held && typeof held.widget.value === "string" && !known.includes(held.widget.value)) found.set(held.widget, held);
      }
    }
  }
  return [...found.values()];
}

app.registerExtension({
  name: "StoryMem.LoraFiles",
  /** Before the host looks for missing models. */
  async afterConfigureGraph() {
    const unknown = unknownFiles();
    if (!unknown.length) return;
    const names = [...new Set(unknown.map(({ widget }) => widget.value))];
    const { found = {} } = await post("/storymem/loras", { names }).catch(() => ({})); // an older server finds nothing
    for (const { node, widget } of unknown) {
      const file = found[widget.value];
      if (!file) continue;
      widget.value = file;
      widget.callback?.(file, app.canvas, node);
    }
  },
});
