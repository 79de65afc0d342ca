/**
 * Where each shot stands, as the editor's table and the nodes show it. What the look ahead says
 * holds where it is known for the story as it stands; a run in progress knows its own shots; the
 * story's folder tells the rest, which the script alone is compared with.
 */
import { isFinished } from "../shared/runs.js";
import { t } from "../shared/texts.js";
import { timeToMake } from "../shared/time_left.js";
import { timeOf } from "./api.js";
import { TO_MAKE } from "./filter_rules.js";
import { labelsOf } from "./model.js";

const WORDS = 60; // characters of a prompt in a run's events
const KEPT = ["locked", "chosen"];

/** The shots of a look ahead, if it tells what becomes of `count` shots; else `null`. */
export function plannedShots(plan, count) {
  return plan?.runs && plan.shots.length === count && count ? plan.shots : null;
}

/** What the look ahead makes of a state that the folder tells. */
function plannedState({ state, why, on }, folder) {
  if (state === "finished") return KEPT.includes(why) ? why : "done";
  if (state === "depends") return `depends ${on}`;
  if (state === "make") return folder === "failed" ? "failed" : "waiting";
  return state === "unknown" ? "unknown" : folder; // one that is left out stays as it is
}

/**
 * `{ state, video, took, ... }` of a shot. `known` is the same as the folder tells it, `planned` what
 * the look ahead says, `run` the word of a run of this very script; each of them may be missing.
 */
export function standingOf(known, { planned, run }) {
  const folder = known?.state ?? "waiting";
  const state = planned ? plannedState(planned, folder) : folder;
  // A run does not know of what changed in the graph since it was queued.
  const isKnownBetter = run && !(isFinished(run) && planned && !isFinished(state));
  const shown = { ...known, state: isKnownBetter ? run : state };
  const isOther = planned?.state === "finished" && (planned.elsewhere || !isFinished(folder));
  if (isOther && planned.video) Object.assign(shown, { video: planned.video, took: planned.took ?? null });
  return shown;
}

/**
 * Index of the row that a run makes now, although it is of another script: the artist went on
 * writing. `begun` are the ids of the rows of that script by label, where they are known. -1 for none.
 */
export function indexBeingMade(event, rows, begun = null) {
  const { label, prompt, states } = event ?? {};
  if (!label || states?.[label] !== "running") return -1;
  if (begun?.has(label)) return rows.findIndex(({ id }) => id === begun.get(label));
  const labels = labelsOf(rows);
  const at = labels.indexOf(label);
  const isMeant = (row) => [...String(row.prompt).split(/\s+/).filter(Boolean).join(" ")].slice(0, WORDS).join("") === prompt;
  return at >= 0 && isMeant(rows[at]) ? at : [rows.findIndex(isMeant), at].find((i) => i >= 0) ?? -1;
}

/**
 * What stands over a list of shots: `{ text, long }`. `states` are the shown ones, `planned` the
 * shots of the look ahead, `times` what `[left, since]` is left of the shots that are to be made;
 * `basis` is `known`, `asking` while nothing is known yet, or `folder` where nothing better will be.
 */
export function headOf(rows, states, { planned, times, basis }) {
  const scenes = rows.filter((row, i) => i === 0 || row.starts).length;
  const done = states.filter(isFinished).length;
  const count = planned ? planned.filter(({ state }) => TO_MAKE.includes(state)).length : rows.length - done;
  const time = basis === "asking" ? "" : timeToMake(count, ...times);
  const key = basis === "known" ? "story.summary" : `story.summary.${basis}`;
  const text = t(key, { shots: rows.length, scenes, done });
  const long = [basis === "folder" ? t("story.summary.folder.long") : "", time ? t("time.rest.long") : ""];
  return { text: time ? `${text} · ${time}` : text, long: long.filter(Boolean).join("\n") };
}

/** The same of what stands in the story editor. */
export function headOfDialog(dialog) {
  const story = dialog.history.value;
  const answer = dialog.answers.get(story);
  if (answer?.times) dialog.timed = answer; // stands while the server is asked again
  const run = dialog.runShown();
  const known = dialog.table.plan.knownOf(story);
  const times = known.basis === "known" && !run ? [known.time, 0] : timeOf(dialog.timed, run);
  return headOf(story.rows, dialog.states, run ? { times, basis: "known" } : { ...known, times });
}
