// The upload area: without this script it is a plain form; with it, files are dropped, pasted or picked, and sent one by one, resumably.

/** Uploads that are sent at a time: more would only slow each other down. */
const AT_ONCE = 2;

const form = document.querySelector("form.upload");
const list = form.parentElement.insertBefore(element("ul", { className: "uploads" }), form.nextSibling);
const status = form.parentElement.insertBefore(element("p", { className: "status", role: "status" }), list);
const uploads = new Map();
const interrupted = new Map();
let refreshedAt = 0;

function add({ file, path }) {
  const key = memory.key(file, path);
  if (["queued", "sending", "waiting", "paused"].includes(uploads.get(key)?.state)) return;
  const row = new Row(path, file.size);
  const upload = new Upload(file, path, (changed) => {
    row.showUpload(changed, actionsOf(changed, row));
    if (changed.state !== "sending") next();
  });
  interrupted.get(key)?.element.remove();
  interrupted.delete(key);
  uploads.set(key, upload);
  list.append(row.element);
  upload.become("queued");
}

function actionsOf(upload, row) {
  const cancel = {
    Cancel: () => {
      remove(row);
      return upload.cancel();
    },
  };
  const go = () => upload.become("queued");
  switch (upload.state) {
    case "queued":
    case "sending":
    case "waiting":
      return { Pause: () => upload.pause(), ...cancel };
    case "paused":
      return { Resume: go, ...cancel };
    case "failed":
      return { "Try again": go, ...cancel };
    default:
      return {};
  }
}

/** The focus, which was on a button of the row, stays near. */
function remove(row) {
  row.element.remove();
  form.querySelector("button").focus();
}

/** Sends what is queued, as far as others have ended. */
function next() {
  const all = [...uploads.values()];
  const busy = all.filter((upload) => ["sending", "waiting"].includes(upload.state)).length;
  for (const upload of all.filter((upload) => upload.state === "queued").slice(0, Math.max(0, AT_ONCE - busy))) {
    upload.run();
  }
  summarise(all);
}

function summarise(all) {
  const count = (...states) => all.filter((upload) => states.includes(upload.state)).length;
  const [left, done, failed] = [count("queued", "sending", "waiting"), count("done"), count("failed")];
  const parts = [];
  if (left) parts.push(`${left} to be sent`);
  if (done) parts.push(`${done} stored`);
  if (failed) parts.push(`${failed} failed`);
  const text = parts.length ? `${parts.join(", ")}.` : "";
  if (status.textContent !== text) status.textContent = text;
  if (!left && done > refreshedAt) {
    refreshedAt = done;
    refresh();
  }
}

/** Fetches the listing again, as new files are in it. */
async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => undefined);
  if (!answer?.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const table = page.querySelector("table.list");
  if (table) document.querySelector("table.list").replaceWith(table);
}

/** Shows what was cut before the page was loaded: it goes on once the person gives the file again. */
async function showInterrupted({ key, path, size, url }) {
  const answer = await request("HEAD", url).catch((error) => error);
  if (uploads.has(key)) return;
  const sent = Number(answer.headers?.get("Upload-Offset") ?? 0);
  if (answer.status === 404 || answer.status === 410 || (answer.ok && sent === size)) return memory.forget(key);
  const row = new Row(path, size);
  const forget = () => {
    memory.forget(key);
    interrupted.delete(key);
    remove(row);
    return discard(url);
  };
  row.show("interrupted", `Interrupted at ${bytes(sent)} of ${bytes(size)}. Choose or drop the file again.`, sent, { Discard: forget });
  interrupted.set(key, row);
  list.append(row.element);
}

function addPicker(label, properties) {
  const input = element("input", { type: "file", multiple: true, hidden: true, ...properties });
  input.onchange = () => {
    pickedFiles(input.files).forEach(add);
    input.value = "";
  };
  form.append(input, element("button", { type: "button", textContent: label, onclick: () => input.click() }));
}

function acceptDrops() {
  const target = document.documentElement;
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  target.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form.classList.add("over");
  });
  target.addEventListener("dragleave", (event) => event.relatedTarget || form.classList.remove("over"));
  target.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    form.classList.remove("over");
    take(event, droppedFiles(event.dataTransfer), "What was dropped can't be read.");
  });
}

function acceptPastes() {
  document.addEventListener("paste", (event) => {
    const isTyping = event.target instanceof HTMLInputElement;
    if (isTyping || !event.clipboardData?.types.includes("Files")) return;
    take(event, pastedFiles(event.clipboardData), "What was pasted can't be read.");
  });
}

/** Uploads the files that an event brings. */
async function take(event, files, problem) {
  event.preventDefault();
  try {
    (await files).forEach(add);
  } catch {
    status.textContent = problem;
  }
}

form.replaceChildren(element("span", { textContent: "Drop or paste files or folders here, or" }));
addPicker("choose files", { id: "files" });
addPicker("choose a folder", { id: "folder", webkitdirectory: true });
acceptDrops();
acceptPastes();
memory.all().forEach(showInterrupted);
