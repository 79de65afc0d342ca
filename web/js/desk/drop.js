/** A picture that is dropped anywhere on Memory Bank or Rehearsal Memory becomes a reference, not only on its gallery. */
import { app } from "../../../../scripts/app.js";
import { MEMORY_BANK, REHEARSAL, kindOf } from "../shared/graph.js";

const KINDS = ["Files", "text/uri-list"]; // from the computer, or a picture of the page itself

function hasPicture({ dataTransfer }) {
  const kinds = [...(dataTransfer?.types ?? [])];
  const files = [...(dataTransfer?.items ?? [])].filter(({ kind }) => kind === "file");
  const isOther = files.length > 0 && files.every(({ type }) => type && !type.startsWith("image/"));
  return !isOther && KINDS.some((kind) => kinds.includes(kind));
}

app.registerExtension({
  name: "StoryMem.Drop",
  nodeCreated(node) {
    if (![MEMORY_BANK, REHEARSAL].includes(kindOf(node))) return;
    const { onDragOver, onDragDrop } = node;
    node.onDragOver = function over(event) {
      return hasPicture(event) || Boolean(onDragOver?.call(this, event));
    };
    node.onDragDrop = function drop(event) {
      const gallery = this.storymemGallery;
      if (!gallery || !hasPicture(event)) return onDragDrop?.call(this, event) ?? false;
      const files = [...event.dataTransfer.files];
      if (files.length) gallery.addFiles(files);
      else gallery.addUrl(event.dataTransfer.getData("text/uri-list").split("\n")[0].trim());
      return true; // the host would open the picture as a workflow
    };
  },
});
