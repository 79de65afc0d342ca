/** What the story editor's tools say: splitting, finding, the timeline, pictures; see texts.js. */

export const EDITOR_TEXTS = {
  en: {
    "story.split": "Split at the cursor",
    "story.split.long": "Split at the cursor: the rest of the prompt becomes a shot of its own, without a cut (Alt+Shift+Enter)",
    "story.split.nowhere": "Put the cursor between two words of the prompt: there the shot is split.",
    "story.split.done": "Shot {number} was split; shot {next} continues it.",
    "story.split.locked": "Shot {number} was split; it is locked and keeps its finished result. Shot {next} continues it.",
    "story.join": "Join with the next shot",
    "story.join.long": "Join with the next shot: both prompts become one (Alt+Shift+Backspace)",
    "story.join.nowhere": "There is no shot after this one.",
    "story.join.done": "Shots {number} and {next} were joined.",
    "story.join.locked": "Shots {number} and {next} were joined; shot {number} is locked and keeps its finished result.",
  },
  zh: {
    "story.split": "在光标处拆分",
    "story.split.long": "在光标处拆分：其后的提示词成为新的镜头，不切镜（Alt+Shift+Enter）",
    "story.split.nowhere": "请将光标放在提示词中要拆分的位置。",
    "story.split.done": "镜头 {number} 已拆分，由镜头 {next} 继续。",
    "story.split.locked": "镜头 {number} 已拆分；它已锁定，保留已完成的结果，由镜头 {next} 继续。",
    "story.join": "与下一个镜头合并",
    "story.join.long": "与下一个镜头合并：两段提示词合为一段（Alt+Shift+Backspace）",
    "story.join.nowhere": "后面没有镜头了。",
    "story.join.done": "镜头 {number} 和 {next} 已合并。",
    "story.join.locked": "镜头 {number} 和 {next} 已合并；镜头 {number} 已锁定，保留已完成的结果。",
  },
};
