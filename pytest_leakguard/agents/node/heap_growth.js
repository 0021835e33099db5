"use strict";
// node heap_growth.js BEFORE MIDDLE AFTER: what the heap of a service has gained between its snapshots
// and still has, by what holds it, as JSON. Runs in a process of its own: the snapshots of a large heap
// are larger than the heap.
const fs = require("fs");

const MOST_GROUPS = 20; // groups that are told, those with most bytes first
const MOST_STEPS = 40; // of a path, from what holds it to a root
const FEWEST_ENTRIES = 3; // of a container in two windows
const WEAK = "weak";
// What an object keeps its entries in: of no interest by itself.
const BACKING = new Set(["hidden", "array", "object shape", "code", "synthetic", "native"]);
const BACKING_NAMES = new Set(["(object elements)", "(object properties)", "system / Context"]);

function read(file) {
  const parsed = JSON.parse(fs.readFileSync(file, "utf8"));
  const meta = parsed.snapshot.meta;
  return {
    nodes: parsed.nodes,
    edges: parsed.edges,
    strings: parsed.strings,
    locations: parsed.locations || [],
    width: meta.node_fields.length,
    edgeWidth: meta.edge_fields.length,
    locationWidth: (meta.location_fields || []).length,
    field: Object.fromEntries(meta.node_fields.map((name, at) => [name, at])),
    types: meta.node_types[0],
    edgeTypes: meta.edge_types[0],
  };
}

// Objects are numbered by their age, in odd numbers; even ones are those of objects of C++, which say
// nothing.
function lastId(heap) {
  let last = 0;
  for (let at = heap.field.id; at < heap.nodes.length; at += heap.width)
    if (heap.nodes[at] % 2) last = Math.max(last, heap.nodes[at]);
  return last;
}

class Graph {
  constructor(heap) {
    this.heap = heap;
    this.count = heap.nodes.length / heap.width;
    this.first = new Uint32Array(this.count + 1);
    for (let node = 0, edge = 0; node < this.count; node++) {
      this.first[node] = edge;
      edge += this.value(node, "edge_count");
      this.first[node + 1] = edge;
    }
    this.parent = new Int32Array(this.count).fill(-1);
    this.by = new Int32Array(this.count).fill(-1); // the edge that leads there from the parent
    this.order = this.walk();
    this.scripts = this.readScripts();
  }

  value(node, name) {
    return this.heap.nodes[node * this.heap.width + this.heap.field[name]];
  }
  type(node) {
    return this.heap.types[this.value(node, "type")];
  }
  name(node) {
    return this.heap.strings[this.value(node, "name")];
  }
  id(node) {
    const id = this.value(node, "id");
    return id % 2 ? id : 0;
  }
  target(edge) {
    return this.heap.edges[edge * this.heap.edgeWidth + 2] / this.heap.width;
  }
  edgeType(edge) {
    return this.heap.edgeTypes[this.heap.edges[edge * this.heap.edgeWidth]];
  }
  edgeName(edge) {
    const type = this.edgeType(edge), raw = this.heap.edges[edge * this.heap.edgeWidth + 1];
    return type === "element" || type === "hidden" ? String(raw) : this.heap.strings[raw];
  }

  // By shortest paths.
  walk() {
    const seen = new Uint8Array(this.count), queue = [0];
    seen[0] = 1;
    const visit = (node) => {
      for (let edge = this.first[node]; edge < this.first[node + 1]; edge++) {
        const type = this.edgeType(edge), to = this.target(edge);
        if (type === WEAK || seen[to]) continue;
        // What WeakMaps and the engine's own lists lead to is held elsewhere as well, or not at all.
        if (type === "internal" && /part of key|WeakMap/.test(this.edgeName(edge))) continue;
        seen[to] = 1;
        this.parent[to] = node;
        this.by[to] = edge;
        queue.push(to);
      }
    };
    for (let at = 0; at < queue.length; at++) visit(queue[at]);
    return queue;
  }

  edgeTo(node, name) {
    for (let edge = this.first[node]; edge < this.first[node + 1]; edge++)
      if (this.edgeName(edge) === name) return this.target(edge);
    return -1;
  }

  scriptOf(closure) {
    const shared = this.edgeTo(closure, "shared");
    if (shared < 0) return "";
    const script = Math.max(this.edgeTo(shared, "script"), this.edgeTo(shared, "script_or_debug_info"));
    if (script < 0) return "";
    const name = this.edgeTo(script, "name");
    return this.name(name < 0 ? script : name);
  }

  // By the node: where its function, or its class's, is defined.
  readScripts() {
    const { locations, locationWidth, width } = this.heap, found = new Map(), files = new Map();
    for (let at = 0; at < locations.length; at += locationWidth) {
      const node = locations[at] / width, script = locations[at + 1];
      found.set(node, { script, line: locations[at + 2] + 1 });
      if (this.type(node) === "closure" && !files.has(script)) files.set(script, this.scriptOf(node));
    }
    for (const place of found.values()) place.file = files.get(place.script) || "";
    return found;
  }

