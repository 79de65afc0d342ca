/** What a node is asked with, to tell whether an error that it gave may still be true. */
import { holderOf, sourcesOf } from "../shared/graph.js";

const PLAIN = ["string", "number", "boolean"];

/** The values on a node, and its wires with the values on the nodes at their other ends. */
export function askedValues(node) {
  const own = (node.widgets ?? []).map(({ name }) => holderOf(node, name)?.widget);
  const fed = (node.inputs ?? []).flatMap((_, i) => sourcesOf(node, i))
    .flatMap(([source, slot]) => [source.id, slot, ...plainValues(source.widgets ?? [])]);
  return [...plainValues(own), ...fed];
}

function plainValues(widgets) {
  return widgets.filter((widget) => widget && widget.serialize !== false && PLAIN.includes(typeof widget.value))
    .map(({ value }) => value);
}

export function areSame(some, others) {
  return some.length === others.length && some.every((value, i) => value === others[i]);
}
