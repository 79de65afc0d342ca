/** Wires of the pack's own types have colours, in the classic canvas and, by desk.css, in Nodes 2.0. */
import { app } from "../../../../scripts/app.js";

// As in desk.css; each stands out against the host's dark and light canvas.
const COLOURS = {
  STORYMEM_STORY: "#d99a3d",
  STORYMEM_SHOT: "#e0705a",
  STORYMEM_BANK: "#3fa796",
  STORYMEM_KEYFRAMES: "#7fb13c",
  STORYMEM_EMBEDDER: "#6f8ff0",
  STORYMEM_SCORER: "#b07ae0",
  STORYMEM_FLOW: "#d0659f",
  STORYMEM_STATE: "#4a9fd4",
};

/** The host empties the colours of all types with each palette; what a palette says itself stays. */
function colour(table) {
  for (const [type, own] of Object.entries(COLOURS)) {
    let said = table[type];
    Object.defineProperty(table, type, {
      configurable: true,
      enumerable: true,
      get: () => said || own,
      set: (value) => { said = value; },
    });
  }
}

app.registerExtension({
  name: "StoryMem.Colours",
  setup() {
    const known = globalThis.LGraphCanvas ?? globalThis.LiteGraph?.LGraphCanvas;
    for (const table of [known?.link_type_colors, app.canvas?.default_connection_color_byType]) if (table) colour(table);
    app.canvas?.setDirty?.(true, true);
  },
});
