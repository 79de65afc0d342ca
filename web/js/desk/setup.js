/** "Check my setup": what this ComfyUI, its models and the open workflow are and lack, in a dialog. */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { h, ownDialog, setText } from "../shared/dom.js";
import { everyNode, kindOf, nodeOfId } from "../shared/graph.js";
import { frontEndVersion, missingFiles, nodeErrors, rootGraph } from "../shared/host.js";
import { icon } from "../shared/icons.js";
import { get, post } from "../shared/server.js";
import { LEVELS, findingText, levelWord, titleText } from "../shared/setup_words.js";
import { t } from "../shared/texts.js";
import { actsWhenWritten } from "../story/plan_ask.js";
import { say } from "./host_dialogs.js";

const MARKS = { error: "wrong", warning: "warning", note: "info", ok: "right" };
const LOOK_MS = 1000; // between looks at how far the server is
const REFUSED_MS = [300, 1000, 3000]; // after queueing, when the host may have refused it by then
let open = null; // the dialog that is shown
let last = 0; // counts the checks of this page
let queued = 0; // counts what was queued on it

/** The open workflow in both of its forms, the one that runs only where writing it is mere looking. */
async function openWorkflow() {
  if (!rootGraph() || everyNode().next().done) return {};
  const workflow = rootGraph().serialize();
  if (actsWhenWritten()) return { workflow };
  try {
    const { output: prompt } = await app.graphToPrompt();
    // The page does not say what a node is that this ComfyUI does not have.
    for (const [id, node] of Object.entries(prompt)) node.class_type ??= nodeOfId(id)?.type;
    return { workflow, prompt };
  } catch {
    return { workflow }; // a node that cannot be written now: a run would say so
  }
}

const levelOf = (findings) => LEVELS.find((level) => findings.some((one) => one.level === level)) ?? "ok";
const worstFirst = (levelOfOne) => (a, b) => LEVELS.indexOf(levelOfOne(a)) - LEVELS.indexOf(levelOfOne(b));

function marked(level) {
  return h("span", { class: "sm-level" }, icon(MARKS[level]), h("span", {}, levelWord(level)));
}

function lineOf(finding) {
  const { text, names } = findingText(finding);
  return h("li", { "data-level": finding.level }, marked(finding.level),
    h("span", { class: "sm-words" }, text, ...names.map(({ name, path }) => h("code", { title: path }, name))));
}

function sectionOf(section) {
  const { findings } = section;
  const level = levelOf(findings);
  const told = findings.filter((one) => one.level !== "ok" || level === "ok").sort(worstFirst((one) => one.level));
  const fine = findings.filter((one) => !told.includes(one));
  return h("details", { "data-key": section.key, "data-level": level, open: level === "error" || level === "warning" },
    h("summary", {}, marked(level), h("span", { class: "sm-title" }, titleText(section)),
      h("span", { class: "sm-count" }, t("setup.findings", { count: findings.length }))),
    h("ul", {}, ...told.map(lineOf)),
    fine.length ? h("details", { class: "sm-fine", "data-level": "ok" },
      h("summary", {}, t("setup.fine", { count: fine.length })), h("ul", {}, ...fine.map(lineOf))) : null);
}

function summaryOf(sections) {
  const all = sections.flatMap(({ findings }) => findings);
  const count = (level) => all.filter((one) => one.level === level).length;
  const parts = ["error", "warning", "note"].filter(count).map((level) => t(`setup.sum.${level}`, { count: count(level) }));
  return parts.length ? parts.join(" · ") : t("setup.sum.ok");
}

class SetupDialog {
  constructor() {
    this.before = document.activeElement;
    const button = (name, act) => h("button", { type: "button", "data-act": name, title: t(`setup.${name}.long`), onclick: act }, t(`setup.${name}`));
    this.summary = h("p", { class: "sm-setup-summary", role: "status" });
    this.bar = h("progress", { "aria-label": t("setup.progress"), hidden: true });
    this.sections = h("div", { class: "sm-setup-sections" });
    this.text = h("pre", { tabindex: "0", "aria-label": t("setup.text") });
    this.report = h("details", { class: "sm-setup-report", hidden: true }, h("summary", {}, t("setup.text")),
      h("p", {}, t("setup.text.long")), this.text);
    this.again = button("again", () => this.check());
    this.stop = button("stop", () => this.cancel());
    this.copy = button("copy", () => this.copyReport());
    this.close = h("button", { type: "button", "data-act": "close", "aria-label": t("setup.close"), title: t("setup.close"), onclick: () => this.end() }, icon("close"));
    this.said = h("span", { class: "sm-setup-said", role: "status" });
    this.element = h("dialog", { class: "sm-editor sm-setup", "aria-labelledby": "sm-setup-title" },
      h("header", {}, h("h2", { id: "sm-setup-title" }, t("setup.title")), h("div", { class: "sm-space" }), this.close),
      h("div", { class: "sm-panel", tabindex: "0" }, this.summary, this.bar, this.sections, this.report),
      h("footer", {}, this.again, this.stop, this.copy, this.said));
    ownDialog(this.element, () => this.end());
  }

