/** Every sentence that the pack's page shows, by language. `{name}` is filled in by `t`. */
import { app } from "../../../scripts/app.js";

const TEXTS = {
  en: {},
  zh: {},
};

/** Add a part's sentences: `{ en: { "part.key": "..." }, zh: { ... } }`. */
export function addTexts(texts) {
  for (const language of Object.keys(TEXTS)) Object.assign(TEXTS[language], texts[language]);
}

export function language() {
  const locale = String(app.ui?.settings?.getSettingValue?.("Comfy.Locale") ?? "en");
  return locale.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function t(key, values = {}) {
  const text = TEXTS[language()][key] ?? TEXTS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}
