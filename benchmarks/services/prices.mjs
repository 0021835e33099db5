// Listeners that each request adds to one emitter: node prices.mjs PORT.
import { createServer } from "node:http";
import { EventEmitter } from "node:events";

class Ticker extends EventEmitter {
  #price = 100;
  constructor() {
    super();
    this.setMaxListeners(0);
  }
  change(by) {
    this.#price += by;
    this.emit("price", this.#price);
  }
}

const ticker = new Ticker();

class Watch {
  constructor(customer) {
    this.customer = customer;
    this.seen = new Float64Array(40);
    ticker.on("price", (price) => this.note(price)); // LEAK
  }
  note(price) {
    this.seen[0] = price;
  }
}

let customers = 0;
const server = createServer((request, response) => {
  const watch = new Watch(`customer ${customers++}`);
  response.end(`${watch.customer}\n`);
});
server.listen(Number(process.argv[2]), "127.0.0.1");
