// What each user has looked at, by user, in a Map of Maps: node history.js PORT.
"use strict";
const http = require("http");

function createHistory() {
  const users = new Map();
  return {
    visit(user, page) {
      let pages = users.get(user);
      if (!pages) {
        pages = new Map();
        users.set(user, pages); // LEAK
      }
      pages.set(page, { at: Date.now(), page, referrer: `https://example.org/${user}/${page}` });
      return pages.size;
    },
  };
}

const history = createHistory();
let served = 0;
http
  .createServer((request, response) => {
    const size = history.visit(`user-${served++}`, request.url);
    response.end(`${size}\n`);
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
