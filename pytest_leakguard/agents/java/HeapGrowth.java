import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * java HeapGrowth.java BEFORE.hprof AFTER.hprof: by which fields the objects are held that a heap has
 * gained, as lines of text. The objects of two dumps cannot be told apart, their addresses move: what
 * is compared is how much hangs on each chain of fields, from static fields and threads down.
 */
public class HeapGrowth {
    /** Chains that are told apart; the objects of all others count for where they hang. */
    static final int MOST_CHAINS = 200_000;
    /** Chains that are told. */
    static final int MOST_TOLD = 10;
    /** A part of the growth above which it is followed further down. */
    static final double FOLLOWED_SHARE = 0.5;

    /** Where objects hang: a field of those of the chain above. */
    static class Chain {
        final Chain above;
        final String field, kind;
        final Map<String, Chain> below = new HashMap<>();
        long bytes, count, all;

        Chain(Chain above, String field, String kind) {
            this.above = above;
            this.field = field;
            this.kind = kind;
        }

        long sum() {
            all = bytes;
            for (Chain chain : below.values()) all += chain.sum();
            return all;
        }
    }

    static class Kind {
        String name = "?";
        long above, loader;
        long[] statics = {};
        String[] staticNames = {}, fields = {};
        int[] types = {};
    }

    final ByteBuffer file;
    final int idBytes;
    final Map<Long, String> strings = new HashMap<>();
    final Map<Long, Kind> kinds = new HashMap<>();
    final List<Long> roots = new ArrayList<>(), threads = new ArrayList<>();
    /** Address of each object, and where it is in the file. */
    long[] keys = new long[1 << 16];
    int[] places = new int[1 << 16];
    Chain[] chains;
    int used, number;

