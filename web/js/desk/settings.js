/** The pack's page of the host's settings. Their texts stand in locales/: these are for older hosts. */
import { app } from "../../../../scripts/app.js";
import { LOOP_OPEN, kindOf } from "../shared/graph.js";
import { AUTOPLAY, CONFIRM, DEFAULTS, POSTERS, PREFIX, noteSet, setting } from "../shared/settings.js";

const BEGIN_STORY = "StoryMemBeginStory";
const HEIGHTS = { small: 56, medium: 88, large: 144 }; // pixels of a shot's picture

function showPosters(size) {
  document.documentElement.style.setProperty("--sm-poster-height", `${HEIGHTS[size] ?? HEIGHTS.medium}px`);
}

const SETTINGS = [
  {
    id: "StoryMem.Autoplay",
    name: "Play the newest shot on its node",
    tooltip: "Shot Loop Close plays the newest finished shot and the film by itself. Off: they stand still until they are clicked.",
    type: "boolean",
    category: ["StoryMem", "Films", AUTOPLAY],
  },
  {
    id: "StoryMem.PosterSize",
    name: "Size of the shots' pictures",
    tooltip: "In the story editor and in the list of stories.",
    type: "combo",
    options: Object.keys(HEIGHTS),
    category: ["StoryMem", "Films", POSTERS],
  },
  {
    id: "StoryMem.Confirm",
    name: "Ask before work is lost",
    tooltip: "Before changes in the story editor are discarded, a script is replaced, or a workflow of an earlier film is run.",
    type: "boolean",
    category: ["StoryMem", "Stories", CONFIRM],
  },
  {
    id: "StoryMem.Prefix",
    name: "Folder for new stories",
    tooltip: "filename_prefix of new Shot Loop Open and Begin Story nodes: the folder in ComfyUI's output folder.",
    type: "text",
    category: ["StoryMem", "Stories", PREFIX],
  },
];

app.registerExtension({
  name: "StoryMem.Settings",
  settings: SETTINGS.map((one) => ({
    ...one,
    defaultValue: DEFAULTS[one.id],
    onChange: (value) => {
      if (one.id === POSTERS) showPosters(value);
      noteSet(one.id, value);
    },
  })),
  setup: () => showPosters(setting(POSTERS)),
  /** A node that is loaded, pasted or copied gets its own value after this. */
  nodeCreated(node) {
    if (![LOOP_OPEN, BEGIN_STORY].includes(kindOf(node))) return;
    const prefix = String(setting(PREFIX)).trim();
    const widget = node.widgets?.find(({ name }) => name === "filename_prefix");
    if (widget && prefix && widget.value === DEFAULTS[PREFIX]) widget.value = prefix;
  },
});
