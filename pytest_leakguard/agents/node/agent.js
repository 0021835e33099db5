"use strict";
// Tells the live heap of this process over a private socket, after a collection, and once a leak is
// confirmed what the heap gains. Loaded through NODE_OPTIONS.
try {
  const directory = process.env.LEAKGUARD_AGENT;
  if (directory && require("worker_threads").isMainThread) {
    const path = require("path");
    const v8 = require("v8");
    v8.setFlagsFromString("--expose-gc");
    const collect = require("vm").runInNewContext("gc");
    const SAMPLING_BYTES = 1024; // one of so many bytes is sampled, on average
    const LARGEST_BYTES = 1.5 * 2 ** 30; // of a heap that is written: a snapshot takes as much again

    // What the harness says next; an error when it has gone.
    const told = (caller) =>
      new Promise((resolve, reject) => {
        caller.once("data", resolve);
        caller.once("close", () => reject(new Error("nobody sends any more")));
      });

    const window = async (caller) => {
      caller.write("window\n");
      await told(caller);
    };

    const snapshot = (number) =>
      v8.writeHeapSnapshot(path.join(directory, `${process.pid}-${number}.heapsnapshot`));

    // Of each stack that has allocated since the sample of that number what is alive, innermost first.
    const allocations = (profile, since) => {
      const bytes = new Map();
      for (const sample of profile.samples)
        if (sample.ordinal > since) bytes.set(sample.nodeId, (bytes.get(sample.nodeId) || 0) + sample.size);
      const found = [];
      const visit = (node, outer) => {
        const { functionName, url, lineNumber } = node.callFrame;
        const stack = [[functionName, url, lineNumber + 1], ...outer];
        if (bytes.has(node.id)) found.push({ bytes: bytes.get(node.id), stack });
        for (const child of node.children) visit(child, stack);
      };
      visit(profile.head, []);
      return found.sort((one, other) => other.bytes - one.bytes).slice(0, 50);
    };

    const lastOrdinal = (profile) => profile.samples.reduce((last, sample) => Math.max(last, sample.ordinal), 0);

    const explain = async (caller) => {
      if (v8.getHeapStatistics().used_heap_size > LARGEST_BYTES) return {};
      const session = new (require("inspector").Session)();
      session.connect();
      const ask = (method, parameters) =>
        new Promise((resolve, reject) =>
          session.post(method, parameters, (error, answer) => (error ? reject(error) : resolve(answer))),
        );
      try {
        await ask("HeapProfiler.startSampling", { samplingInterval: SAMPLING_BYTES });
        await window(caller); // what is made once
        await window(caller);
        const snapshots = [snapshot(1)];
        const since = lastOrdinal((await ask("HeapProfiler.getSamplingProfile")).profile);
        await window(caller);
        snapshots.push(snapshot(2));
        await window(caller);
        snapshots.push(snapshot(3));
        const { profile } = await ask("HeapProfiler.getSamplingProfile");
        return { snapshots, allocations: allocations(profile, since) };
      } finally {
        await ask("HeapProfiler.stopSampling").catch(() => {});
        session.disconnect();
      }
    };

    const answer = async (caller, question) => {
      if (question.toString().startsWith("explain")) return JSON.stringify(await explain(caller));
      collect();
      const memory = v8.getHeapStatistics(); // process.memoryUsage asks the kernel for resident memory as well
      return memory.used_heap_size + memory.external_memory;
    };

    const server = require("net").createServer((caller) => {
      caller.on("error", () => {});
      caller.once("data", (question) =>
        answer(caller, question).then(
          (text) => caller.end(`${text}\n`),
          () => caller.end("{}\n"),
        ),
      );
    });
    server.on("error", () => {});
    server.listen(path.join(directory, `${process.pid}.sock`));
    server.unref(); // does not keep the service alive
  }
} catch (error) {
  // a service must not suffer from being measured
}
