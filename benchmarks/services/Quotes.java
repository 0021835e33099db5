import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.HashMap;
import java.util.Map;

/** Quotes by customer in a static map: java Quotes.java PORT. */
public class Quotes {
    static final class Quote {
        final String customer;
        final double[] prices;

        Quote(String customer, int count) {
            this.customer = customer;
            this.prices = new double[count]; // LEAK
        }
    }

    static final class Registry {
        private static final Map<String, Quote> BY_CUSTOMER = new HashMap<>();
        private static int customers;

        static synchronized Quote next() {
            String customer = "customer-" + customers++;
            return BY_CUSTOMER.computeIfAbsent(customer, name -> new Quote(name, 90));
        }
    }

    static void answer(HttpExchange exchange) throws IOException {
        byte[] body = (Registry.next().customer + "\n").getBytes();
        exchange.sendResponseHeaders(200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 16);
        server.createContext("/", Quotes::answer);
        server.start();
    }
}