  isBacking(node) {
    return BACKING.has(this.type(node)) || BACKING_NAMES.has(this.name(node));
  }

  kind(node) {
    const type = this.type(node), name = this.name(node);
    if (type === "closure") return name ? `function ${name}` : "function";
    if (type === "string" || type === "concatenated string" || type === "sliced string") return "string";
    if (type === "number" || type === "bigint" || type === "symbol" || type === "regexp") return type;
    return name || type;
  }

  // From what holds it up to a root: name and kind of the edge, and what it leads to.
  pathOf(node) {
    const steps = [];
    for (let at = node; at > 0 && steps.length < MOST_STEPS; at = this.parent[at]) {
      const edge = this.by[at];
      const place = this.scripts.get(at);
      steps.push({
        edge: edge < 0 ? "" : this.edgeName(edge),
        by: edge < 0 ? "" : this.edgeType(edge),
        type: this.type(at),
        name: this.kind(at),
        file: place ? place.file : "",
        line: place ? place.line : 0,
      });
    }
    return steps;
  }
}

// Each object that is new hangs below an entry of something that is not.
function groups(graph, before, middle) {
  const entryOf = new Int32Array(graph.count).fill(-1), holderOf = new Int32Array(graph.count).fill(-1);
  const found = new Map();
  for (const node of graph.order) {
    if (node === 0) continue;
    const parent = graph.parent[node], isNew = graph.id(node) > before;
    if (!isNew) continue;
    const isBelowNew = graph.id(parent) > before && entryOf[parent] >= 0;
    if (isBelowNew) {
      entryOf[node] = entryOf[parent];
      holderOf[node] = holderOf[parent];
    } else {
      let holder = parent;
      while (holder > 0 && graph.isBacking(holder) && graph.name(holder) !== "system / Context") holder = graph.parent[holder];
      holderOf[node] = holder;
      if (!graph.isBacking(node)) entryOf[node] = node;
    }
    const entry = entryOf[node];
    if (entry < 0) continue; // the container's own memory
    const holder = holderOf[node];
    if (!found.has(holder)) found.set(holder, { holder, bytes: [0, 0], kinds: new Map() });
    const group = found.get(holder), late = graph.id(node) > middle ? 1 : 0, size = graph.value(node, "self_size");
    group.bytes[late] += size;
    const name = graph.kind(entry);
    if (!group.kinds.has(name)) group.kinds.set(name, { name, bytes: 0, entries: 0, alike: 0, entry });
    const kind = group.kinds.get(name);
    kind.bytes += size;
    if (entry === node) kind.entry = node;
    kind.entries += entry === node;
    kind.alike += graph.kind(node) === name;
  }
  for (const group of found.values()) group.kind = largest([...group.kinds.values()]);
  return [...found.values()];
}

function largest(kinds) {
  return kinds.reduce((most, kind) => (kind.bytes > most.bytes ? kind : most));
}

// The first function of the program's own that the entry has, as a listener or a timer.
function functionIn(graph, entry, before) {
  let level = [entry];
  for (let depth = 0; depth < 3; depth++) {
    const next = [];
    for (const node of level) {
      const place = graph.scripts.get(node);
      if (place && /^(\/|file:)/.test(place.file)) return place;
      for (let edge = graph.first[node]; edge < graph.first[node + 1]; edge++)
        if (graph.id(graph.target(edge)) > before && next.length < 200) next.push(graph.target(edge));
    }
    level = next;
  }
  return { file: "", line: 0 };
}

function isSteady(group) {
  const [less, more] = [...group.bytes].sort((one, other) => one - other);
  return less > 0.4 * more;
}

function told(graph, group, before) {
  const { name, entry, entries, alike } = group.kind;
  const isChain = entries < FEWEST_ENTRIES; // each of which leads to the next one
  return {
    kind: name,
    holder: graph.kind(group.holder),
    bytes: (group.bytes[0] + group.bytes[1]) / 2,
    entries: (isChain ? alike : entries) / 2,
    path: graph.pathOf(group.holder),
    ...functionIn(graph, entry, before),
  };
}

const [beforeFile, middleFile, afterFile] = process.argv.slice(2);
const before = lastId(read(beforeFile)), middle = lastId(read(middleFile));
const graph = new Graph(read(afterFile));
const steady = groups(graph, before, middle).filter(isSteady);
steady.sort((one, other) => other.bytes[0] + other.bytes[1] - one.bytes[0] - one.bytes[1]);
console.log(JSON.stringify(steady.slice(0, MOST_GROUPS).map((group) => told(graph, group, before))));
