/** What is heard in a shot, in a row of the story editor: its sound file, who says what, the subtitle. */
import { h } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { filesOf } from "../shared/input_pictures.js";
import { isSound, listSounds, soundUrl, uploadSound } from "../shared/input_sounds.js";
import { t } from "../shared/texts.js";

const HEARD_AFTER_MS = 400; // half a name is no file
let lastList = 0;

/**
 * The fields as `element`, and `show(row)`; `setFile(name)` is told of a file that is put there,
 * `tell(text, how)` what becomes of it.
 */
export function buildSoundFields(setFile, tell) {
  const attributes = (name) => ({ "data-field": name, "aria-label": t(`story.${name}`), title: t(`story.${name}.long`) });
  const named = (name, control) => h("label", {}, h("span", {}, t(`story.${name}`)), control);
  const area = (name, more = {}) => named(name, h("textarea", { ...attributes(name), rows: 2, spellcheck: "true", ...more }));
  const names = h("datalist", { id: `sm-sounds-${++lastList}` });
  const line = h("input", { ...attributes("audio"), type: "text", autocomplete: "off", spellcheck: "false", list: names.id });
  const player = h("audio", { controls: true, preload: "metadata", hidden: true });
  const file = h("input", { type: "file", accept: "audio/*,video/*", hidden: true, tabindex: "-1", "aria-hidden": "true" });
  const choose = h("button", {
    type: "button", "data-sound": "choose", title: t("story.audio.choose.long"), onclick: () => file.click(),
  }, icon("add"), h("span", {}, t("story.audio.choose")));

  line.addEventListener("focus", async () => {
    const found = await listSounds().catch(() => []); // typed names do without
    names.replaceChildren(...found.map((name) => h("option", { value: name })));
  });
  player.addEventListener("error", () => {
    if (player.src) player.title = t("story.audio.gone", { name: line.value.trim() });
    player.classList.toggle("sm-missing", Boolean(player.src));
  });
  const put = async (files) => {
    const [first] = files;
    if (!first) return;
    if (!isSound(first.name)) return tell(t("story.audio.not_a_sound", { name: first.name }), { isWrong: true });
    tell(t("gallery.uploading", { name: first.name }));
    try {
      setFile(await uploadSound(first));
      tell("");
    } catch (error) {
      tell(t("gallery.upload_failed", { name: first.name, why: error.message }), { isWrong: true });
    }
  };
  file.addEventListener("change", () => { put([...file.files]); file.value = ""; });

  const field = h("div", { class: "sm-of-pictures", "data-drop": "audio" }, named("audio", line), h("div", { class: "sm-sound-acts" }, choose, player), names, file);
  for (const kind of ["dragover", "drop"]) {
    field.addEventListener(kind, (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      event.stopPropagation(); // it is no picture of the row
      if (kind === "drop") put(filesOf(event.dataTransfer));
    });
  }
  let timer = null;
  let heard = "";
  const hear = (name) => {
    heard = name;
    player.hidden = !name;
    player.classList.remove("sm-missing");
    player.title = player.ariaLabel = name && t("story.audio.hear", { name });
    if (name) player.src = soundUrl(name);
    else player.removeAttribute("src");
  };
  const show = ({ audio }) => {
    if (audio === heard) return;
    clearTimeout(timer);
    if (document.activeElement === line) timer = setTimeout(() => hear(audio), HEARD_AFTER_MS);
    else hear(audio);
  };
  const element = h("div", { class: "sm-of-sound" }, field, area("dialogue", { placeholder: t("story.dialogue.hint") }), area("subtitle"));
  return { element, show };
}
