"use strict";
// node server.js PORT SHAPE LIMIT [SIZE]: keeps an entry of each order, at most LIMIT; 0 is without end.
const [port, shape, limit, size] = process.argv.slice(2);
const map = new Map();
const list = [];
let orders = 0;
require("http")
  .createServer((request, response) => {
    if (request.url.startsWith("/orders")) {
      const entry = { number: orders, text: "x".repeat(100) + orders, parts: new Array(32).fill(orders) };
      if (shape === "map") {
        map.set(orders, entry);
        if (Number(limit) && map.size > Number(limit)) map.delete(map.keys().next().value);
      } else if (shape === "buffers") {
        list.push(Buffer.alloc(Number(size), 1));
      } else if (shape === "list") {
        list.push(entry);
        if (Number(limit) && list.length > Number(limit)) list.shift();
      }
      orders++;
    }
    response.end("ok\n");
  })
  .listen(Number(port), "127.0.0.1");
