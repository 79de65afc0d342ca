/** Films of shots, played one after the other without a gap: two videos take turns. */
import { api } from "../../../../scripts/api.js";
import { h } from "./dom.js";

/** Where the host serves a film: `{ filename, subfolder, type, version }`. */
export function addressOf({ filename, subfolder, type, version }) {
  return api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type, v: version ?? "" })}`);
}

/** A video without sound or controls; `broken()` is called when it cannot play what it was given. */
export function mutedVideo(properties, broken) {
  const video = h("video", { playsinline: true, preload: "auto", tabindex: "-1", ...properties });
  video.muted = true;
  video.addEventListener("error", () => { if (video.hasAttribute("src")) broken(); });
  return video;
}

/** Let go of what a video plays: on Windows nobody can replace a file that is being read. */
export function release(video) {
  video.pause();
  if (!video.hasAttribute("src")) return;
  video.removeAttribute("src");
  video.load();
}

/** Once the first frame is decoded of what a video plays, or of what it plays instead by then. */
function whenDecoded(video) {
  if (video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return Promise.resolve();
  return new Promise((done, fail) => {
    const end = (settle) => () => {
      for (const kind of Object.keys(heard)) video.removeEventListener(kind, heard[kind]);
      settle();
    };
    const heard = { loadeddata: end(done), error: end(fail) };
    for (const kind of Object.keys(heard)) video.addEventListener(kind, heard[kind]);
  });
}

export class Player {
  /**
   * `shots()` gives the shots as they are now, in order: `[{ number, video, prompt }]`, without a
   * video where there is none. `tell({ at, shot, skipped, state })` is called with what is shown:
   * `state` is "plays", "pauses", "ended" or "broken"; `skipped` are numbers of shots that have none.
   */
  constructor(shots, tell) {
    this.shots = shots;
    this.tell = tell;
    this.videos = [0, 1].map(() => this.makeVideo());
    this.element = h("div", { class: "sm-stage" }, ...this.videos);
    this.at = -1;
    this.isComing = false; // what was asked for is being decoded
    this.isHeld = false; // and is not to go on from its first frame
    this.turn = 0; // counts what is asked for, so that what was asked before is dropped
  }

  makeVideo() {
    const video = mutedVideo({ disablepictureinpicture: true }, () => { if (video === this.front) this.report("broken"); });
    video.addEventListener("ended", () => { if (video === this.front) this.ended(); });
    return video;
  }

  get front() {
    return this.videos[0];
  }

  get back() {
    return this.videos[1];
  }

  get isPlaying() {
    return this.at >= 0 && !this.front.paused && !this.front.ended;
  }

  /** The next place from `at` on, in steps of `by`, where there is something to play; -1: nowhere. */
  find(at, by = 1) {
    const shots = this.shots();
    for (let i = at; i >= 0 && i < shots.length; i += by) if (shots[i].video) return i;
    return -1;
  }

  /** Play from shot `at` on, or the first one after it that is there; `only` that one. */
  async play(at, { only = false, by = 1 } = {}) {
    const turn = ++this.turn;
    const place = this.find(at, by);
    if (place < 0) return false;
    const shots = this.shots();
    const skipped = by > 0 ? shots.slice(at, place).map(({ number }) => number) : [];
    this.only = only;
    this.isComing = true; // whatever ends until then asks for nothing
    this.isHeld = false;
    this.load(this.back, shots[place].video);
    try {
      await whenDecoded(this.back);
    } catch {
      if (turn !== this.turn) return true;
      this.isComing = false;
      this.at = place;
      this.report("broken", skipped);
      return true;
    }
    if (turn === this.turn) this.swap(place, skipped);
    return true;
  }

  /** Show the film that waits decoded, and have the one after it decoded meanwhile. */
  swap(place, skipped) {
    const next = this.back;
    this.isComing = false;
    if (!this.isHeld) next.play().catch(() => {}); // taken away again, before it could
    else this.front.pause();
    next.classList.add("sm-front");
    this.front.classList.remove("sm-front");
    this.videos.reverse();
    this.at = place;
    this.report(this.isHeld ? "pauses" : "plays", skipped);
    this.isHeld = false;
    this.prepare();
  }

  prepare() {
    const following = this.only ? -1 : this.find(this.at + 1);
    if (following < 0) release(this.back);
    else this.load(this.back, this.shots()[following].video);
  }

  load(video, film) {
    const address = addressOf(film);
    if (video.getAttribute("src") === address && !video.error) {
      if (video.currentTime) video.currentTime = 0;
      return;
    }
    video.src = address;
  }

  ended() {
    if (this.isComing) return;
    const following = this.only ? -1 : this.find(this.at + 1);
    if (following < 0) {
      const rest = this.only ? [] : this.shots().slice(this.at + 1).map(({ number }) => number);
      this.report("ended", rest);
    } else {
      this.follow(following);
    }
  }

  follow(following) {
    const shots = this.shots();
    const isReady = this.back.getAttribute("src") === addressOf(shots[following].video) &&
      this.back.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    if (!isReady) return void this.play(this.at + 1);
    this.turn += 1;
    this.swap(following, shots.slice(this.at + 1, following).map(({ number }) => number));
  }

  /** One shot back or forth. */
  step(by) {
    const place = this.find(this.at + by, by);
    if (place >= 0) this.play(this.at + by, { only: this.only, by });
  }

  /** Pause, go on, or go on with what follows at the end. */
  toggle() {
    if (this.isComing) this.isHeld = !this.isHeld; // it is to begin so
    else if (this.at < 0) return;
    else if (this.isPlaying) {
      this.front.pause();
      this.report("pauses");
    } else if (!this.front.ended) {
      this.front.play().catch(() => {});
      this.report("plays");
    } else {
      const following = this.find(this.at + 1);
      this.play(following < 0 ? 0 : this.at + 1);
    }
  }

  stop() {
    this.turn += 1;
    this.at = -1;
    for (const video of this.videos) release(video);
  }

  report(state, skipped = []) {
    this.tell({ at: this.at, shot: this.shots()[this.at], skipped, state });
  }
}
