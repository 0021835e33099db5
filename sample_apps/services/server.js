"use strict";
// node server.js PORT fixed|leak
const [port, mode] = process.argv.slice(2);
const audit = [];
require("http")
  .createServer((request, response) => {
    if (mode === "leak" && request.url.startsWith("/orders")) {
      audit.push({ url: request.url + audit.length, parts: new Array(128).fill(audit.length) }); // BUG: never emptied
    }
    response.end("ok\n");
  })
  .listen(Number(port), "127.0.0.1");
