/**
 * A story while it is edited: plain values, changed by making new ones, so that undo is a list.
 *
 * A story is `{name, cast, target, overview, character, extra, format, rows, text}`; `cast` is names with
 * commas between, `null` where the script says more of them, `target` Memento's reconstruct_target, `null`
 * where that is no text; `text` is the exact script when it is known. A row is what the server calls a shot, with an `id` that stays. Scenes are runs
 * of rows: the row that `starts` one holds its number and the fields that nothing reads.
 */

let lastId = 0;

export function newRow(values = {}) {
  return {
    prompt: "", cut: true, scene: 1, starts: false, seed: null, length: null, negative_prompt: null,
    continuity: null, lora_strength: null, loras: "", reference_images: [], start_image: "", end_image: "", remember: "", promote: "", first_frame_prompt: "", lock: false,
    audio: "", dialogue: "", subtitle: "",
    use_take: null,
    extra: "", scene_extra: [], ...values, id: ++lastId,
  };
}

/** The server's answer as a story. */
export function storyOf(answer) {
  const { name, cast, target, overview, character, extra, format, text } = answer;
  const rows = answer.shots.map(({ label, number, state, video, who, ...row }) => newRow(row));
  return { name, cast, target, overview, character, extra, format, rows, text };
}

/** What the server writes a script from. Fields that say nothing are left out: of a long story they
 * are more than what the server takes in one piece leaves room for. */
export function viewOf(story) {
  const { name, cast, target, overview, character, extra, format, rows } = story;
  const shots = rows.map(({ id, ...row }) => Object.fromEntries(Object.entries(row).filter(saysSomething)));
  return { name, cast, target, overview, character, extra, format, shots };
}

function saysSomething([name, value]) {
  if (name === "prompt" || name === "cut") return true; // the server wants these of every shot
  if (name === "negative_prompt") return value !== null; // an empty one says: none
  return value !== null && value !== false && value.length !== 0;
}

/** Labels as in file names: scene and number in it, over all scenes of one number. */
export function labelsOf(rows) {
  const counts = new Map();
  return rows.map(({ scene }) => {
    counts.set(scene, (counts.get(scene) ?? 0) + 1);
    return [scene, counts.get(scene)].map((n) => String(n).padStart(2, "0")).join("_");
  });
}

const OWN_ID = /^\{"id": "[0-9a-z]{8}"(?:, |(\}$))/; // as `marked` writes it, and the server keeps it

/** A row with a lock or takes of its own has an id in the script, by which they go with it. As text:
 * what else is in `extra` may hold numbers that a browser would change. */
function marked(row, isWanted = row.lock) {
  if (!isWanted || /"id":/.test(row.extra)) return row;
  return { ...row, extra: `{"id": "${chance()}"${row.extra ? `, ${row.extra.slice(1)}` : "}"}` };
}

function chance() {
  return crypto.getRandomValues(new Uint32Array(2)).reduce((text, n) => text + (n % 36 ** 4).toString(36).padStart(4, "0"), "");
}

/** What a shot has in `extra`, for another one: with an id of its own where the first has one. */
export function newId(extra) {
  const own = chance();
  for (const { 0: found, index } of extra.matchAll(/"id": ?"[^"\\]*"/g)) {
    const other = `${extra.slice(0, index)}"id": "${own}"${extra.slice(index + found.length)}`;
    if (JSON.parse(other).id === own) return other; // and not an id of something in it
  }
  return extra;
}

export function setFields(story, changes) {
  return { ...story, ...changes, text: null };
}

export function setRow(story, id, changes) {
  return withRows(story, story.rows.map((row) => (row.id === id ? marked({ ...row, ...changes }) : row)));
}

/** A take was chosen, or another one is wanted: its row has an id from now on. */
export function setTake(story, id, changes) {
  return withRows(story, story.rows.map((row) => (row.id === id ? marked({ ...row, ...changes }, true) : row)));
}

export function setScene(story, id, number) {
  return changed(story, (scenes) => { sceneOf(scenes, id).number = number; }, { renumber: false });
}

/** A new shot after the one of `id` (at the end without one), in its scene. */
export function addRow(story, id, values = {}) {
  const row = newRow(values);
  const next = changed(story, (scenes) => {
    const scene = id == null ? scenes.at(-1) : sceneOf(scenes, id);
    if (!scene) scenes.push({ number: 1, extra: [], rows: [row] });
    else scene.rows.splice(id == null ? scene.rows.length : placeOf(scene, id) + 1, 0, row);
  });
  return [next, row.id];
}

/** A copy below; never locked and with no take, since these belong to one shot. */
export function duplicateRow(story, id) {
  const { id: _, starts, scene_extra, ...values } = story.rows.find((row) => row.id === id);
  return addRow(story, id, { ...values, extra: values.extra.replace(OWN_ID, (_all, end) => (end ? "" : "{")), lock: false, use_take: null });
}

