/** "What will be made?" on the loop's nodes: the next run, before it is queued. */
import { app } from "../../../../scripts/app.js";
import { h, ownDialog, setText } from "../shared/dom.js";
import { LOAD_STORY, everyNode, kindOf } from "../shared/graph.js";
import { icon } from "../shared/icons.js";
import { t } from "../shared/texts.js";
import { askPlan, changesOf, isLoop, lineOf, loopOf, loopsOf, notesOf, summaryOf } from "../story/plan.js";
import { ranges } from "../story/reasons.js";

let open = null; // the dialog that is shown

class PlanDialog {
  constructor(loop) {
    this.loop = loop;
    this.before = document.activeElement;
    this.summary = h("span", { class: "sm-plan-summary", role: "status" });
    this.changes = h("div", { class: "sm-plan-changes" });
    this.notes = h("ul");
    this.head = h("section", { class: "sm-plan" }, this.summary, this.changes, this.notes);
    this.list = h("ol", { "aria-label": t("story.table") });
    this.again = h("button", { type: "button", "data-act": "again", onclick: () => this.ask() }, t("plan.again"));
    this.close = h("button", { type: "button", "data-act": "close", "aria-label": t("plan.close"), title: t("plan.close"), onclick: () => this.end() }, icon("close"));
    this.element = h("dialog", { class: "sm-editor sm-plan-dialog", "aria-labelledby": "sm-plan-title" },
      h("header", {}, h("h2", { id: "sm-plan-title" }, t("plan.title")), h("div", { class: "sm-space" }), this.again, this.close),
      h("div", { class: "sm-panel", tabindex: "0" }, this.head, this.list));
    ownDialog(this.element, () => this.end());
  }

  show() {
    document.body.append(this.element);
    this.element.showModal();
    this.close.focus();
    this.ask();
  }

  async ask() {
    this.asking?.abort();
    this.asking = new AbortController();
    const { signal } = this.asking;
    this.tell(t("plan.asking"));
    try {
      const plan = await askPlan(this.loop, { signal });
      if (!signal.aborted) this.tell(summaryOf(plan), plan);
    } catch (error) {
      if (!signal.aborted) this.tell(t("plan.no_answer", { why: error.message }));
    }
  }

  tell(text, plan = null) {
    setText(this.summary, text);
    setText(this.changes, plan ? changesOf(plan) : "");
    this.notes.replaceChildren(...(plan ? notesOf(plan) : []).map((line) => h("li", {}, line)));
    this.head.classList.toggle("sm-wrong", Boolean(plan?.error));
    this.list.replaceChildren(...groupsOf(plan?.shots ?? []).map(({ line, shots }) => h("li", { class: "sm-plan-line", "data-kind": line.kind, title: line.long },
      h("span", { class: "sm-number" }, ranges(shots.map(({ number }) => number))),
      h("span", { class: "sm-words" }, shots.map(({ words }) => words).slice(0, 3).join(" / ")),
      h("span", { class: "sm-why" }, line.text))));
  }

  end() {
    this.asking?.abort();
    this.element.close();
    this.element.remove();
    open = null;
    this.before?.focus?.();
  }
}

/** Shots one after the other that become the same are one line. */
function groupsOf(shots) {
  const groups = [];
  for (const shot of shots) {
    const line = lineOf(shot);
    const last = groups.at(-1);
    if (last && last.line.text === line.text) last.shots.push(shot);
    else groups.push({ line, shots: [shot] });
  }
  return groups;
}

/** Show what the next run of a loop will make. */
export function showPlan(loop) {
  open?.end();
  open = new PlanDialog(loop);
  open.show();
}

/** The loop that a node stands for: its own, the one in a subgraph, or the one of a story. */
function loopFor(node) {
  if (!node) return null;
  if (kindOf(node) === LOAD_STORY) return loopsOf(node)[0] ?? null;
  return loopOf(node) ?? (node.subgraph ? [...everyNode(node.subgraph)].find(isLoop) : null) ?? null;
}

function showSelected() {
  const selected = Object.values(app.canvas?.selected_nodes ?? {});
  const loop = selected.map(loopFor).find(Boolean) ?? [...everyNode()].find(isLoop);
  if (loop) showPlan(loop);
}

app.registerExtension({
  name: "StoryMem.Plan",
  commands: [{ id: "StoryMem.WhatWillBeMade", label: t("plan.command"), icon: "pi pi-list-check", function: showSelected }],
  getNodeMenuItems(node) {
    const loop = loopFor(node);
    return loop ? [{ content: t("plan.what"), callback: () => showPlan(loop) }] : [];
  },
});
