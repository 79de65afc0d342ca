/** The control below a seed: "fixed" on a fresh node, by its schema. The host takes that word for the
 *  control's name as well; saved subgraphs that show the control know it by its usual name. */
import { kindOf } from "../shared/graph.js";

const WORDS = ["fixed", "increment", "decrement", "randomize"];

export function nameControls(node) {
  if (!kindOf(node)?.startsWith("StoryMem")) return;
  for (const widget of node.widgets ?? []) {
    const control = widget.name === "seed" ? widget.linkedWidgets?.[0] : null;
    if (control && WORDS.includes(control.name)) control.name = "control_after_generate";
  }
}