export function removeRow(story, id) {
  return changed(story, (scenes) => {
    const scene = sceneOf(scenes, id);
    scene.rows.splice(placeOf(scene, id), 1);
    if (!scene.rows.length) scene.extra = []; // a scene goes with its last shot
  });
}

/** One step up or down; at a scene's edge the step leads into the neighbouring scene. */
export function moveRow(story, id, step) {
  return changed(story, (scenes) => {
    const scene = sceneOf(scenes, id);
    const from = placeOf(scene, id);
    const to = from + step;
    const [row] = scene.rows.splice(from, 1);
    if (to >= 0 && to <= scene.rows.length) {
      scene.rows.splice(to, 0, row);
      return;
    }
    const neighbour = scenes[scenes.indexOf(scene) + step];
    if (!neighbour) scene.rows.splice(from, 0, row);
    else if (step < 0) neighbour.rows.push(row);
    else neighbour.rows.unshift(row);
  });
}

/** Put a shot before or after another one, in that one's scene. */
export function dropRow(story, id, target, after) {
  if (id === target) return story;
  return changed(story, (scenes) => {
    const scene = sceneOf(scenes, id);
    const [row] = scene.rows.splice(placeOf(scene, id), 1);
    const into = sceneOf(scenes, target);
    into.rows.splice(placeOf(into, target) + (after ? 1 : 0), 0, row);
  });
}

/** A scene starts at this shot, or no longer does. */
export function toggleScene(story, id) {
  return changed(story, (scenes) => {
    const scene = sceneOf(scenes, id);
    const index = scenes.indexOf(scene);
    const place = placeOf(scene, id);
    if (place > 0) {
      const number = Math.max(...scenes.map((other) => other.number)) + 1;
      scenes.splice(index + 1, 0, { number, extra: [], rows: scene.rows.splice(place) });
    } else if (index > 0) {
      scenes[index - 1].rows.push(...scene.rows.splice(0));
    }
  });
}

// --- scenes ----------------------------------------------------------------------------------

function changed(story, change, { renumber = true } = {}) {
  const scenes = scenesOf(story.rows);
  const regular = isRegular(scenes);
  const first = scenes[0]?.number ?? 1;
  change(scenes);
  const kept = [];
  let orphaned = []; // fields of a scene whose last shot moved on go to the scene beside it
  for (const scene of scenes) {
    if (scene.rows.length) kept.push({ ...scene, extra: [...scene.extra, ...orphaned.splice(0)] });
    else if (kept.length) kept.at(-1).extra.push(...scene.extra);
    else orphaned = [...orphaned, ...scene.extra];
  }
  if (renumber && regular) kept.forEach((scene, i) => { scene.number = first + i; });
  const rows = kept.flatMap(({ number, extra, rows: own }) =>
    own.map((row, i) => placed(row, number, i === 0, i === 0 ? extra : [])));
  if (rows[0] && !rows[0].cut) rows[0] = { ...rows[0], cut: true };
  return withRows(story, rows);
}

function placed(row, scene, starts, extra) {
  const same = row.scene === scene && row.starts === starts
    && row.scene_extra.length === extra.length && row.scene_extra.every((text, i) => text === extra[i]);
  return same ? row : { ...row, scene, starts, scene_extra: extra };
}

function scenesOf(rows) {
  const scenes = [];
  for (const row of rows) {
    if (!scenes.length || row.starts || row.scene !== scenes.at(-1).number) {
      scenes.push({ number: row.scene, extra: [...row.scene_extra], rows: [] });
    }
    scenes.at(-1).rows.push(row);
  }
  return scenes;
}

function isRegular(scenes) {
  return scenes.every((scene, i) => i === 0 || scene.number === scenes[i - 1].number + 1);
}

function sceneOf(scenes, id) {
  return scenes.find((scene) => scene.rows.some((row) => row.id === id));
}

function placeOf(scene, id) {
  return scene.rows.findIndex((row) => row.id === id);
}

function withRows(story, rows) {
  return { ...story, rows, text: null };
}

// --- undo ------------------------------------------------------------------------------------

const ONE_CHANGE_MS = 1200; // typing in one field that pauses no longer than this is one step
const MOST_STEPS = 300;

export class History {
  constructor(value) {
    this.first = this.value = value;
    this.past = [];
    this.future = [];
    this.mark = null;
  }

  /** `kind` joins changes of one field into one step. */
  set(value, kind = null) {
    const now = performance.now();
    const joined = kind && this.mark?.kind === kind && now - this.mark.time < ONE_CHANGE_MS;
    if (!joined) this.past = [...this.past.slice(-MOST_STEPS), this.value];
    this.mark = { kind, time: now };
    this.value = value;
    this.future = [];
  }

  undo() {
    if (!this.past.length) return false;
    this.future.push(this.value);
    this.value = this.past.pop();
    this.mark = null;
    return true;
  }

  redo() {
    if (!this.future.length) return false;
    this.past.push(this.value);
    this.value = this.future.pop();
    this.mark = null;
    return true;
  }
}
