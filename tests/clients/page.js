// What a person does with the upload area of a folder's page: `node page.js URL PROFILE FOLDER`.
//
// FOLDER has `small`, `large` (of more than two pieces), a file with a hostile name, and a folder `tree` with `inner/leaf`.

"use strict";

const assert = require("node:assert");
const { Page } = require("./browser.js");

const [url, profile, folder] = process.argv.slice(2);
const HOSTILE = "<img src=x onerror=alert(1)>";
/** Bytes per second: a large file takes long enough to be interrupted. */
const SLOW = 4_000_000;

const row = (name) => `[...document.querySelectorAll(".uploads li")].find((row) => row.querySelector(".name").textContent === ${JSON.stringify(name)})`;
const state = (name) => `${row(name)}?.dataset.state`;
const click = (name, label) =>
  `[...${row(name)}.querySelectorAll("button")].find((button) => button.textContent === "${label}").click()`;
const listed = (name) => `[...document.querySelectorAll(".list td a")].some((a) => a.textContent === ${JSON.stringify(name)})`;

async function throttle(page, uploadThroughput) {
  await page.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: 0,
    downloadThroughput: -1,
    uploadThroughput,
  });
}

async function storesWhatIsPicked(page) {
  await page.pick("#files", [`${folder}/small`, `${folder}/${HOSTILE}`]);
  for (const name of ["small", HOSTILE]) {
    await page.until(`${state(name)} === "done"`);
    await page.until(listed(name));
  }
  assert.strictEqual(await page.evaluate("document.querySelectorAll('.uploads img, .list img').length"), 0);
  assert.match(await page.evaluate("document.querySelector('[role=status]').textContent"), /^2 stored\.$/);
}

async function saysWhyNot(page) {
  await page.pick("#files", [`${folder}/small`]);
  await page.until(`${state("small")} === "failed"`);
  const facts = await page.evaluate(`${row("small")}.querySelector(".facts").textContent`);
  assert.match(facts, /a file of this name exists/);
  // Chromium tells of every refusal in its console, whether a page has asked for it or not.
  assert.match(page.complaints.pop().text, /409/);
}

async function pausesResumesAndCancels(page) {
  const begun = page.next("Network.requestWillBeSent", ({ request }) => request.method === "PATCH");
  await throttle(page, SLOW);
  await page.pick("#files", [`${folder}/large`]);
  await page.until(`${row("large")}?.querySelector("progress").value > 1e6`);
  await page.until(`/ of .*B, .*B\\/s, .* left$/.test(${row("large")}.querySelector(".facts").textContent)`);
  await page.evaluate(click("large", "Pause"));
  await page.until(`${state("large")} === "paused"`);
  await page.evaluate(click("large", "Resume"));
  await page.until(`${state("large")} === "sending"`);
  await page.evaluate(click("large", "Cancel"));
  await page.until(`!${row("large")}`);
  const { url: upload } = (await begun).request;
  const head = () => fetch(upload, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
  while ((await head()).ok) await new Promise((resolve) => setTimeout(resolve, 50));
}

async function resumesAfterReload(page) {
  const offsets = [];
  page.on("Network.requestWillBeSent", ({ request }) => {
    if (request.method === "PATCH") offsets.push(Number(request.headers["Upload-Offset"]));
  });
  await page.pick("#files", [`${folder}/large`]);
  await page.until(`${row("large")}?.querySelector("progress").value > 2e6`);
  await page.reload();
  await page.until(`${state("large")} === "interrupted"`);
  await throttle(page, -1);
  const begun = offsets.length;
  await page.pick("#files", [`${folder}/large`]);
  await page.until(`${state("large")} === "done"`);
  assert.ok(offsets[begun] > 0, `it began again: ${offsets}`);
  await page.until(listed("large"));
  assert.strictEqual(await page.evaluate("localStorage.length"), 0);
}

async function takesFoldersThatAreDropped(page) {
  await page.drop([`${folder}/tree`]);
  await page.until(`${state("tree/inner/leaf")} === "done"`);
  await page.until(listed("tree/"));
}

async function takesWhatIsPasted(page) {
  const paste = `
    const transfer = new DataTransfer();
    transfer.items.add(new File(["pasted"], "pasted", { lastModified: 1_000_000_000_250 }));
    transfer.items.add(new File(["first"], "image.png"));
    document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));`;
  await page.evaluate(`{ ${paste} }`);
  await page.until(`${state("pasted")} === "done"`);
  // Another screenshot has the same name.
  await page.evaluate(`{ ${paste.replace('"pasted"], "pasted"', '"again"], "again"')} }`);
  await page.until(`${state("again")} === "done"`);
  const images = `[...document.querySelectorAll(".uploads li[data-state=done] .name")].filter((name) => /^image \\d.*\\.png$/.test(name.textContent))`;
  await page.until(`${images}.length === 2`);
  assert.match(await page.evaluate("document.querySelector('form.upload').textContent"), /paste/);
  // What is typed into a field is no upload.
  const filter = `document.body.appendChild(document.createElement("input")).dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));`;
  await page.evaluate(`{ ${paste.split("document.body.")[0]} ${filter} }`);
  assert.strictEqual(await page.evaluate("document.querySelectorAll('.uploads li').length"), 4);
}

async function needsNoMouse(page) {
  await page.send("Page.setInterceptFileChooserDialog", { enabled: true });
  const chooser = page.next("Page.fileChooserOpened");
  await page.evaluate("document.activeElement.blur()");
  for (let tabs = 0; (await page.evaluate("document.activeElement.textContent")) !== "choose files"; tabs++) {
    assert.ok(tabs < 20, "the button can't be reached");
    await page.press("Tab");
  }
  await page.press("Enter", "\r");
  const { backendNodeId } = await chooser;
  await page.send("DOM.setFileInputFiles", { backendNodeId, files: [`${folder}/typed`] });
  await page.until(`${state("typed")} === "done"`);
}

async function main() {
  const page = await Page.open(profile);
  try {
    for (const step of [
      storesWhatIsPicked,
      saysWhyNot,
      pausesResumesAndCancels,
      resumesAfterReload,
      takesFoldersThatAreDropped,
      takesWhatIsPasted,
      needsNoMouse,
    ]) {
      await page.go(url);
      await step(page);
      // The server may learn of the end of a request later than the page: then another one is locked out, and tried again.
      const complaints = page.complaints.filter((complaint) => !/423 \(Locked\)/.test(complaint.text));
      assert.deepStrictEqual(complaints, [], step.name);
      console.log(step.name);
    }
  } finally {
    await page.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
