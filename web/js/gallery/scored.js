/** What Choose Memory said of a frame, in the page's language. */
import { t } from "../shared/texts.js";

const SCORE = "(-?\\d+\\.\\d+) \\((\\d+) of (\\d+)\\)";
const EXPERT = new RegExp(`^(high|low): (left out|local|global|pinned|whole)(?:, local ${SCORE})?(?:, global ${SCORE})?$`);
const GONE = /^not chosen(?: for shot (\d+))? \((.+)\)$/;

function wordsOf(part) {
  const found = EXPERT.exec(part);
  if (!found) return null;
  const [, expert, choice, ...numbers] = found;
  const scores = ["local", "global"].flatMap((name, i) => {
    const [value, place, count] = numbers.slice(3 * i, 3 * i + 3);
    return value === undefined ? [] : [t(`scored.${name}`, { value, place, count })];
  });
  const words = t(`scored.as.${choice === "left out" ? "none" : choice}`);
  return t("scored.expert", { expert: t(`scored.${expert}`), words: [words, ...scores].join(t("scored.comma")) });
}

/** The server's words of each expert's choice; null when they are of another kind. */
export function whyScored(reason) {
  const parts = reason.split("; ").map(wordsOf);
  return parts.includes(null) ? null : parts.join(t("scored.and"));
}

/** Why a frame went that no expert chose; null for a frame that went for another reason. */
export function whyGone(reason) {
  const [, shot, inside] = GONE.exec(reason) ?? [];
  const why = inside && whyScored(inside);
  return why ? t(shot ? "scored.gone.shot" : "scored.gone", { shot, why }) : null;
}
