/**
 * The memory gallery on Memory Bank, Rehearsal Memory, Choose Memory, Remember and Preview Memory Bank: what
 * the story remembers, and what the artist changes in it. Changes are kept in the `edits` of the Memory Bank that
 * feeds a bank, else in those of its Rehearsal Memory.
 */
import { api } from "../../../../scripts/api.js";
import { app } from "../../../../scripts/app.js";
import { watchRuns } from "../loop/missed_runs.js";
import { soon } from "../shared/dom.js";
import {
  CHOOSE_MEMORY, MEMORY_BANK, PREVIEW_BANK, PROMPT_ENDS, REHEARSAL, REMEMBER, everyNode, kindOf,
} from "../shared/graph.js";
import { chain } from "../shared/host.js";
import { opensSeen } from "../shared/seen.js";
import { whenRead } from "../story/extension.js";
import { readBank } from "./bank.js";
import { Gallery, drawAll } from "./gallery.js";
import { galleryOf } from "./nodes.js";
import { openSeen } from "./seen_dialog.js";
import { PROPERTY, catchUp, receive, runBegun, runEnded, takeUpWaiting } from "./told_banks.js";

const WIDTH = 400;

/** The contact sheet shows the same frames, smaller; it stays on the node's output. */
function hideSheet(node) {
  node.hideOutputImages = true;
  node.onDrawBackground = () => {}; // where the classic canvas adds the picture
}

app.registerExtension({
  name: "StoryMem.MemoryGallery",

  setup() {
    opensSeen(openSeen);
    api.addEventListener("executed", ({ detail }) => {
      const banks = detail?.output?.[PROPERTY];
      if (banks?.length) receive(String(detail.display_node ?? detail.node), banks.at(-1));
    });
    api.addEventListener("storymem.bank", ({ detail }) => receive(String(detail.node), detail.bank));
    watchRuns(soon(catchUp));
    whenRead.addEventListener("read", ({ detail }) => {
      for (const node of everyNode()) galleryOf(node)?.seen.readAgain(detail.node);
    });
    for (const sign of ["promptQueueing", "promptQueued"]) api.addEventListener(sign, runBegun);
    for (const end of PROMPT_ENDS) api.addEventListener(end, runEnded);
  },

  nodeCreated(node) {
    if (![MEMORY_BANK, REHEARSAL, CHOOSE_MEMORY, REMEMBER, PREVIEW_BANK].includes(kindOf(node))) return;
    const gallery = new Gallery(node);
    Object.defineProperty(node, "storymemGallery", { value: gallery, configurable: true });
    if (kindOf(node) === PREVIEW_BANK) hideSheet(node);
    node.setSize?.([Math.max(node.size[0], WIDTH), node.computeSize()[1]]);
    chain(node, "onConfigure", (info) => {
      const bank = readBank(info?.properties?.[PROPERTY]);
      gallery.own = gallery.isBank ? null : bank;
      gallery.story = bank;
      drawAll();
    });
    chain(node, "onSerialize", (saved) => {
      saved.properties = { ...saved.properties, [PROPERTY]: gallery.saved() };
    });
    chain(node, "onConnectionsChange", drawAll);
    drawAll();
  },

  afterConfigureGraph() {
    takeUpWaiting();
    catchUp();
    drawAll();
  },
});
