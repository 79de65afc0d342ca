/** Seconds as words, and what is left of a run: counted down between the server's words. */
import { t } from "./texts.js";

const TICK_MS = 1000;
const FINE_UNDER_S = 120; // told in steps of ten seconds
const SHORTEST_S = 10;
const LATE = 0.1; // of a shot's time, or ten seconds: from then on it takes longer than expected
const listeners = new Set();
let timer = null;

/** `listener()` is called each second while it returns true. */
export function eachSecond(listener) {
  listeners.add(listener);
  timer ??= setInterval(() => {
    for (const one of listeners) {
      let goesOn = false;
      try {
        goesOn = one();
      } finally {
        if (!goesOn) listeners.delete(one); // also one that failed
      }
    }
    if (listeners.size) return;
    clearInterval(timer);
    timer = null;
  }, TICK_MS);
}

/** How long something took: `6 min 12 s`. */
export function exactTime(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return t("time.s", { s: whole });
  if (whole < 3600) return t("time.min_s", { min: Math.floor(whole / 60), s: whole % 60 });
  return hours(Math.round(whole / 60));
}

/** How long something will take, in steps that an estimate is worth; never less than it is. */
function roundTime(seconds) {
  if (seconds < SHORTEST_S) return t("time.short");
  const tens = 10 * Math.ceil(seconds / 10);
  if (tens < 60) return t("time.s", { s: tens });
  if (tens === 60) return t("time.min", { min: 1 });
  if (tens < FINE_UNDER_S) return t("time.min_s", { min: 1, s: tens - 60 });
  const minutes = Math.ceil(seconds / 60);
  return minutes < 60 ? t("time.min", { min: minutes }) : hours(minutes);
}

function hours(minutes) {
  const [h, min] = [Math.floor(minutes / 60), minutes % 60];
  return t(min ? "time.h_min" : "time.h", { h, min });
}

const about = (seconds) => (seconds < SHORTEST_S ? roundTime(seconds) : t("time.about", { time: roundTime(seconds) }));

/** `about 12 min`, `12 min to 30 min`, `up to 30 min`. */
export function rangeOfTime(least, most) {
  const [low, high] = [least, most].map(roundTime);
  if (low === high) return about(most);
  return least >= SHORTEST_S ? t("time.range", { least: low, most: high }) : t("time.at_most", { time: high });
}

/** Whether the server says figures, which it does not always know. */
const isKnown = (left) => Boolean(left) && ["shot", "least", "most"].every((name) => Number.isFinite(left[name]));

/** What is left by now of `{ shot, least, most }`, in seconds, as it was `since` (a Date's time). */
export function leftByNow(left, since) {
  const passed = left.shot ? Math.max(0, Date.now() - since || 0) / 1000 : 0; // clocks are set back, too
  const shot = left.shot - passed;
  const isLate = shot < -Math.max(SHORTEST_S, LATE * left.shot);
  const running = Math.max(0, shot);
  return { shot: running, isLate, least: running + left.least, most: running + left.most };
}

/** What is to be made will take so long: for the head of a list of shots, empty when `count` is 0. */
export function timeToMake(count, left, since) {
  if (!count) return "";
  if (!isKnown(left)) return t("time.rest.unknown");
  const { isLate, least, most } = leftByNow(left, since);
  return t("time.rest", { time: isLate && !most ? t("time.late") : rangeOfTime(least, most) });
}

/** A line about it; `left` is null while nothing tells how long shots take here. */
export function lineOfTime(left, since) {
  if (!isKnown(left)) return { text: t("time.unknown"), long: t("time.unknown.long") };
  const { shot, isLate, least, most } = leftByNow(left, since);
  const isLast = !left.most;
  const hasShot = Boolean(left.shot);
  const ofShot = isLate ? t("time.late") : about(shot);
  const story = rangeOfTime(least, most);
  const key = isLast ? "time.last" : hasShot ? "time.both" : "time.story";
  const text = t(key, { shot: ofShot, story });
  return { text, long: `${text}\n${t(left.least === left.most ? "time.long" : "time.long.range")}` };
}
