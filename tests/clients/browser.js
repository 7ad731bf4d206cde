// A headless Chromium and one page of it, by the Chrome DevTools Protocol over a pipe: no package is needed.

"use strict";

const { spawn } = require("node:child_process");

const ARGUMENTS = [
  "--headless",
  "--remote-debugging-pipe",
  // In a container there is little shared memory, and no sandbox for root.
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--no-proxy-server",
];
const PATIENCE = 20_000;

class Page {
  #last = 0;
  #answers = new Map();
  #listeners = [];
  /** What a person would find in the console, and every dialog. */
  complaints = [];

  static async open(profile) {
    const page = new Page();
    const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
    page.process = spawn("chromium", [...ARGUMENTS, `--user-data-dir=${profile}`], { stdio });
    const [, , , to, from] = page.process.stdio;
    page.pipe = to;
    let rest = "";
    from.setEncoding("utf8").on("data", (text) => {
      const messages = (rest + text).split("\0");
      rest = messages.pop();
      messages.map(JSON.parse).forEach((message) => page.#take(message));
    });
    const { targetId } = await page.send("Target.createTarget", { url: "about:blank" });
    page.session = (await page.send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    for (const domain of ["Page", "Runtime", "Log", "Network", "DOM"]) await page.send(`${domain}.enable`);
    page.on("Runtime.exceptionThrown", ({ exceptionDetails }) => page.complaints.push(exceptionDetails));
    page.on("Log.entryAdded", ({ entry }) => page.complaints.push(entry));
    page.on("Page.javascriptDialogOpening", (dialog) => page.complaints.push(dialog));
    page.on("Runtime.consoleAPICalled", ({ type, args }) => type === "error" && page.complaints.push(args));
    return page;
  }

  #take(message) {
    const { resolve, reject } = this.#answers.get(message.id) ?? {};
    if (message.error) reject?.(new Error(JSON.stringify(message.error)));
    else resolve?.(message.result);
    for (const { event, listener } of [...this.#listeners]) if (event === message.method) listener(message.params);
  }

  send(method, params = {}) {
    const id = ++this.#last;
    this.pipe.write(`${JSON.stringify({ id, method, params, sessionId: this.session })}\0`);
    return new Promise((resolve, reject) => this.#answers.set(id, { resolve, reject }));
  }

  on(event, listener) {
    this.#listeners.push({ event, listener });
  }

  /** The next event of this name for which `wanted` holds. */
  next(event, wanted = () => true) {
    return new Promise((resolve) => this.on(event, (params) => wanted(params) && resolve(params)));
  }

  async go(url) {
    const loaded = this.next("Page.loadEventFired");
    await this.send("Page.navigate", { url });
    await loaded;
  }

  async reload() {
    const loaded = this.next("Page.loadEventFired");
    await this.send("Page.reload");
    await loaded;
  }

  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return result.value;
  }

  /** Waits until an expression holds in the page. */
  async until(expression) {
    const end = Date.now() + PATIENCE;
    while (!(await this.evaluate(`Boolean(${expression})`))) {
      if (Date.now() > end) throw new Error(`never: ${expression}; ${await this.evaluate("document.body.innerText")}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Has a person pick files. */
  async pick(selector, files) {
    const { root } = await this.send("DOM.getDocument");
    const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector });
    await this.send("DOM.setFileInputFiles", { nodeId, files });
  }

  /** Has a person drop files, or folders, onto the middle of the page. */
  async drop(files) {
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      const data = { items: [], files, dragOperationsMask: 1 };
      await this.send("Input.dispatchDragEvent", { type, x: 300, y: 100, data });
    }
  }

  async press(key, text) {
    const code = key === "Enter" ? 13 : 9;
    const event = { key, code: key, windowsVirtualKeyCode: code };
    await this.send("Input.dispatchKeyEvent", { type: "keyDown", text, ...event });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  async close() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    await this.send("Browser.close", {}).catch(() => undefined);
    await ended;
  }
}

module.exports = { Page };
