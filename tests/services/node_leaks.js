"use strict";
// A service for tests that leaks in one of several ways: node node_leaks.js PORT MODE. A line that
// leaks ends with "LINE mode".
const { EventEmitter } = require("events");
const fs = require("fs");
const { spawn } = require("child_process");
const os = require("os");
const path = require("path");

const [port, mode] = process.argv.slice(2);
const audit = [];
const bus = new EventEmitter();
bus.setMaxListeners(0);
const byKey = {};
const pending = [];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "node-leaks-"));
process.on("SIGTERM", () => {
  fs.rmSync(folder, { recursive: true, force: true });
  process.exit();
});

class Order {
  constructor(number) {
    this.number = number;
    this.text = `order ${number} `.repeat(20);
    this.parts = new Array(50).fill(number);
  }
}

class Store {
  static seen = new Set();
  constructor() {
    this.sessions = new Map();
  }
  remember(number) {
    this.sessions.set(`session-${number}`, new Order(number)); // LINE session
  }
}
const store = new Store();

const leaks = {
  pushed(number) {
    const order = new Order(number);
    audit.push(order); // LINE pushed
  },
  session(number) {
    store.remember(number);
  },
  keyed(number) {
    byKey[`key ${number}`] = new Order(number); // LINE keyed
  },
  listener(number) {
    const order = new Order(number);
    bus.on("change", () => order.number); // LINE listener
  },
  static_set(number) {
    Store.seen.add(new Order(number)); // LINE static_set
  },
  async waiting(number) {
    const order = new Order(number);
    await new Promise((resolve) => pending.push(resolve)); // LINE waiting
    return order;
  },
  timer(number) {
    const order = new Order(number);
    setInterval(() => order.number, 3_600_000); // LINE timer
  },
  opened() {
    fs.openSync("/dev/null", "r"); // LINE opened
  },
  streamed(number) {
    fs.createWriteStream(path.join(folder, `order-${number}.log`)); // LINE streamed
  },
  spawned(number) {
    if (number % 10 === 0) spawn("sleep", ["300"], { stdio: "ignore" }); // LINE spawned
  },
  clean(number) {
    new Order(number);
  },
};

let served = 0;
require("http")
  .createServer((request, response) => {
    if (request.url.startsWith("/orders")) leaks[mode](served++);
    response.end("ok\n");
  })
  .listen(Number(port), "127.0.0.1");