    HeapGrowth(Path path) throws IOException {
        try (FileChannel channel = FileChannel.open(path)) {
            file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size());
        }
        while (file.get() != 0) {}
        idBytes = file.getInt();
        file.getLong();
        while (file.hasRemaining()) record();
        chains = new Chain[keys.length];
    }

    long id() {
        return idBytes == 8 ? file.getLong() : file.getInt() & 0xffffffffL;
    }

    int size(int type) {
        return switch (type) {
            case 2 -> idBytes;
            case 4, 8 -> 1;
            case 5, 9 -> 2;
            case 6, 10 -> 4;
            default -> 8;
        };
    }

    void skip(long bytes) {
        file.position((int) (file.position() + bytes));
    }

    void record() {
        int tag = file.get();
        file.getInt();
        long length = file.getInt() & 0xffffffffL;
        int end = (int) (file.position() + length);
        if (tag == 1) {
            long id = id();
            byte[] text = new byte[(int) length - idBytes];
            file.get(text);
            strings.put(id, new String(text, StandardCharsets.UTF_8));
        } else if (tag == 2) {
            file.getInt();
            long id = id();
            file.getInt();
            kind(id).name = strings.getOrDefault(id(), "?").replace('/', '.');
        } else if (tag == 0x0c || tag == 0x1c) {
            while (file.position() < end) part();
        }
        file.position(end);
    }

    Kind kind(long id) {
        return kinds.computeIfAbsent(id, one -> new Kind());
    }

    void root(int more) {
        roots.add(id());
        skip(more);
    }

    void part() {
        int place = file.position();
        switch (file.get() & 0xff) {
            case 0xff, 0x05, 0x07 -> root(0);
            case 0x01 -> root(idBytes);
            case 0x02, 0x03 -> root(8);
            case 0x08 -> {
                threads.add(id());
                skip(8);
            }
            case 0x04, 0x06 -> root(4);
            case 0x20 -> kindDump();
            case 0x21 -> {
                enter(id(), place);
                file.getInt();
                id();
                skip(file.getInt());
            }
            case 0x22 -> {
                enter(id(), place);
                file.getInt();
                long count = file.getInt();
                id();
                skip(count * idBytes);
            }
            case 0x23 -> {
                enter(id(), place);
                file.getInt();
                long count = file.getInt();
                skip(count * size(file.get()));
            }
            default -> throw new IllegalStateException("a record of no known kind");
        }
    }

    void kindDump() {
        long id = id();
        Kind kind = kind(id);
        file.getInt();
        kind.above = id();
        kind.loader = id();
        skip(4L * idBytes + 4);
        for (int count = file.getShort() & 0xffff; count > 0; count--) {
            file.getShort();
            skip(size(file.get()));
        }
        List<Long> statics = new ArrayList<>();
        List<String> names = new ArrayList<>();
        for (int count = file.getShort() & 0xffff; count > 0; count--) {
            String name = strings.getOrDefault(id(), "?");
            int type = file.get();
            if (type == 2) {
                names.add(name);
                statics.add(id());
            } else skip(size(type));
        }
        kind.statics = statics.stream().mapToLong(Long::longValue).toArray();
        kind.staticNames = names.toArray(new String[0]);
        int count = file.getShort() & 0xffff;
        kind.fields = new String[count];
        kind.types = new int[count];
        for (int at = 0; at < count; at++) {
            kind.fields[at] = strings.getOrDefault(id(), "?");
            kind.types[at] = file.get();
        }
    }

    // The table of objects.

    int slot(long id) {
        int at = (int) ((id >>> 3) * 0x9E3779B97F4A7C15L >>> 40) & (keys.length - 1);
        while (keys[at] != 0 && keys[at] != id) at = (at + 1) & (keys.length - 1);
        return at;
    }

    void enter(long id, int place) {
        if (++used > keys.length / 2) grow();
        int at = slot(id);
        keys[at] = id;
        places[at] = place;
    }

    void grow() {
        long[] oldKeys = keys;
        int[] oldPlaces = places;
        keys = new long[2 * oldKeys.length];
        places = new int[keys.length];
        for (int old = 0; old < oldKeys.length; old++) {
            if (oldKeys[old] == 0) continue;
            int at = slot(oldKeys[old]);
            keys[at] = oldKeys[old];
            places[at] = oldPlaces[old];
        }
    }

    // What hangs on what.

    final List<Integer> queue = new ArrayList<>();

    /** Static fields of the program's own classes first: that is by what people know their objects. */
    Chain walk() {
        Chain top = new Chain(null, "", "");
        walkStatics(top, true);
        for (long thread : threads) reach(thread, top, "(thread)");
        follow();
        walkStatics(top, false);
        for (long root : roots) reach(root, top, "(native code)");
        follow();
        return top;
    }

    void walkStatics(Chain top, boolean areOwn) {
        for (Kind kind : kinds.values())
            if (isOwn(kind) == areOwn)
                for (int at = 0; at < kind.statics.length; at++)
                    reach(kind.statics[at], top, kind.name + "." + kind.staticNames[at]);
        follow();
    }

    static boolean isOwn(Kind kind) {
        return kind.loader != 0 && !kind.name.matches("(java|javax|jdk|sun|com\\.sun)\\..*");
    }

    void follow() {
        for (int next = 0; next < queue.size(); next++) references(queue.get(next));
        queue.clear();
    }

    void reach(long id, Chain above, String field) {
        if (id == 0) return;
        int slot = slot(id);
        if (keys[slot] == 0 || chains[slot] != null) return;
        String kind = kindOf(slot);
        if (kind.equals("java.lang.ThreadLocal$ThreadLocalMap$Entry")) field = "[" + threadLocalOf(slot) + "]";
        Chain chain = above;
        // An entry that leads to the next one of its kind is another entry, not part of it.
        if (above.above == null || !kind.equals(above.kind)) {
            String key = field + " " + kind;
            chain = above.below.get(key);
            if (chain == null) {
                if (++number > MOST_CHAINS) chain = above;
                else above.below.put(key, chain = new Chain(above, field, kind));
            }
        }
        chains[slot] = chain;
        chain.count++;
        chain.bytes += bytesOf(slot);
        queue.add(slot);
    }

    static final String[] PRIMITIVES = {"boolean", "char", "float", "double", "byte", "short", "int", "long"};

    String kindOf(int slot) {
        file.position(places[slot]);
        int tag = file.get();
        id();
        file.getInt();
        if (tag == 0x21) return kind(id()).name;
        file.getInt();
        if (tag == 0x23) return PRIMITIVES[file.get() - 4] + "[]";
        String name = kind(id()).name;
        return name.startsWith("[L") ? name.substring(2, name.length() - 1) + "[]" : name;
    }

    long bytesOf(int slot) {
        file.position(places[slot]);
        int tag = file.get();
        id();
        file.getInt();
        if (tag == 0x21) {
            id();
            return file.getInt() + 16L;
        }
        long count = file.getInt();
        return 16 + (tag == 0x23 ? count * size(file.get()) : count * 4);
    }

    void references(int slot) {
        file.position(places[slot]);
        int tag = file.get();
        id();
        file.getInt();
        if (tag == 0x23) return;
        long id = id(tag);
        int at = file.position();
        if (tag == 0x22) elements(slot, id, at);
        else fields(slot, kind(id), at + 4);
    }

    /** The static field that has the thread-local variable of an entry; empty where none has. */
    String threadLocalOf(int slot) {
        file.position(places[slot] + 1 + idBytes + 4);
        int at = file.position() + idBytes + 4;
        for (Kind kind = kind(id()); kind != null; kind = kinds.get(kind.above)) {
            for (int field = 0; field < kind.fields.length; field++) {
                file.position(at);
                at += size(kind.types[field]);
                if (!kind.fields[field].equals("referent")) continue;
                int found = slot(id());
                Chain chain = keys[found] == 0 ? null : chains[found];
                return chain != null && chain.above != null && chain.above.above == null ? chain.field : "";
            }
        }
        return "";
    }

    /** The class of an object, the number of elements of an array. */
    long id(int tag) {
        return tag == 0x21 ? id() : file.getInt();
    }

    void elements(int slot, long count, int at) {
        for (long element = 0; element < count; element++) {
            file.position((int) (at + idBytes + element * idBytes));
            reach(id(), chains[slot], "[]");
        }
    }

    void fields(int slot, Kind first, int at) {
        for (Kind kind = first; kind != null; kind = kinds.get(kind.above)) {
            for (int field = 0; field < kind.fields.length; field++) {
                file.position(at);
                at += size(kind.types[field]);
                // What a weak reference refers to is held by others.
                boolean isWeak = kind.name.equals("java.lang.ref.Reference");
                if (kind.types[field] == 2 && !isWeak) reach(id(), chains[slot], kind.fields[field]);
            }
        }
    }

    // What has grown.

    static void compare(Chain before, Chain after, List<String> told) {
        List<Chain> grown = new ArrayList<>(after.below.values());
        Map<Chain, Long> by = new HashMap<>();
        for (Chain chain : grown) {
            Chain old = before.below.get(chain.field + " " + chain.kind);
            by.put(chain, chain.all - (old == null ? 0 : old.all));
        }
        grown.sort((one, other) -> Long.compare(by.get(other), by.get(one)));
        for (Chain chain : grown.subList(0, Math.min(MOST_TOLD, grown.size())))
            if (by.get(chain) > 0) follow(before.below.get(chain.field + " " + chain.kind), chain, by.get(chain), told);
    }

    /** Down to where the objects are that have become more. */
    static void follow(Chain before, Chain after, long growth, List<String> told) {
        Chain holder = after, old = before;
        while (true) {
            Chain next = null;
            long most = 0;
            for (Chain chain : holder.below.values()) {
                Chain same = old == null ? null : old.below.get(chain.field + " " + chain.kind);
                long gained = chain.all - (same == null ? 0 : same.all);
                if (gained > most) {
                    most = gained;
                    next = chain;
                }
            }
            if (next == null || most < FOLLOWED_SHARE * growth) break;
            Chain same = old == null ? null : old.below.get(next.field + " " + next.kind);
            long more = next.count - (same == null ? 0 : same.count);
            if (more > 0) {
                told.add(line(next, growth, more));
                return;
            }
            holder = next;
            old = same;
        }
    }

    /** Bytes, entries, kind of what holds them, kind of the entries, and the fields that lead there. */
    static String line(Chain entry, long growth, long more) {
        Chain holder = entry.above;
        List<String> fields = new ArrayList<>();
        while (holder.above.above != null && (holder.kind.endsWith("[]") || holder.field.equals("[]"))) holder = holder.above;
        for (Chain chain = holder; chain.above != null; chain = chain.above) fields.add(0, chain.field);
        Chain kept = entry;
        for (Chain chain : entry.below.values())
            if (List.of("value", "val", "item", "element").contains(chain.field) && chain.all > kept.all / 4) kept = chain;
        return growth + "\t" + more + "\t" + holder.kind + "\t" + kept.kind + "\t" + String.join(".", fields);
    }

    public static void main(String[] arguments) throws IOException {
        Chain before = new HeapGrowth(Path.of(arguments[0])).walk();
        Chain after = new HeapGrowth(Path.of(arguments[1])).walk();
        before.sum();
        after.sum();
        List<String> told = new ArrayList<>();
        compare(before, after, told);
        told.forEach(System.out::println);
    }
}
