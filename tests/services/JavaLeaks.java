import com.sun.net.httpserver.HttpServer;
import java.io.FileInputStream;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

/** A service for tests that leaks in one of several ways: java JavaLeaks.java PORT MODE. */
public class JavaLeaks {
    record Order(int number, String text) {}

    interface Listener {
        int changed();
    }

    static class Bus {
        private final List<Listener> listeners = new ArrayList<>();

        void add(Listener listener) {
            listeners.add(listener);
        }
    }

    private static final Map<String, Order> SESSIONS = new ConcurrentHashMap<>();
    private static final Map<Integer, byte[]> CACHE = new HashMap<>();
    private static final Bus BUS = new Bus();
    private static final ThreadLocal<List<Order>> HISTORY = ThreadLocal.withInitial(ArrayList::new);
    private static final List<Object> OPENED = new ArrayList<>();

    static void handle(String mode, int number) throws Exception {
        switch (mode) {
            case "static_map" -> {
                String text = "order " + number + ".".repeat(200); // LINE static_map
                SESSIONS.put("session " + number, new Order(number, text));
            }
            case "by_key" -> {
                CACHE.put(number, new byte[700]); // LINE by_key
            }
            case "listener" -> {
                byte[] page = new byte[500]; // LINE listener
                BUS.add(() -> page.length);
            }
            case "thread_local" -> {
                HISTORY.get().add(new Order(number, "order " + "-".repeat(300))); // LINE thread_local
            }
            case "opened" -> OPENED.add(new FileInputStream("/dev/null"));
            default -> new byte[1000].hashCode();
        }
    }

    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 64);
        var served = new int[1];
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", exchange -> {
            try {
                handle(arguments[1], served[0]++);
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
            exchange.sendResponseHeaders(200, -1);
            exchange.close();
        });
        server.start();
    }
}
