import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.LinkedHashMap;
import java.util.Map;

/** java Bounded.java PORT SHAPE LIMIT [SIZE]: keeps an entry of each order, at most LIMIT; 0 is without end. */
public class Bounded {
    private static int orders;

    public static void main(String[] arguments) throws Exception {
        int limit = Integer.parseInt(arguments[2]);
        int size = arguments.length > 3 ? Integer.parseInt(arguments[3]) : 1024;
        boolean keeps = !arguments[1].equals("none");
        var kept = new LinkedHashMap<Integer, byte[]>() {
            @Override
            protected boolean removeEldestEntry(Map.Entry<Integer, byte[]> eldest) {
                return limit > 0 && size() > limit;
            }
        };
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 64);
        server.createContext("/", exchange -> {
            if (keeps && exchange.getRequestURI().getPath().startsWith("/orders")) {
                kept.put(orders++, new byte[size]);
            }
            exchange.sendResponseHeaders(200, -1);
            exchange.close();
        });
        server.start();
    }
}
