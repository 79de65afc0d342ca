/** Which nodes a gallery belongs to. */
import { MEMORY_BANK, REHEARSAL, everyNode, kindOf, storyNodesOf, upstream } from "../shared/graph.js";

export const CARRIERS = new Set(["STORYMEM_BANK", "STORYMEM_FLOW", "STORYMEM_STATE", "*"]);

export const galleryOf = (node) => node?.storymemGallery;

/**
 * The node that keeps the clicks on a node's bank: the Memory Bank that the bank grew from, else its
 * Rehearsal Memory; null when there is none.
 */
export function sourceOf(node) {
  const above = [node, ...upstream(node, CARRIERS)];
  return above.find((found) => kindOf(found) === MEMORY_BANK)
    ?? above.find((found) => kindOf(found) === REHEARSAL) ?? null;
}

/** Where loops begin: nodes that take a story and a bank, but what only makes a bank of them. */
function* loopStarts() {
  for (const node of everyNode()) {
    if (kindOf(node) === REHEARSAL) continue;
    const types = new Set((node.inputs ?? []).map(({ type }) => type));
    if (types.has("STORYMEM_STORY") && types.has("STORYMEM_BANK")) yield node;
  }
}

/** The Load Story node whose shots see the bank of a node; null when no loop is near. */
export function storyNodeOf(node) {
  const source = sourceOf(node);
  const above = new Set([node, ...upstream(node, CARRIERS)]);
  for (const start of loopStarts()) {
    const isNear = above.has(start) || (source && sourceOf(start) === source);
    const [story] = isNear ? storyNodesOf(start) : [];
    if (story) return story;
  }
  return null;
}

/** The gallery of the Memory Bank that the shots of a Load Story node see; null when there is none. */
export function memoryOf(storyNode) {
  for (const start of loopStarts()) {
    if (storyNodesOf(start).includes(storyNode)) return galleryOf(sourceOf(start)) ?? null;
  }
  return null;
}

/** What is drawn again when the memory's edits change, beside the galleries on nodes. */
export const alsoDrawn = new Set();
