/** Why a frame that came from a draft is in the memory, in the page's language. */
import { t } from "../shared/texts.js";

const PASS = "the (?:(second|third) )?(film|draft|stills)'s? shot (\\d+)";
const CHOSEN = new RegExp(`^from ${PASS}, frame (\\d+): (not )?the (sharpest|first|best) that shows (.+) (alone|in company)$`);
const FRAME = new RegExp(`^promoted: frame (\\d+) of ${PASS}$`);
const KEYFRAMES = new RegExp(`^promoted: the keyframes of ${PASS}$`);

const passOf = (ordinal, pass) => t(`from.${ordinal ?? ""}${pass}`);

/** The server's reason in words; one of another kind as it is. */
export function whyFromDraft(reason) {
  const chosen = CHOSEN.exec(reason);
  if (chosen) {
    const [, ordinal, pass, shot, frame, negated, rule, names, how] = chosen;
    const who = { names: names.replaceAll(" and ", t("from.and")), how: t(`from.${how === "alone" ? "alone" : "company"}`) };
    return t("from.chosen", { pass: passOf(ordinal, pass), shot, frame, rule: t(`from.${negated ? "not." : ""}${rule}`, who) });
  }
  const one = FRAME.exec(reason);
  if (one) return t("from.frame", { frame: one[1], pass: passOf(one[2], one[3]), shot: one[4] });
  const all = KEYFRAMES.exec(reason);
  return all ? t("from.keyframes", { pass: passOf(all[1], all[2]), shot: all[3] }) : reason;
}
