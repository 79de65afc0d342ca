/** What the page says of passes, the film and its drafts, and of their boards. */
export const PASS_TEXTS = {
  en: {
    "pass.label": "Shows",
    "pass.label.long": "Whose shots stand in the table: the film's, or those of a draft of it",
    "pass.film": "Film",
    "pass.other": "not what the next run makes",
    "pass.other.long": "The next run makes the pass that is set on the loop. What it will make is said over the table",
    "board.png": "Board",
    "board.png.long": "Every shot with its prompt on one picture, in a new tab",
    "board.pdf": "Print",
    "board.pdf.long": "The board as pages to print (PDF), in a new tab",
    "desk.board": "Board",
    "desk.board.long": "Every shot of {title} with its prompt on one picture, in a new tab",
  },
  zh: {
    "pass.label": "显示",
    "pass.label.long": "表格里是谁的镜头：正片的，还是草稿的",
    "pass.film": "正片",
    "pass.other": "不是下次运行要生成的阶段",
    "pass.other.long": "下次运行生成的是循环上所选的制作阶段；会生成什么，写在表格上方",
    "board.png": "故事板",
    "board.png.long": "在新标签页中，把每个镜头连同提示词画成一张图",
    "board.pdf": "打印",
    "board.pdf.long": "在新标签页中打开供打印的故事板（PDF）",
    "desk.board": "故事板",
    "desk.board.long": "在新标签页中，把《{title}》的每个镜头连同提示词画成一张图",
  },
};
