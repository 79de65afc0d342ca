/** On Shot Loop Open and Close: watch what is finished. On Close, the newest finished shot or the film. */
import { api } from "../../../../scripts/api.js";
import { h, setText } from "../shared/dom.js";
import { LOOP_CLOSE, everyNode, kindOf, storyNodesOf } from "../shared/graph.js";
import { isShownByHost, nodesOf } from "../shared/host.js";
import { icon } from "../shared/icons.js";
import { addressOf, mutedVideo, release } from "../shared/player.js";
import { isEnded, isFinished } from "../shared/runs.js";
import { watch } from "../shared/screen.js";
import { AUTOPLAY, setting, whenSet } from "../shared/settings.js";
import { t } from "../shared/texts.js";
import { lastRead, whenRead } from "../story/extension.js";
import { shotsOf } from "../story/player.js";

const HEIGHT = 136; // pixels of the newest shot's video, where there is room
const LEAST = 48; // below that it is not worth looking at
const GAP = 5; // above it
const TITLE = 30; // of a node, above its top
const SPARE = 6; // left free above the node below
const watches = new WeakMap(); // loop node -> LoopWatch

/** What the server last said of the story of a loop node; `null` when the page does not know it. */
function answerOf(node) {
  return storyNodesOf(node).map(lastRead).find(Boolean) ?? null;
}

/** Of two versions, which are nanoseconds as text, whether the second one is no older. */
function isAsNew(one, other) {
  return other.length !== one.length ? other.length > one.length : other >= one;
}

function newestOf(shots) {
  return shots.filter(({ video }) => video)
    .reduce((newest, shot) => (!newest || isAsNew(newest.video.version, shot.video.version) ? shot : newest), null);
}

/** How high a node can be before it reaches the one below it. */
function roomOf(node) {
  const [left, top] = node.pos;
  const right = left + node.size[0];
  const below = nodesOf(node.graph)
    .filter((other) => other !== node && other.pos[0] < right && other.pos[0] + other.size[0] > left && other.pos[1] > top)
    .map((other) => other.pos[1] - TITLE - SPARE - top);
  return Math.min(Infinity, ...below);
}

export class LoopWatch {
  /** `line` is the progress display of the loop node; see extension.js. It may be on `line.node`, a
   * subgraph around that. */
  constructor(node, line) {
    Object.assign(this, { node, line, place: line.node });
    this.height = 0; // that the node's display needs more for the video
    this.toldShots = []; // by the events of a run whose script the page does not know
    this.isByHost = false; // the host is about to show the film of the run that just ended
    this.button = h("button", {
      type: "button", class: "sm-watch", title: t("player.watch.long"), hidden: true, onclick: () => watch(() => this.shots()),
    }, icon("play"), h("span", {}, t("player.watch")));
    line.head.append(this.button);
    line.bar.title = t("player.bar");
    line.bar.addEventListener("click", (event) => this.watchPlace(event));
    line.text.addEventListener("click", () => this.watchNewest());
    if (kindOf(node) === LOOP_CLOSE) this.makeVideo();
    watches.set(this.place, this);
  }

  makeVideo() {
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.video = mutedVideo({ loop: true, autoplay: !isStill && setting(AUTOPLAY) }, () => this.put(null));
    this.number = h("span", { class: "sm-number" });
    this.newest = h("button", { type: "button", class: "sm-newest", hidden: true, onclick: () => this.watchNewest() }, this.video, this.number);
    this.line.bar.after(this.newest);
  }

  autoplay(plays) {
    if (!this.video) return;
    this.video.autoplay = plays;
    if (!plays) this.video.pause();
    else if (this.video.hasAttribute("src")) this.video.play().catch(() => {}); // taken away meanwhile
  }

  /** The shots of the story, for the player. */
  shots() {
    const answer = answerOf(this.node);
    return answer?.shots.length ? shotsOf(answer.shots) : this.toldShots;
  }

