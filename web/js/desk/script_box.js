/** On Load Story the script is the largest text box. */
import { app } from "../../../../scripts/app.js";
import { LOAD_STORY, kindOf } from "../shared/graph.js";

const FRESH_SIZE = [440, 500]; // pixels of a node that was never saved; a file has its own
const SCRIPT_ROWS = 8; // in Nodes 2.0, where each box has at least the lines that it asks for
const OTHER_ROWS = 2;
const OTHER_SHARE = 1 / 8; // of the node's height, in the classic canvas
const OTHER_LEAST = 50; // pixels: the host's own least

app.registerExtension({
  name: "StoryMem.ScriptBox",
  nodeCreated(node) {
    if (kindOf(node) !== LOAD_STORY) return;
    const [script, character] = ["script", "character"].map((name) => node.widgets?.find((widget) => widget.name === name));
    if (!script?.options || !character?.options) return;
    script.options.rows = SCRIPT_ROWS;
    character.options.rows = OTHER_ROWS;
    // What is left of the node's height goes to boxes that have no most.
    character.options.getMaxHeight = () => Math.max(OTHER_LEAST, Math.round(node.size[1] * OTHER_SHARE));
    node.setSize(FRESH_SIZE.map((least, i) => Math.max(least, node.size[i])));
  },
});
