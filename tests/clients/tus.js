// Uploads a file with tus-js-client in three ways: `node tus.js ENDPOINT FILE`.
//
// The second upload stops after its first piece, says so, and goes on when a line comes on standard input: meanwhile the server may change.

"use strict";

const fs = require("node:fs");
const readline = require("node:readline");
const { Upload } = require("tus-js-client");

const [endpoint, path] = process.argv.slice(2);
const PIECE = 256 * 1024;
const UNKNOWN = 404;

function start(name, options, onChunk) {
  return new Promise((resolve, reject) => {
    const upload = new Upload(fs.createReadStream(path), {
      endpoint,
      chunkSize: PIECE,
      retryDelays: [100, 500, 2000],
      metadata: { filename: name },
      onChunkComplete: () => onChunk?.(upload, resolve),
      onSuccess: () => resolve(upload),
      onError: reject,
      ...options,
    });
    upload.start();
  });
}

async function main() {
  await start("whole.bin", { uploadDataDuringCreation: true });
  console.log("whole");

  const cut = await start("cut.bin", {}, async (upload, resolve) => {
    await upload.abort();
    resolve(upload);
  });
  console.log("cut");
  await new Promise((resolve) => readline.createInterface(process.stdin).once("line", resolve));
  const pieces = [];
  await start("cut.bin", {
    uploadUrl: cut.url,
    overridePatchMethod: true,
    onChunkComplete: (_, sent) => pieces.push(sent),
  });
  console.log(`resumed at ${pieces[0] - PIECE}`);

  const given_up = await start("given-up.bin", {}, async (upload, resolve) => {
    await upload.abort(true);
    resolve(upload);
  });
  const answer = await fetch(given_up.url, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" } });
  if (answer.status !== UNKNOWN) throw new Error(`a terminated upload has the status ${answer.status}`);
  console.log("terminated");
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
