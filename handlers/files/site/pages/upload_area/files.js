// What a person picks, drops or pastes, as a list of { file, path }: the path is that of the file below the folder that is shown.

/** @param {FileList} list of an input, which may be one for folders */
function pickedFiles(list) {
  return [...list].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
}

/** Folders among what was dropped are entered. */
async function droppedFiles(transfer) {
  // The list is emptied when this event is over: all of it must be read before the first wait.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const roots = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const found = [];
  for (const root of roots) {
    if (root instanceof File) found.push({ file: root, path: root.name });
    else if (root) await enter(root, found);
  }
  return found;
}

/** Every browser calls a picture that lies in no file, such as a screenshot, image.png: the time tells one from another. */
async function pastedFiles(transfer) {
  const found = await droppedFiles(transfer);
  return found.map(({ file, path }) => ({ file, path: path === "image.png" ? `image ${timestamp()}.png` : path }));
}

/** The local time, for a file's name. */
function timestamp() {
  const now = new Date();
  const local = new Date(now.getTime() - now.getTimezoneOffset() * 60_000);
  return local.toISOString().replace("T", " ").replace("Z", "").replaceAll(":", "-");
}

async function enter(entry, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A browser gives some of the entries at a time, and none at the end.
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return;
    for (const inner of entries) await enter(inner, found);
  }
}
