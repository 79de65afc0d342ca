/** What a row of the story editor shows once it is opened: the fields that few shots have. */
import { h } from "../shared/dom.js";
import { icon } from "../shared/icons.js";
import { thumbnailUrl } from "../shared/input_pictures.js";
import { t } from "../shared/texts.js";
import { hasCaptions } from "./captions.js";
import { loraField } from "./lora_field.js";
import { pickPictures } from "./picker.js";
import { buildSoundFields } from "./sound_fields.js";

const DRAWN_AFTER_MS = 400;
const TYPED = ["reference_images", "start_image", "end_image"];
const CONTINUITY = ["", "last_frame", "last_five_frames"];

/** Small pictures of a field that holds file names, each with a cross, and the way to others. */
class PictureField {
  /** `change(names)` is told what the artist wants. */
  constructor(name, isMany, change) {
    Object.assign(this, { isMany, change, names: [] });
    this.list = h("ul", { class: "sm-pictures" });
    this.button = h("button", {
      type: "button", "data-pictures": name, title: t(`pictures.${name}.long`), onclick: () => this.choose(),
    }, icon("add"), h("span", {}, t(`pictures.${name}`)));
    this.element = h("div", { class: "sm-picture-field", "data-drop": name }, this.list, this.button);
    this.list.addEventListener("error", ({ target }) => this.tellMissing(target), true); // of a picture
  }

  show(names) {
    if (names.length === this.names.length && names.every((name, i) => name === this.names[i])) return;
    this.names = names;
    clearTimeout(this.timer);
    const isTyped = TYPED.includes(document.activeElement?.dataset.field); // half a name is no picture
    if (isTyped) this.timer = setTimeout(() => this.draw(), DRAWN_AFTER_MS);
    else this.draw();
  }

  draw() {
    this.list.replaceChildren(...this.names.map((name) => this.tile(name)));
  }

  tile(name) {
    const label = t("pictures.remove", { name });
    return h("li", { title: name }, h("img", { alt: name, loading: "lazy", decoding: "async", draggable: "false", src: thumbnailUrl(name) }),
      h("button", { type: "button", "aria-label": label, title: label, onclick: () => this.remove(name) }, icon("close")));
  }

  tellMissing(picture) {
    const item = picture.closest("li");
    item.classList.add("sm-missing");
    item.dataset.name = picture.alt;
    item.title = t("pictures.missing", { name: picture.alt });
  }

  remove(name) {
    this.button.focus(); // the cross goes, and the keyboard stays here
    this.change(this.names.filter((other) => other !== name));
  }

  async choose() {
    const names = await pickPictures(this.element.closest("dialog"), { isMany: this.isMany, chosen: this.names });
    if (names) this.change(names);
  }
}

/** The fields, and `show(row)`, by which pictures and sound follow; `setPictures(name, names)` is called with others,
 * `tell(text, how)` with what becomes of a file. */
export function buildDetails(setPictures, tell) {
  const named = (name, control, ...more) => h("label", {}, h("span", {}, t(`story.${name}`)), control, ...more);
  const attributes = (name) => ({ "data-field": name, "aria-label": t(`story.${name}`), title: t(`story.${name}.long`) });
  const area = (name) => named(name, h("textarea", { ...attributes(name), rows: 2 }));
  const line = (name, more = {}) => named(name, h("input", { ...attributes(name), type: "text", autocomplete: "off", ...more }));
  const choice = h("select", attributes("continuity"), ...CONTINUITY.map((value) => h("option", { value }, value || t("story.continuity.auto"))));
  const references = new PictureField("reference_images", true, (names) => setPictures("reference_images", names));
  const one = (name) => new PictureField(name, false, (names) => setPictures(name, names));
  const [start, end] = [one("start_image"), one("end_image")];
  const sound = buildSoundFields((name) => setPictures("audio", [name]), tell);
  const extra = h("output", { class: "sm-extra" });
  const ofShot = area("shot_caption");
  const captions = h("div", { class: "sm-of-captions" }, area("global_caption"), ofShot);
  const element = h("div", { class: "sm-more" }, captions,
    area("negative_prompt"), area("first_frame_prompt"),
    h("div", { class: "sm-short" }, named("continuity", choice),
      line("lora_strength", { inputmode: "decimal", placeholder: t("story.auto") }), extra),
    loraField(line("loras", { placeholder: "film_noir:0.8, rain" })),
    h("div", { class: "sm-of-pictures" }, line("promote", { placeholder: "seed, start 0, memory 6:40 Mara" }),
      h("button", { type: "button", "data-act": "promote", title: t("promote.open.long") }, icon("memory"), h("span", {}, t("promote.open")))),
    h("div", { class: "sm-of-pictures", "data-drop": "reference_images" }, area("reference_images"), references.element),
    h("div", { class: "sm-of-pictures", "data-drop": "start_image" }, line("start_image"), start.element),
    h("div", { class: "sm-of-pictures", "data-drop": "end_image" }, line("end_image"), end.element),
    h("div", { class: "sm-of-remember" }, line("remember", { placeholder: "Mara 3, place: the pier 1" })),
    sound.element);
  const show = (row) => {
    references.show(row.reference_images);
    start.show(row.start_image ? [row.start_image] : []);
    end.show(row.end_image ? [row.end_image] : []);
    sound.show(row);
    ofShot.hidden = !hasCaptions(row.prompt);
  };
  return { element, extra, show };
}