  show() {
    document.body.append(this.element);
    this.element.showModal();
    this.close.focus();
    this.check();
  }

  async check() {
    this.asking?.abort();
    const asking = this.asking = new AbortController();
    this.id = `${Date.now()}-${last += 1}`;
    this.wait(true);
    try {
      const asked = { ...await openWorkflow(), front_end: frontEndVersion(), id: this.id };
      const answer = await post("/storymem/setup", asked, { signal: asking.signal });
      if (asking.signal.aborted) return;
      if (answer.error) this.fail(t("setup.failed", { why: answer.error }));
      else this.tell(answer);
    } catch (error) {
      if (!asking.signal.aborted) this.fail(t("setup.no_answer", { why: error.message }));
    } finally {
      if (this.asking === asking) this.wait(false);
    }
  }

  /** A check is on, or over. The keyboard stays on what was pressed, or goes to what takes its place. */
  wait(isOn) {
    const held = document.activeElement;
    this.element.setAttribute("aria-busy", String(isOn));
    this.bar.hidden = this.stop.hidden = !isOn;
    this.again.hidden = isOn;
    this.copy.disabled = isOn || !this.text.textContent;
    if (held === this.again || held === this.stop || held === this.copy) (isOn ? this.stop : held === this.copy ? held : this.again).focus();
    clearInterval(this.timer);
    if (!isOn) return;
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.bar.removeAttribute("value");
    this.element.classList.remove("sm-wrong");
    this.element.classList.add("sm-setup-old");
    setText(this.summary, t("setup.checking"));
    setText(this.said, "");
  }

  /** How far the server is; a slow disk takes minutes for a few hundred files. */
  async look() {
    const { id, asking } = this;
    const { done = 0, of = 0 } = await get(`/storymem/setup?id=${id}`).catch(() => ({})); // the check itself says what is wrong
    if (asking !== this.asking || this.bar.hidden || !of) return;
    this.bar.max = of;
    this.bar.value = done;
    setText(this.summary, t("setup.checking.files", { done, of }));
  }

  cancel() {
    this.asking?.abort();
    this.wait(false);
    setText(this.summary, t("setup.stopped"));
  }

  fail(text) {
    this.element.classList.add("sm-wrong");
    setText(this.summary, text);
    this.sections.replaceChildren();
    this.showText("");
  }

  tell({ sections, text }) {
    this.element.classList.remove("sm-setup-old");
    setText(this.summary, summaryOf(sections));
    const shown = [...sections].filter(({ findings }) => findings.length).sort(worstFirst(({ findings }) => levelOf(findings)));
    this.sections.replaceChildren(...shown.map(sectionOf));
    this.showText(text);
  }

  showText(text) {
    setText(this.text, text);
    this.report.hidden = !text;
  }

  /** Copy what the report shows, or mark it where the browser lets nobody write into the clipboard. */
  async copyReport() {
    this.report.open = true;
    const copied = await navigator.clipboard?.writeText(this.text.textContent).then(() => true, () => false);
    if (!copied) {
      window.getSelection().selectAllChildren(this.text);
      this.text.focus();
    }
    setText(this.said, t(copied ? "setup.copied" : "setup.copy.by_hand"));
    this.text.scrollIntoView({ block: "nearest" });
  }

  end() {
    this.asking?.abort();
    clearInterval(this.timer);
    this.element.close();
    this.element.remove();
    open = null;
    this.before?.focus?.();
  }
}

export function checkSetup() {
  open?.end();
  open = new SetupDialog();
  open.show();
}

/** The host refuses a workflow whose files are not here, and does not say what is there instead. */
function tellMissing() {
  const number = (queued += 1);
  const before = nodeErrors(); // of an earlier prompt, until the host answers this one
  let isTold = ![...everyNode()].some((node) => String(kindOf(node)).startsWith("StoryMem")); // not of this pack
  for (const wait of REFUSED_MS) {
    setTimeout(() => {
      const isOld = number !== queued || nodeErrors() === before;
      const files = isTold || isOld ? [] : missingFiles();
      if (!files.length) return;
      isTold = true;
      say(t("setup.missing", { files: files.join(", "), count: files.length }), "warn");
    }, wait);
  }
}

app.registerExtension({
  name: "StoryMem.Setup",
  commands: [{ id: "StoryMem.CheckSetup", label: "StoryMem: check my setup", icon: "pi pi-wrench", function: checkSetup }],
  menuCommands: [{ path: ["Extensions", "StoryMem"], commands: ["StoryMem.CheckSetup"] }],
  setup() {
    api.addEventListener("promptQueueing", tellMissing);
  },
});
