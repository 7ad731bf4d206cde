// An upload as a row of the page: name, bar, figures, buttons. Names come from anywhere, so they are text and never markup.

/** Milliseconds over which the speed is measured. */
const WINDOW = 4000;

class Speed {
  #samples = [];

  /** Bytes per second, now that so many are sent; 0 as long as nobody can tell. */
  after(sent) {
    const now = performance.now();
    this.#samples.push({ now, sent });
    while (now - this.#samples[0].now > WINDOW) this.#samples.shift();
    const [first] = this.#samples;
    return now > first.now ? Math.max(0, (sent - first.sent) / (now - first.now)) * 1000 : 0;
  }

  reset() {
    this.#samples = [];
  }
}

class Row {
  #speed = new Speed();

  constructor(name, size) {
    this.size = size;
    this.element = element("li");
    this.name = element("span", { className: "name", textContent: name });
    this.bar = element("progress", { max: Math.max(size, 1), value: 0, ariaLabel: name });
    this.facts = element("span", { className: "facts" });
    this.buttons = element("span", { className: "buttons" });
    this.element.append(this.name, this.bar, this.facts, this.buttons);
  }

  /** @param actions what the buttons say and do */
  show(state, text, sent, actions) {
    this.element.dataset.state = state;
    this.bar.value = this.size === 0 && state === "done" ? 1 : sent;
    this.facts.textContent = text;
    const labels = Object.keys(actions);
    // Buttons that stay are left alone, or the focus would be lost.
    if ([...this.buttons.children].map((button) => button.textContent).join() !== labels.join()) {
      const hadFocus = this.buttons.contains(document.activeElement);
      this.buttons.replaceChildren(...labels.map((label) => this.#button(label, actions[label])));
      if (hadFocus) this.buttons.firstElementChild?.focus();
    }
  }

  showUpload(upload, actions) {
    if (upload.state !== "sending") this.#speed.reset();
    if (upload.state === "done" && upload.location) {
      this.name.replaceChildren(element("a", { href: upload.location, textContent: this.name.textContent }));
    }
    this.show(upload.state, this.#describe(upload), upload.sent, actions);
  }

  #button(label, action) {
    const ariaLabel = `${label}: ${this.name.textContent}`;
    return element("button", { type: "button", textContent: label, ariaLabel, onclick: action });
  }

  #describe(upload) {
    const [sent, all] = [bytes(upload.sent), bytes(this.size)];
    switch (upload.state) {
      case "sending": {
        const speed = this.#speed.after(upload.sent);
        const left = speed > 0 ? `, ${bytes(speed)}/s, ${duration((this.size - upload.sent) / speed)} left` : "";
        return `${sent} of ${all}${left}`;
      }
      case "waiting":
        return `${sent} of ${all}. ${upload.problem} Trying again.`;
      case "paused":
        return `Paused at ${sent} of ${all}.`;
      case "failed":
        return upload.problem;
      case "done":
        return `Stored, ${all}.`;
      default:
        return `Waiting, ${all}.`;
    }
  }
}

function element(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit++;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.ceil(seconds)} s`;
  if (seconds < 3600) return `${Math.ceil(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.ceil((seconds % 3600) / 60)} min`;
}
