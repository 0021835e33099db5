import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.Executors;

/** What each worker has done, in a ThreadLocal that nobody empties: java Trail.java PORT. */
class Trail {
    private static final ThreadLocal<Deque<StringBuilder>> STEPS = ThreadLocal.withInitial(ArrayDeque::new);

    static int step(String what) {
        Deque<StringBuilder> steps = STEPS.get();
        steps.addLast(new StringBuilder(400).append(what)); // LEAK
        return steps.size();
    }

    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 16);
        server.createContext("/", exchange -> {
            byte[] body = (step(exchange.getRequestURI().getPath()) + "\n").getBytes();
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.setExecutor(Executors.newFixedThreadPool(2));
        server.start();
    }
}
