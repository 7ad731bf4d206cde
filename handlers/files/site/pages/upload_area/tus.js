// One upload by tus 1.0.0: created, sent in pieces, and gone on with after every kind of interruption.

const VERSION = { "Tus-Resumable": "1.0.0" };
/** Bytes of a piece: what a proxy that holds requests back can cost. */
const PIECE = 16 * 1024 * 1024;
/** Seconds before another try; the last of them again and again. */
const WAITS = [1, 2, 5, 10, 30];
const LOCKED = 423;
/** The server is gone for now, somebody else holds the upload, or the offset was wrong: all of that passes. */
const PASSING = [0, 409, LOCKED, 429, 502, 503, 504];

class Refused extends Error {
  constructor(status, sentence) {
    super(sentence || (status ? `The server refused it (${status}).` : "The server can't be reached."));
    this.status = status;
  }
}

class Upload {
  /** @param changed is called whenever state or progress is another */
  constructor(file, path, changed) {
    Object.assign(this, { file, path, changed, state: "queued", sent: 0, problem: "", location: "" });
    this.key = memory.key(file, path);
    this.url = memory.find(this.key);
  }

  async run() {
    const stop = (this.stop = new AbortController());
    for (let tries = 0; ; tries++) {
      const before = this.sent;
      try {
        this.become("sending");
        await this.send(stop.signal);
        memory.forget(this.key);
        return this.become("done");
      } catch (error) {
        if (stop.signal.aborted) return;
        if (!this.passes(error)) {
          return this.become("failed", error.message);
        }
        if (this.sent > before) tries = 0;
        this.become("waiting", error.message);
        await wait(WAITS[Math.min(tries, WAITS.length - 1)], stop.signal);
        if (stop.signal.aborted) return;
      }
    }
  }

  /** Whether it may be better in a while. A creation that conflicts with a file does so for good. */
  passes(error) {
    return error instanceof Refused && PASSING.includes(error.status) && (this.url || error.status !== 409);
  }

  pause() {
    this.stop?.abort();
    this.become("paused");
  }

  /** Gives the upload up, here and on the server. */
  async cancel() {
    this.stop?.abort();
    this.become("cancelled");
    memory.forget(this.key);
    if (this.url) await discard(this.url);
  }

  become(state, problem = "") {
    Object.assign(this, { state, problem });
    this.changed(this);
  }

  async send(signal) {
    let offset = this.url ? await this.ask(signal) : 0;
    if (offset === undefined) {
      this.url = undefined; // it has expired
      offset = 0;
    }
    if (!this.url) await this.create(signal);
    this.progress(offset);
    while (offset < this.file.size) {
      offset = await this.sendPiece(offset, signal);
      this.progress(offset);
    }
  }

  progress(sent) {
    this.sent = sent;
    this.changed(this);
  }

  async create(signal) {
    const answer = await request("POST", "./", signal, {
      "Upload-Length": this.file.size,
      "Upload-Metadata": metadata({
        filename: this.file.name,
        relativePath: this.path,
        lastModified: Math.max(0, this.file.lastModified),
      }),
    });
    this.url = new URL(answer.headers.get("Location"), location.href).href;
    this.location = answer.headers.get("Content-Location") ?? "";
    memory.keep(this.key, this.url);
  }

  /** Where the next piece begins; undefined if the server doesn't know the upload any more. */
  async ask(signal) {
    try {
      const answer = await request("HEAD", this.url, signal);
      this.location = answer.headers.get("Content-Location") ?? "";
      return Number(answer.headers.get("Upload-Offset"));
    } catch (error) {
      if (error.status === 404 || error.status === 410) return undefined;
      throw error;
    }
  }

  /** fetch tells nothing of progress, so this is done the old way. */
  sendPiece(offset, signal) {
    return new Promise((resolve, reject) => {
      const sender = new XMLHttpRequest();
      const fail = () => reject(new Refused(sender.status, sender.responseText.trim()));
      sender.open("PATCH", this.url);
      const fields = { ...VERSION, "Upload-Offset": offset, "Content-Type": "application/offset+octet-stream" };
      for (const [name, value] of Object.entries(fields)) sender.setRequestHeader(name, value);
      sender.upload.onprogress = (event) => this.progress(offset + event.loaded);
      sender.onerror = sender.onabort = fail;
      sender.onload = () => {
        if (sender.status !== 204) return fail();
        this.location = sender.getResponseHeader("Content-Location") ?? "";
        resolve(Number(sender.getResponseHeader("Upload-Offset")));
      };
      signal.addEventListener("abort", () => sender.abort(), { once: true });
      sender.send(this.file.slice(offset, offset + PIECE));
    });
  }
}

/** Tells the server to forget an upload, as soon as it knows that nothing more is sent. If it can't be told, the upload expires. */
async function discard(url) {
  for (const seconds of WAITS) {
    const refused = await request("DELETE", url).catch((error) => error);
    if (refused.status !== LOCKED) return;
    await wait(seconds);
  }
}

async function request(method, url, signal, fields = {}) {
  const answer = await fetch(url, { method, signal, headers: { ...VERSION, ...fields } }).catch((error) => {
    throw signal?.aborted ? error : new Refused(0);
  });
  if (!answer.ok) throw new Refused(answer.status, (await answer.text()).trim());
  return answer;
}

/** The value of Upload-Metadata. */
function metadata(values) {
  const pairs = Object.entries(values).map(([key, value]) => `${key} ${base64(String(value))}`);
  return pairs.join();
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function wait(seconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", resolve, { once: true });
  });
}
