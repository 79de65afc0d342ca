/** Banks that a run tells of, on their way to the galleries. */
import { api } from "../../../../scripts/api.js";
import { missedOutputs } from "../loop/missed_runs.js";
import { LOOP_CLOSE, LOOP_OPEN, MEMORY_BANK, REMEMBER, kindOf, nodeOfId, upstream } from "../shared/graph.js";
import { noteChange, rootGraph } from "../shared/host.js";
import { readBank } from "./bank.js";
import { drawAll } from "./gallery.js";
import { CARRIERS, galleryOf } from "./nodes.js";

export const PROPERTY = "storymem_bank";
const DRAFT_MS = 3000; // a running story is put into the browser's draft at most this often

// Banks of workflows that are open, but not in view: by workflow, in the order they came.
const elsewhere = new Map();
let heard = 0; // banks that the server told of, for the workflow in view
let changed = false;
let draftTimer = 0;

/** Show a bank on the node that gave it, and on the Memory Bank that it grew from. */
function announce(node, bank) {
  const shows = [[galleryOf(node), "own"]];
  if (kindOf(node) === LOOP_CLOSE) {
    // The loop's end tells what the last Remember in it would tell.
    for (const inside of upstream(node, CARRIERS, (n) => kindOf(n) === LOOP_OPEN)) {
      if (kindOf(inside) === REMEMBER) shows.push([galleryOf(inside), "own"]);
    }
  }
  if (kindOf(node) !== MEMORY_BANK) {
    for (const source of upstream(node, CARRIERS)) {
      if (kindOf(source) === MEMORY_BANK && galleryOf(source)) {
        shows.push([galleryOf(source), "story"]);
        break;
      }
    }
  }
  const words = JSON.stringify(bank);
  const news = shows.filter(([gallery, as]) => gallery && JSON.stringify(gallery[as]) !== words);
  if (!news.length) return;
  for (const [gallery, as] of news) gallery[as] = bank;
  changed = true;
  drawAll();
  keepDraft();
}

export function receive(id, value) {
  const bank = readBank(value);
  if (!bank) return;
  if (value.workflow && value.workflow !== rootGraph()?.id) {
    const waiting = elsewhere.get(value.workflow) ?? new Map();
    waiting.delete(id); // a Map keeps the place of what it knows
    waiting.set(id, bank);
    elsewhere.set(value.workflow, waiting);
    return;
  }
  heard += 1;
  const node = nodeOfId(id);
  if (node) announce(node, bank);
}

/** Show what came for the workflow that is in view now while another one was. */
export function takeUpWaiting() {
  const waiting = elsewhere.get(rootGraph()?.id);
  elsewhere.delete(rootGraph()?.id);
  for (const [id, bank] of waiting ?? []) {
    const node = nodeOfId(id);
    if (node) announce(node, bank);
  }
}

/** Show what a run gave while the page was closed, or cut off from the server. */
export async function catchUp() {
  const before = heard;
  const outputs = await missedOutputs().catch(() => null); // the server is away: asked again later
  if (!outputs || heard !== before) return;
  const banks = Object.entries(outputs)
    .map(([id, output]) => [nodeOfId(id), readBank(output[PROPERTY]?.at(-1))])
    .filter(([node, bank]) => node && bank)
    .sort(([, one], [, other]) => one.count - other.count); // a bank only grows
  for (const [node, bank] of banks) announce(node, bank);
  runEnded();
}

/** Into the browser's draft of the workflow, so that a reload shows the same; no step to undo. */
function keepDraft() {
  if (draftTimer) return;
  draftTimer = setTimeout(() => {
    draftTimer = 0;
    api.dispatchCustomEvent?.("graphChanged", rootGraph().serialize());
  }, DRAFT_MS);
}

export function runEnded() {
  if (!changed) return;
  changed = false;
  noteChange();
}
