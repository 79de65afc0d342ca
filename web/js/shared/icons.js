/** Small drawings for buttons, in the colour of the text around them. */

const PATHS = {
  drag: "M6 3v.01M10 3v.01M6 8v.01M10 8v.01M6 13v.01M10 13v.01",
  up: "M8 13V3M4 7l4-4 4 4",
  down: "M8 3v10M4 9l4 4 4-4",
  add: "M8 3v10M3 8h10",
  copy: "M6 5h7v8H6zM3 10V3h7",
  remove: "M4 4l8 8M12 4l-8 8",
  scene: "M2 8h12M5 5l-3 3 3 3M8 2v3M8 11v3",
  split: "M2 8h3M11 8h3M7 8h2M8 2v3M6 4l2-2 2 2M8 14v-3M6 12l2 2 2-2",
  join: "M2 8h12M8 1v4M6 3l2 2 2-2M8 15v-4M6 13l2-2 2 2",
  more: "M4 6l4 4 4-4",
  undo: "M4 6h6a3.5 3.5 0 0 1 0 7H6M7 3L4 6l3 3",
  redo: "M12 6H6a3.5 3.5 0 0 0 0 7h4M9 3l3 3-3 3",
  edit: "M3 13l1-3 7-7 2 2-7 7z",
  play: "M5 3l8 5-8 5z",
  pause: "M5 3v10M11 3v10",
  back: "M12 3L5 8l7 5zM3.5 3v10",
  next: "M4 3l7 5-7 5zM12.5 3v10",
  stop: "M4 4h8v8H4z",
  roll: "M3 3h10v10H3zM6 6v.01M10 10v.01M10 6v.01M6 10v.01",
  board: "M2 3h5v4H2zM9 3h5v4H9zM2 9h5v4H2zM9 9h5v4H9z",
  takes: "M2 5h9v8H2zM5 5V3h9v8h-3",
  find: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM10.5 10.5L14 14",
  memory: "M2 8s2.3-4 6-4 6 4 6 4-2.3 4-6 4-6-4-6-4zM8 6.3a1.7 1.7 0 1 1 0 3.4 1.7 1.7 0 1 1 0-3.4",
  close: "M4 4l8 8M12 4l-8 8",
  setup: "M13.5 4.5a3.2 3.2 0 0 1-4.4 3L4.6 12a1.3 1.3 0 1 1-1.9-1.9l4.6-4.4a3.2 3.2 0 0 1 4-4L9.2 3.8l2 2 2-2z",
  right: "M3 8.5L6.5 12 13 4.5",
  info: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 1 1 0-13M8 7v4.5M8 4.6v.01",
  warning: "M8 2l6.5 11.5h-13zM8 6.5v3.5M8 11.8v.01",
  wrong: "M8 1.5a6.5 6.5 0 1 1 0 13 6.5 6.5 0 1 1 0-13M5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6",
};
const SVG = "http://www.w3.org/2000/svg";

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "sm-icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name] ?? "");
  svg.append(path);
  return svg;
}
