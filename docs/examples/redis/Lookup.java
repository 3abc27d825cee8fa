import java.net.URI;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.json.JSONObject;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.Response;

/** Lookup MEMBER [URL]: one round trip. Jedis 6, with its org.json. A service takes the connection from a JedisPool. */
public class Lookup {
  /** What one round trip finds; newest: the greatest written_ms of all beacons. */
  record Found(String status, String pos, Map<String, String> held, Map<String, String> live, long newest) {}

  public static void main(String[] args) throws InterruptedException {
    String member = args[0];
    String url = args.length > 1 ? args[1] : "redis://127.0.0.1:6379/0";
    try (Jedis redis = new Jedis(URI.create(url))) {
      // Who isn't there may only be missing, until a beacon has moved since the connection was made.
      Found found = look(redis, member, 0);
      long first = found.newest();
      for (int tries = 0; tries < 25 && isUnproven(found, first); tries++) {
        Thread.sleep(100);
        found = look(redis, member, first);
      }
      System.out.println("status: " + (isUnproven(found, first) ? "rebuilding" : found.status()));
      if (found.pos() != null) {
        String[] position = found.pos().split(":", -1);
        System.out.println("position: " + position[1] + ":" + position[2]);
      }
      for (Map.Entry<String, String> version : new TreeMap<>(found.live()).entrySet()) {
        String field = version.getKey() + "@" + version.getValue();
        String value = found.held().get(field);
        if (value != null) {
          System.out.println(field + ": " + value.replace(":", " since "));
        }
      }
    }
  }

  static boolean isUnproven(Found found, long first) {
    return found.status().equals("unknown member") && found.newest() == first;
  }

  static Found look(Jedis redis, String member, long newestBefore) {
    Pipeline pipeline = redis.pipelined();
    Response<String> before = pipeline.get("ms:{meta}:epoch");
    Response<Map<String, String>> live = pipeline.hgetAll("ms:{meta}:live");
    Response<Map<String, String>> models = pipeline.hgetAll("ms:{meta}:models");
    Response<Map<String, String>> beacons = pipeline.hgetAll("ms:{meta}:beacons");
    Response<List<String>> members = pipeline.mget("ms:{meta}:epoch", "ms:member:" + member);
    pipeline.sync();

    String row = members.get().get(1);
    String pos = row == null || row.startsWith("|") || row.endsWith(":gone") ? null : row.split("\\|")[0];
    Map<String, String> held = held(row);
    long newest = 0;
    for (String beacon : beacons.get().values()) {
      newest = Math.max(newest, Long.parseLong(beacon.split(":")[2]));
    }
    boolean complete =
        before.get() != null && before.get().equals(members.get().get(0)) && newest >= newestBefore;
    boolean listed = false;
    boolean scored = true;
    for (Map.Entry<String, String> version : live.get().entrySet()) {
      String field = version.getKey() + "@" + version.getValue();
      boolean there = held.containsKey(field);
      if (new JSONObject(models.get().getOrDefault(field, "{}")).optString("type").equals("list")) {
        listed |= there;
      } else {
        scored &= there;
      }
    }
    return new Found(status(complete, listed, scored, pos, beacons.get()), pos, held, live.get(), newest);
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
