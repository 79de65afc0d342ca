/** The look ahead for what Load Story's list and the loop's line show, asked for when it is cheap. */
import { latestRun } from "../shared/runs.js";
import { isThere } from "../shared/graph.js";
import { GraphWatch, RUNS, actsWhenWritten, askPlan, loopsOf } from "./plan_ask.js";

const ASK_AFTER_MS = 400;

export class NodePlan {
  /** `panel` is the one on Load Story; its `planned()` is told that something else is known. */
  constructor(panel) {
    this.panel = panel;
    this.plan = null; // what is known for the story as it was last read
    this.isComing = false; // it was asked for
    this.isMissed = false; // it would have been, by a page that is shown
    this.turn = 0;
  }

  /** Whether an answer may be had: not during a run, which tells itself where its shots stand. */
  canAsk() {
    const { node, answer, dialog } = this.panel;
    if (dialog || !isThere(node) || latestRun(node) || !answer || answer.error || !answer.shots.length) return false;
    return loopsOf(node)[0]?.mode === RUNS && !actsWhenWritten();
  }

  /** Load Story was read, or the graph is another one: ask soon. */
  again() {
    const { answer } = this.panel;
    const read = JSON.stringify([answer?.mark, answer?.folder, (answer?.shots ?? []).map(({ state }) => state)]);
    const can = this.canAsk();
    this.turn += 1;
    this.isMissed = can && document.hidden;
    this.isComing = can && !document.hidden;
    if (!this.isComing || read !== this.read) this.plan = null; // else it stands until the answer
    this.read = read;
    clearTimeout(this.timer);
    this.timer = null;
    if (this.isComing) this.timer = setTimeout(() => this.ask(), ASK_AFTER_MS);
  }

  async ask() {
    const { turn } = this;
    this.timer = null;
    const wanted = () => turn === this.turn && this.canAsk();
    const [loop] = wanted() ? loopsOf(this.panel.node) : [];
    const plan = loop ? await askPlan(loop, { isWanted: wanted }).catch(() => null) : null;
    if (turn !== this.turn) return; // asked for again meanwhile
    this.plan = this.canAsk() ? plan : null;
    this.isComing = false;
    this.panel.planned();
  }

  /** The workflow changed; `graph` is what of it goes to the server. */
  changed(graph) {
    if (this.timer || (!this.isComing && this.plan?.graph === graph)) return; // it will ask with the graph as it is then
    const before = this.plan;
    this.again();
    if (before || this.isComing) this.panel.planned();
  }

  /** The page is shown again. */
  seen() {
    if (!this.isMissed || document.hidden) return;
    this.again();
    this.panel.planned();
  }
}

/** Have the plans of all panels follow the workflow. */
export function followGraph(everyPanel) {
  const planners = () => everyPanel().map(({ planner }) => planner);
  new GraphWatch(
    (graph) => planners().forEach((planner) => planner.changed(graph)),
    () => planners().some((planner) => planner.plan || planner.canAsk()),
  );
  document.addEventListener("visibilitychange", () => everyPanel().forEach(({ planner }) => planner.seen()));
}
