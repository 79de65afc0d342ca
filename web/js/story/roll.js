/** Another take of a shot in one go: a seed of its own, the script saved, and the workflow queued. */
import { app } from "../../../../scripts/app.js";
import { api } from "../../../../scripts/api.js";
import { everyNode, nodeOfId } from "../shared/graph.js";
import { nodeErrors } from "../shared/host.js";
import { t } from "../shared/texts.js";
import { NO_FILE } from "./api.js";
import * as model from "./model.js";
import { askPlan, isLoop, loopsOf, summaryOf } from "./plan.js";
import { TO_MAKE } from "./filter_rules.js";
import { ranges } from "./reasons.js";
import { finish, named } from "./saving.js";

const LARGEST_SEED = 2 ** 32;

/** Have a shot made again at the next run; `null` when it is gone, else `{ id, number, seed, words }`. */
export function putSeed(dialog, id) {
  const rows = dialog.history?.value.rows ?? [];
  const number = rows.findIndex((row) => row.id === id) + 1;
  if (!number) return null;
  const { lock, seed: before } = rows[number - 1];
  let seed;
  do seed = crypto.getRandomValues(new Uint32Array(1))[0] % LARGEST_SEED;
  while (String(seed) === String(before));
  dialog.change(model.setTake(dialog.history.value, id, { seed, use_take: null, lock: false }));
  return { id, number, seed, words: t(lock ? "story.rolled.unlocked" : "story.rolled", { number, seed }) };
}

/**
 * Roll a shot again, and tell `say(text)` of it. `isLater`: only put the seed into the row. Of
 * several that are asked for at once, each waits for the one before it.
 */
export function rollAgain(dialog, id, { isLater = false, say = (text, how) => dialog.controls.say(text, how) } = {}) {
  const rolled = async () => {
    const put = putSeed(dialog, id);
    if (!put) return;
    say(put.words);
    if (!isLater) say(...(await makeNow(dialog, put)));
  };
  if (isLater) return rolled();
  dialog.rolling = Promise.resolve(dialog.rolling).catch(() => {}).then(rolled);
  return dialog.rolling;
}

/** Save and queue, unless that makes more than is wanted: [what came of it, how to say that]. */
async function makeNow(dialog, { id, number, seed }) {
  const stays = (why) => [`${why}\n${t("story.rolled.stays", { number, seed })}`.trim(), { isWrong: Boolean(why) }];
  const story = named(dialog, dialog.history.value);
  if (story !== dialog.history.value) dialog.change(story); // one from a file gets its name
  clearTimeout(dialog.timer); // what is asked now need not be asked soon
  const answer = await dialog.check();
  if (!answer || answer.error) return stays(answer ? answer.error : dialog.controls.message.textContent);
  const { more, never } = await besides(dialog, answer.text, number);
  if (never) return stays(never);
  const question = () => [t("story.roll.sure", { number }), ...more].join("\n");
  if (!isMeant(dialog, id, seed)) return [t("story.rolled.not", { number, seed })];
  if (more.length && !window.confirm(question())) return stays("");
  saveInPlace(dialog, story, answer.text);
  const why = await queue();
  if (why === null) return [t("story.rolled.queued", { number, seed })];
  return [t("story.rolled.failed", { number, seed, why }), { isWrong: true }];
}

/** Whether the shot is still there with that seed: it may have been undone while the server answered. */
function isMeant(dialog, id, seed) {
  return dialog.element.isConnected && dialog.history.value.rows.some((row) => row.id === id && String(row.seed) === String(seed));
}

/** What else the run would do, line by line as `more`; `never`: why it would not make the shot. */
async function besides(dialog, script, number) {
  const { node } = dialog.table.plan;
  const [loop] = loopsOf(node);
  if (!loop) return { never: t("plan.no_loop") };
  const ask = async (one) => ({
    shots: [], unknown: [], runs: true,
    ...await askPlan(one, { change: { node, script } }).catch(({ message }) => ({ failed: message })),
  });
  const plan = await ask(loop);
  const { shots, runs, seedsMove } = plan;
  if (!runs) return { never: t("plan.inactive") };
  if (!shots.length) return { more: [unclear(plan)] };
  const { state } = shots[number - 1];
  if (state === "left out" || state === "finished") return { never: t("story.roll.never", { number }) };
  const more = TO_MAKE.flatMap((name) => {
    const numbers = numbersOf(shots, [name]).filter((other) => other !== number);
    return numbers.length ? [t(`story.roll.${name}`, { shots: ranges(numbers) })] : [];
  });
  more.push(...await ofOtherLoops(loop, ask));
  return { more: seedsMove ? [...more, t("plan.seed_before")] : more };
}

/** Save, close, and queue the workflow; the host says why where it cannot. */
export async function saveAndRun(dialog) {
  await finish(dialog);
  if (!dialog.element.isConnected) await queue(); // else there is an error, or a question to answer
}

const unclear = (plan) => t("story.roll.unclear", { why: summaryOf(plan) });

/** Numbers of the shots in one of these states. */
function numbersOf(shots, states) {
  return shots.map(({ state }, i) => (states.includes(state) ? i + 1 : 0)).filter(Boolean);
}

/** What the workflow's other loops would make: whatever is queued runs them, too. */
async function ofOtherLoops(loop, ask) {
  const others = [...everyNode()].filter((node) => isLoop(node) && node !== loop);
  const plans = await Promise.all(others.map(ask));
  return plans.flatMap((plan, i) => {
    if (!plan.runs) return [];
    if (!plan.shots.length) return [unclear(plan)];
    const numbers = numbersOf(plan.shots, TO_MAKE);
    return numbers.length ? [t("story.roll.other", { name: others[i].title, shots: ranges(numbers) })] : [];
  });
}

/** Put the script on the node; the editor stays open, with nothing unsaved. */
function saveInPlace(dialog, story, text) {
  dialog.save(text);
  Object.assign(dialog, { original: text, differs: false, fromFile: false, asked: { ...dialog.asked, script: text, file: NO_FILE } });
  dialog.history.first = story;
  dialog.controls.note.hidden = true;
}

/** Queue the workflow as the host's own button does; `null`, or why it could not be. */
async function queue() {
  let isQueued = false;
  const note = () => { isQueued = true; };
  api.addEventListener("promptQueued", note);
  try {
    await app.extensionManager.command.execute("Comfy.QueuePrompt");
  } catch (error) {
    return error.message;
  } finally {
    api.removeEventListener("promptQueued", note);
  }
  return isQueued ? null : whyNot();
}

/** What the host says of a workflow that it did not take; it shows that below the editor. */
function whyNot() {
  const told = Object.entries(nodeErrors()).flatMap(([id, { errors = [], class_type: kind }]) =>
    errors.map(({ message, details }) => `${nodeOfId(id)?.title ?? kind}: ${[message, details].filter(Boolean).join(": ")}.`));
  return told.slice(0, 3).join(" ") || t("story.roll.host");
}
