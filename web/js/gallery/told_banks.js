/** Banks that a run tells of, on their way to the galleries. */
import { api } from "../../../../scripts/api.js";
import { missedOutputs } from "../loop/missed_runs.js";
import { LOOP_CLOSE, LOOP_OPEN, MEMORY_BANK, REMEMBER, kindOf, nodeOfId, upstream } from "../shared/graph.js";
import { noteChange, rootGraph, shownTab } from "../shared/host.js";
import { askedBy } from "../story/api.js";
import { readBank } from "./bank.js";
import { drawAll } from "./gallery.js";
import { CARRIERS, galleryOf, storyNodeOf } from "./nodes.js";

export const PROPERTY = "storymem_bank";
const TAB_MS = 100; // after its nodes are there the host says which tab is shown
const TAB_SURE_MS = 2000; // a busy host may still put back what a tab was left with
const TAB_LATEST_MS = 60_000; // on a busy machine it takes that long to say so
const DRAFT_MS = 3000; // a running story is put into the browser's draft at most this often

// Banks of workflows that are open, but not in view: by workflow, in the order they came.
const elsewhere = new Map();
// By a workflow's id: the tabs that queued it or were told of its banks, and the newest bank of each
// node with its story. Several tabs may hold one workflow, as after Continue, and only that in view is told.
const newest = new Map();
let heard = 0; // banks that the server told of, for the workflow in view
let changed = false;
let draftTimer = 0;
let opened = 0; // workflows, so that a wait for one ends with the next

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
  tell(value.workflow, id, bank);
}

/** Show a bank of the workflow in view, and keep it for the other tabs that hold it. */
function tell(workflow, id, bank) {
  const node = nodeOfId(id);
  if (!node) return;
  if (workflow) {
    const { banks } = knownOf(workflow);
    banks.delete(id); // a Map keeps the place of what it knows
    banks.set(id, { bank, story: storyOf(node) });
  }
  announce(node, bank);
}

/** What is known of a workflow, which the tab in view holds and takes part in from now on. */
function knownOf(workflow) {
  if (!newest.has(workflow)) newest.set(workflow, { tabs: new Set(), banks: new Map() });
  const known = newest.get(workflow);
  known.tabs.add(shownTab());
  return known;
}

/** The tab in view queues its workflow: it is shown what that gives, however soon it is left. */
export function runBegun() {
  const workflow = rootGraph()?.id;
  if (workflow) knownOf(workflow);
}

/** What tells the story that a node's bank is of. */
function storyOf(node) {
  const storyNode = storyNodeOf(node);
  return JSON.stringify(storyNode && askedBy(storyNode));
}

/** Show what came for the workflow that is in view now while another one was, or another tab of it. */
export function takeUpWaiting() {
  const workflow = rootGraph()?.id;
  const waiting = elsewhere.get(workflow) ?? [];
  elsewhere.delete(workflow);
  for (const [id, bank] of waiting) tell(workflow, id, bank);
  whenTabIsShown(shownTab(), ++opened, Date.now());
  const turn = opened;
  setTimeout(() => { if (turn === opened) showNewest(); }, TAB_SURE_MS);
}

/** Show the newest banks as soon as the host says that another tab than `before` is shown. */
function whenTabIsShown(before, turn, since) {
  setTimeout(() => {
    if (turn !== opened) return; // yet another workflow was opened
    if (shownTab() !== before) showNewest();
    else if (Date.now() - since < TAB_LATEST_MS) whenTabIsShown(before, turn, since);
  }, TAB_MS);
}

/** In a tab that is shown again: a file that is opened keeps what it was saved with. */
function showNewest() {
  const { tabs, banks } = newest.get(rootGraph()?.id) ?? {};
  if (!tabs?.has(shownTab())) return;
  for (const [id, { bank, story }] of banks) {
    const node = nodeOfId(id);
    if (node && storyOf(node) === story) announce(node, bank);
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
