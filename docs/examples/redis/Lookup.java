import java.net.URI;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.Response;

/** Lookup MEMBER [URL]: one round trip. Jedis 6. A service takes the connection from a JedisPool. */
public class Lookup {
  public static void main(String[] args) {
    String member = args[0];
    String url = args.length > 1 ? args[1] : "redis://127.0.0.1:6379/0";
    try (Jedis redis = new Jedis(URI.create(url))) {
      Pipeline pipeline = redis.pipelined();
      Response<String> before = pipeline.get("ms:{meta}:epoch");
      Response<Map<String, String>> live = pipeline.hgetAll("ms:{meta}:live");
      Response<Map<String, String>> models = pipeline.hgetAll("ms:{meta}:models");
      Response<Map<String, String>> beacons = pipeline.hgetAll("ms:{meta}:beacons");
      Response<List<String>> found = pipeline.mget("ms:{meta}:epoch", "ms:member:" + member);
      pipeline.sync();

      String row = found.get().get(1);
      String pos = row == null || row.startsWith("|") || row.endsWith(":gone") ? null : row.split("\\|")[0];
      Map<String, String> held = held(row);
      boolean complete = before.get() != null && before.get().equals(found.get().get(0));
      boolean listed = false;
      boolean scored = true;
      for (Map.Entry<String, String> version : live.get().entrySet()) {
        String field = version.getKey() + "@" + version.getValue();
        boolean there = held.containsKey(field);
        if (models.get().getOrDefault(field, "").startsWith("{\"type\":\"list\"")) {
          listed |= there;
        } else {
          scored &= there;
        }
      }
      System.out.println("status: " + status(complete, listed, scored, pos, beacons.get()));
      if (pos != null) {
        String[] position = pos.split(":", -1);
        System.out.println("position: " + position[1] + ":" + position[2]);
      }
      new TreeMap<>(live.get()).forEach((model, version) -> {
        String field = model + "@" + version;
        String value = held.get(field);
        if (value != null) {
          System.out.println(field + ": " + value.replace(":", " since "));
        }
      });
    }
  }

  /** Of a member's row: model@version to cluster:since_ms. */
  static Map<String, String> held(String row) {
    Map<String, String> held = new HashMap<>();
    for (String part : row == null ? new String[0] : row.split("\\|")) {
      int equals = part.indexOf('=');
      if (equals > 0) {
        held.put(part.substring(0, equals), part.substring(equals + 1));
      }
    }
    return held;
  }

  static String status(
      boolean complete, boolean listed, boolean scored, String pos, Map<String, String> beacons) {
    if (!complete) {
      return "rebuilding";
    }
    if (pos == null) {
      return listed ? "current" : "unknown member";
    }
    if (!scored) {
      return "rebuilding";
    }
    String[] position = pos.split(":", -1); // epoch, partition, offset, as_of_ms, valid_until_ms
    String beacon = beacons.get(position[1]);
    if (beacon == null) {
      return "stale";
    }
    String[] said = beacon.split(":"); // next_offset, clock_ms, written_ms
    long age = Math.max(0, System.currentTimeMillis() - Long.parseLong(said[2]));
    boolean expired = !position[4].isEmpty()
        && Long.parseLong(position[4]) <= Long.parseLong(said[1]) + age;
    return age > 30_000 || expired ? "stale" : "current";
  }
}
