/** Pictures of the host's input folder. */
import { api } from "../../../../scripts/api.js";

/** Endings of the pictures that the server reads (storymem/files/images.py), lower case. */
export const PICTURE_ENDINGS = [
  ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".webp", ".bmp", ".tif", ".tiff",
  ".gif", ".avif",
];

export function isPicture(name) {
  const ending = name.slice(name.lastIndexOf(".")).toLowerCase();
  return PICTURE_ENDINGS.includes(ending);
}

/** Put a picture into the host's input folder; its name there. */
export async function upload(file) {
  const body = new FormData();
  body.append("image", file);
  body.append("type", "input");
  const answer = await api.fetchApi("/upload/image", { method: "POST", body });
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  const { name, subfolder } = await answer.json();
  return subfolder ? `${subfolder}/${name}` : name;
}

/** Those whose name has all of these words: `{ pictures: [{ name, version }], left_out }`. */
export async function listPictures(words = "") {
  const answer = await api.fetchApi(`/storymem/input?${new URLSearchParams({ words })}`);
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer.json();
}

/** Where the server has a small one; `version` as it was told, or none. */
export function thumbnailUrl(name, version = "") {
  return api.apiURL(`/storymem/input/picture?${new URLSearchParams({ name, size: 192, v: version })}`);
}

/** The picture files that are dragged or dropped, or that a clipboard holds. */
export function filesOf(transfer) {
  return [...(transfer?.files ?? [])].filter((file) => file.name);
}
