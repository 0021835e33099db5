"use strict";
// Tells the live heap of this process over a private socket, after a collection. Loaded through NODE_OPTIONS.
try {
  const directory = process.env.LEAKGUARD_AGENT;
  if (directory && require("worker_threads").isMainThread) {
    const v8 = require("v8");
    v8.setFlagsFromString("--expose-gc");
    const collect = require("vm").runInNewContext("gc");
    const server = require("net").createServer((caller) => {
      caller.on("error", () => {});
      caller.once("data", () => {
        collect();
        const memory = v8.getHeapStatistics(); // process.memoryUsage asks the kernel for resident memory as well
        caller.end(`${memory.used_heap_size + memory.external_memory}\n`);
      });
    });
    server.on("error", () => {});
    server.listen(require("path").join(directory, `${process.pid}.sock`));
    server.unref(); // does not keep the service alive
  }
} catch (error) {
  // a service must not suffer from being measured
}
