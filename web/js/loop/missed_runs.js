/** Runs that this browser queued and whose end no page heard: closed, or cut off from the server. */
import { api } from "../../../../scripts/api.js";
import { NO_ID, PROMPT_ENDS } from "../shared/graph.js";
import { rootGraph } from "../shared/host.js";

const KEY = "storymem.runs"; // in the browser's storage, for each user of the server
const MOST = 50;
const KEPT_MS = 10_000; // by then the host has what was heard in the browser's draft of the workflow

const keyOf = () => `${KEY}.${api.user ?? ""}`;

/** `[{ workflow, prompt }]`, oldest first. */
function read() {
  try {
    const runs = JSON.parse(localStorage.getItem(keyOf()) ?? "[]");
    return runs.filter((run) => typeof run?.workflow === "string" && typeof run.prompt === "string");
  } catch {
    return [];
  }
}

function write(runs) {
  try {
    localStorage.setItem(keyOf(), JSON.stringify(runs.slice(-MOST)));
  } catch {
    // A browser that keeps nothing has nothing to catch up with.
  }
}

const over = new Set(); // runs whose end this page heard

function heard(prompt) {
  over.add(prompt);
  setTimeout(() => forget(prompt), KEPT_MS); // a page that is loaded again before that asks for it
}

/** This run is no news any more, and no run of its workflow before it. */
function forget(prompt) {
  const runs = read();
  const at = runs.findIndex((run) => run.prompt === prompt);
  if (at >= 0) write(runs.filter(({ workflow }, i) => i > at || workflow !== runs[at].workflow));
}

async function get(path) {
  return (await api.fetchApi(path)).json();
}

/** What the newest missed run of the shown workflow gave, by node; `null` when none was missed. */
export async function missedOutputs() {
  const id = rootGraph()?.id;
  const runs = read().filter(({ workflow }) => workflow === id);
  const missed = runs.slice(runs.findLastIndex(({ prompt }) => over.has(prompt)) + 1).reverse();
  if (!missed.length) return null;
  const queue = await get("/queue"); // first: what ends now is in the history afterwards
  const [running, pending] = [queue.queue_running, queue.queue_pending]
    .map((entries) => new Set(entries.map(([, prompt]) => prompt)));
  for (const { prompt } of missed) {
    if (running.has(prompt)) return null; // it tells itself, and what is older is no news
    if (pending.has(prompt)) continue;
    const entry = (await get(`/history/${prompt}`))[prompt];
    if (rootGraph()?.id !== id) return null; // asked again when that workflow is shown
    forget(prompt);
    if (entry) return entry.outputs ?? null;
  }
  return null;
}

/** Keep account of what this page has in the server's queue: the host does not say as it queues. */
async function noteQueued() {
  const queue = await get("/queue");
  const entries = [...queue.queue_running, ...queue.queue_pending].sort(([a], [b]) => a - b);
  const own = entries.filter(([, , , extra]) => extra?.client_id && extra.client_id === api.clientId);
  const known = new Set([...over, ...read().map(({ prompt }) => prompt)]);
  const fresh = own
    .map(([, prompt, , extra]) => ({ workflow: extra.extra_pnginfo?.workflow?.id, prompt }))
    .filter(({ workflow, prompt }) => workflow && workflow !== NO_ID && !known.has(prompt));
  if (fresh.length) write([...read(), ...fresh]);
}

/** Keep account of runs; `ask()` is called when one may have been missed. */
export function watchRuns(ask) {
  const note = () => noteQueued().catch(() => {}); // the server is away: nothing runs there
  for (const sign of ["promptQueued", "execution_start"]) api.addEventListener(sign, note);
  for (const end of PROMPT_ENDS) api.addEventListener(end, ({ detail }) => heard(detail?.prompt_id));
  for (const sign of ["reconnected", "status"]) api.addEventListener(sign, ask);
}
