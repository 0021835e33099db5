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

    // Which lines open files and sockets and start programs, by breakpoints that never stop: the
    // functions stay as they are, also for whoever has taken them out of their module before.
    const MOST_LINES = 500; // a service that opens from more of them is none that can be told
    const DEEPEST = 30; // calls of a stack that are told
    const HOOK = "__leakguard_opened";
    const LINE = /^ {4}at (?:(.*) \()?(?:file:\/\/)?(\/[^:]*):(\d+):\d+\)?$/;

    const opening = () => {
      const [fs, net, child] = [require("fs"), require("net"), require("child_process")];
      const files = [fs.open, fs.openSync, fs.promises.open, fs.opendir, fs.opendirSync];
      files.push(fs.createReadStream, fs.createWriteStream);
      const sockets = [net.Socket.prototype.connect, require("dgram").createSocket];
      const children = [child.spawn, child.spawnSync, child.fork];
      const threads = [require("worker_threads").Worker];
      return Object.entries({ file: files, socket: sockets, child: children, thread: threads }).flatMap(
        ([kind, functions]) => functions.map((one) => ({ kind, function: one })),
      );
    };

    // What a call opens counts once, for the outermost of these functions that are in each other.
    const watch = async (ask) => {
      const opened = new Map();
      const note = (kind, argument) => {
        const { stackTraceLimit, prepareStackTrace } = Error;
        Error.stackTraceLimit = DEEPEST;
        Error.prepareStackTrace = undefined;
        const text = new Error().stack;
        Object.assign(Error, { stackTraceLimit, prepareStackTrace });
        const lines = text.split("\n").map((line) => LINE.exec(line));
        const calls = lines.filter((found) => found && found[2] !== __filename);
        const stack = calls.map(([, name, file, line]) => [name || "", file, Number(line)]);
        // Paths that differ in numbers are those of one line.
        const given = kind === "file" && typeof argument === "string" ? path.resolve(argument) : "";
        const alike = given.replace(/\d+/g, "*");
        const key = JSON.stringify([kind, alike, stack]);
        if (!stack.length) return;
        if (!opened.has(key) && opened.size >= MOST_LINES) return;
        const one = opened.get(key) || { kind, path: alike, stack, count: 0 };
        one.count += 1;
        opened.set(key, one);
      };
      const hook = (kind, argument) => {
        try {
          note(kind, argument);
        } catch (error) {
          // it is not told
        }
        return false; // goes on
      };
      const functions = opening();
      Object.defineProperty(globalThis, HOOK, { value: { hook, functions }, configurable: true });
      await ask("Debugger.enable");
      for (const [at, { kind }] of functions.entries()) {
        const { result } = await ask("Runtime.evaluate", { expression: `${HOOK}.functions[${at}].function` });
        const condition = `${HOOK}.hook("${kind}", arguments[0])`;
        await ask("Debugger.setBreakpointOnFunctionCall", { objectId: result.objectId, condition }).catch(() => {});
      }
      return opened;
    };

    const unwatch = async (ask) => {
      await ask("Debugger.disable").catch(() => {});
      delete globalThis[HOOK];
    };

    const explain = async (caller) => {
      if (v8.getHeapStatistics().used_heap_size > LARGEST_BYTES) return {};
      const session = new (require("inspector").Session)();
      session.connect();
      const ask = (method, parameters) =>
        new Promise((resolve, reject) =>
          session.post(method, parameters, (error, answer) => (error ? reject(error) : resolve(answer))),
        );
      try {
        const opened = await watch(ask).catch(() => new Map());
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
        const calls = [...opened.values()].sort((one, other) => other.count - one.count);
        return { snapshots, allocations: allocations(profile, since), opened: calls.slice(0, 20) };
      } finally {
        await unwatch(ask);
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
