/**
 * On a blueprint's node: the button of the story editor, how far the story is, and the memory, which
 * are otherwise only on the nodes inside. For subgraphs whose properties ask for it, as the shipped
 * one's do: on others they would cover what stands below.
 */
import { app } from "../../../../scripts/app.js";
import { LOAD_STORY, LOOP_CLOSE, MEMORY_BANK, everyNode, isThere, kindOf } from "../shared/graph.js";
import { showProgressOn } from "../loop/extension.js";
import { showStoryOn } from "../story/extension.js";
import { galleryOf } from "./nodes.js";

const PROPERTY = "storymem_outside";
const dressed = new WeakSet(); // subgraph nodes

function dress(node) {
  if (!node.subgraph || !node.properties?.[PROPERTY] || dressed.has(node) || !node.addDOMWidget) return;
  if (!isThere(node)) return; // taken away meanwhile: its displays would stay on the page
  const inside = new Map();
  for (const found of everyNode(node.subgraph)) if (!inside.has(kindOf(found))) inside.set(kindOf(found), found);
  const [story, close, bank] = [LOAD_STORY, LOOP_CLOSE, MEMORY_BANK].map((kind) => inside.get(kind));
  if (!story || !close || !galleryOf(bank)) return;
  dressed.add(node);
  keepsDisplays(node, () => {
    showStoryOn(node, story);
    showProgressOn(node, close);
    galleryOf(bank).showOn(node);
  });
  const [, needed] = node.computeSize();
  if (node.size[1] < needed) node.setSize([node.size[0], needed]);
}

/** The page of ComfyUI 0.18 makes a subgraph node's widgets anew from what is inside, in Nodes 2.0 at
 * once: what `add` puts there is put there each time. */
function keepsDisplays(node, add) {
  const { addCustomWidget } = node;
  const displays = [];
  node.addCustomWidget = function (widget) {
    displays.push(widget);
    return addCustomWidget.call(this, widget);
  };
  add();
  delete node.addCustomWidget;
  const made = Object.getOwnPropertyDescriptor(node, "widgets");
  if (!made?.get || !made.configurable || displays.every((widget) => node.widgets.includes(widget))) return;
  Object.defineProperty(node, "widgets", {
    ...made, get: () => [...(made.get.call(node) ?? []).filter((widget) => !displays.includes(widget)), ...displays],
  });
}

app.registerExtension({
  name: "StoryMem.Outside",
  nodeCreated(node) {
    if (!node.subgraph) return;
    const soon = () => requestAnimationFrame(() => dress(node)); // its properties come after it
    const { onAdded } = node;
    node.onAdded = function (...values) {
      soon();
      return onAdded?.apply(this, values);
    };
    soon();
  },
  afterConfigureGraph() {
    for (const node of everyNode()) dress(node);
  },
});
