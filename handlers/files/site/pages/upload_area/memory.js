// Uploads that were cut, kept in the browser: after a reload the same file goes on where it was. A file is known by path, size and date.

const KEY = `socketserver upload ${location.pathname} `;

const memory = {
  key: (file, path) => KEY + JSON.stringify([path, file.size, file.lastModified]),

  find: (key) => attempt(() => localStorage.getItem(key)),

  keep: (key, url) => attempt(() => localStorage.setItem(key, url)),

  forget: (key) => attempt(() => localStorage.removeItem(key)),

  /** All uploads into this folder that wait for their file. */
  all() {
    const keys = attempt(() => Object.keys(localStorage)) ?? [];
    return keys
      .filter((key) => key.startsWith(KEY))
      .map((key) => {
        const [path, size] = JSON.parse(key.slice(KEY.length));
        return { key, path, size, url: memory.find(key) };
      });
  },
};

/** Without storage, as in a private window perhaps, nothing is remembered, and all else works. */
function attempt(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}
