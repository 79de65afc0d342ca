/** What the page says of `remember`, by which a script steers its memory; see texts.js. */
export const REMEMBER_TEXTS = {
  en: {
    "story.remember": "Remember",
    "story.remember.long": "Whom and what the memory keeps this shot's pictures for, with a weight: Mara 3, place: the pier 1. 3 is kept longest, 1 is as without, 0 gives way first. The shot itself stays as it is",
    "gallery.sees.this.window": "This shot sees {used} of {count} {count|frame|frames}, chosen by what the script remembers",
    "gallery.sees.last.window": "The last shot saw {used} of {count} {count|frame|frames}, chosen by what the script remembers.",
    "gallery.sees.open.window": "The next shot sees {places} of {count} {count|frame|frames}. Which ones depends on what the script remembers.",
    "why.shows.weighed": "it shows {what}, weight {weight}",
    "why.related.weighed": "related to the prompt ({what}), weight {weight}",
    "why.kept": "kept for {what}, weight {weight}, as the script says",
    "why.light": "its weight in the script is 0, so it gives way first",
    "why.remember": "what the script remembers changed",
  },
  zh: {
    "story.remember": "记住",
    "story.remember.long": "记忆为谁、为什么保留本镜头的画面，并附权重：Mara 3, place: the pier 1。3 保留最久，1 与不写相同，0 最先让位。本镜头本身不变",
    "gallery.sees.this.window": "本镜头看到 {count} 帧中的 {used} 帧，按剧本要求记住的内容选择",
    "gallery.sees.last.window": "上一个镜头看到 {count} 帧中的 {used} 帧，按剧本要求记住的内容选择。",
    "gallery.sees.open.window": "下一个镜头看到 {count} 帧中的 {places} 帧，具体取决于剧本要求记住的内容。",
    "why.shows.weighed": "画面里有 {what}，权重 {weight}",
    "why.related.weighed": "与提示词相关（{what}），权重 {weight}",
    "why.kept": "剧本要求为 {what} 保留，权重 {weight}",
    "why.light": "剧本中的权重为 0，最先让位",
    "why.remember": "剧本要求记住的内容有改动",
  },
};
