import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;

/** java Server.java PORT fixed|leak */
public class Server {
    private static final List<byte[]> AUDIT = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 64);
        var leaks = arguments[1].equals("leak");
        server.createContext("/", exchange -> {
            if (leaks) {
                AUDIT.add(new byte[1024]); // BUG: never emptied
            }
            exchange.sendResponseHeaders(200, -1);
            exchange.close();
        });
        server.start();
    }
}