  /** An event of a run, or what the story's folder says; see extension.js. */
  heard({ state, states, folder, prompt_id: run, label, running }) {
    if (states) {
      const known = new Map(this.toldShots.map((shot) => [shot.label, shot]));
      this.toldShots = Object.entries(states).map(([name, word], i) => {
        const had = known.get(name)?.video;
        const isNew = isFinished(word) && (!had || (state === "finished" && name === label));
        const version = `${Date.now()}000000`; // as files have it, in nanoseconds
        const video = isNew ? { filename: `shot_${name}.mp4`, subfolder: folder, type: "output", version } : had ?? null;
        return { number: i + 1, label: name, video, run };
      });
    }
    this.isRunning = Boolean(running) && !isEnded({ state });
    this.isStopped = state === "stopped";
    this.isByHost = state === "done";
    this.refresh();
  }

  /** What the video shows: the film of a finished story, else the newest finished shot. */
  wanted() {
    const answer = answerOf(this.node);
    const isStill = !this.isRunning && !this.isStopped;
    const isInside = this.place !== this.node; // where the film that the host shows is out of sight
    if (isStill && !isInside && (this.isByHost || isShownByHost(this.node))) return null;
    if (!this.isRunning && answer?.film && answer.shots.every((shot) => isFinished(shot.state))) {
      return { title: t("player.film"), prompt: answer.film.filename, video: answer.film, isFilm: true };
    }
    return newestOf(this.shots());
  }

  refresh() {
    const canPlay = this.shots().some(({ video }) => video);
    this.button.hidden = !canPlay;
    this.line.element.classList.toggle("sm-can-play", canPlay);
    if (this.newest) this.put(this.wanted());
  }

  /** How high the node is without the video. */
  needed() {
    const { place: node, line: { element }, height } = this;
    // Nodes 2.0 does not count what the host shows below the widgets.
    if (!isShownByHost(node) || !element.closest("[data-node-id]")) return node.computeSize()[1] - height;
    return node.size[1] - element.offsetHeight + this.line.height() - height;
  }

  put(shot) {
    this.shown = shot;
    const room = shot ? roomOf(this.place) - this.needed() - GAP : 0;
    this.height = 0;
    const height = Math.floor(Math.min(HEIGHT, room));
    const isShown = Boolean(shot) && height >= LEAST;
    this.newest.hidden = !isShown;
    if (isShown) {
      this.height = height + GAP;
      this.newest.style.height = `${height}px`;
      setText(this.number, shot.isFilm ? t("player.film") : String(shot.number));
      this.newest.title = t(shot.isFilm ? "player.newest.film" : "player.newest", shot);
      const address = addressOf(shot.video);
      if (this.video.getAttribute("src") !== address) this.video.src = address;
    } else {
      release(this.video);
    }
    this.line.fit();
  }

  watchNewest() {
    const shot = this.shown ?? newestOf(this.shots());
    if (!shot) return;
    if (shot.isFilm) watch(() => [shot], 0, { only: true });
    else watch(() => this.shots(), shot.number - 1, { only: true });
  }

  /** The shot at the place of the bar that was clicked. */
  watchPlace({ clientX }) {
    const { left, width } = this.line.bar.getBoundingClientRect();
    const shots = this.shots();
    const at = Math.min(shots.length - 1, Math.max(0, Math.floor(((clientX - left) / width) * shots.length)));
    if (shots[at]?.video) watch(() => this.shots(), at, { only: true });
  }
}

function refreshAll(isMeant) {
  for (const node of everyNode()) if (watches.has(node) && isMeant(watches.get(node).node)) watches.get(node).refresh();
}

whenSet(AUTOPLAY, (plays) => {
  for (const node of everyNode()) watches.get(node)?.autoplay(plays);
});
whenRead.addEventListener("read", ({ detail }) => refreshAll((node) => storyNodesOf(node).includes(detail.node)));
// The host shows what a node gave a moment after it says so.
api.addEventListener("executed", () => setTimeout(() => refreshAll(() => true)));
