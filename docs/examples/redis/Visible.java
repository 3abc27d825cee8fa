import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Map;
import java.util.TreeMap;
import org.json.JSONObject;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.Response;

/** Visible MEMBER [URL]: the campaigns that a member sees, with tokens; one round trip. Jedis 6, with its org.json. */
public class Visible {
  public static void main(String[] args) throws GeneralSecurityException {
    String member = args[0];
    String url = args.length > 1 ? args[1] : "redis://127.0.0.1:6379/0";
    try (Jedis redis = new Jedis(URI.create(url))) {
      Pipeline pipeline = redis.pipelined();
      Response<String> known = pipeline.get("ms:{meta}:known");
      Response<Map<String, String>> live = pipeline.hgetAll("ms:{meta}:live");
      Response<Map<String, String>> campaigns = pipeline.hgetAll("ms:{meta}:campaigns"); // keep until known changes
      Response<String> row = pipeline.get("ms:member:" + member);
      pipeline.sync();

      long now = System.currentTimeMillis();
      for (Map.Entry<String, String> entry : new TreeMap<>(campaigns.get()).entrySet()) {
        String id = entry.getKey();
        JSONObject campaign = new JSONObject(entry.getValue());
        String model = campaign.getString("model");
        String version = live.get().get(model);
        String marker = "|" + model + "@" + version + "=";
        int at = row.get() == null ? -1 : row.get().indexOf(marker);
        if (at < 0 || !campaign.getString("state").equals("enabled")
            || now < campaign.optLong("from", Long.MIN_VALUE) || now >= campaign.optLong("until", Long.MAX_VALUE)) {
          continue;
        }
        int cluster = Integer.parseInt(row.get().substring(at + marker.length()).split(":")[0]);
        if (campaign.getJSONArray("clusters").toList().contains(cluster)) {
          boolean isHeldOut = draw(id, member) * 10_000 < campaign.getLong("holdout") << 32;
          String[] pos = row.get().split("\\|", 2)[0].split(":");
          String where = pos.length < 3 ? "-" : pos[1] + "-" + pos[2];
          String told = version + "." + cluster + "." + (isHeldOut ? 1 : 0) + "." + known.get() + "." + where;
          String token = told + String.format(".%08x", half(id + " " + member + " " + told));
          System.out.println((isHeldOut ? "held out: " : "") + id + " "
              + (known.get() == null ? "without a token" : token)); // null: Redis is being filled
        }
      }
    }
  }

  static long draw(String campaign, String member) throws GeneralSecurityException {
    int x = half(campaign) ^ half(member);
    x = (x ^ x >>> 16) * 0x85ebca6b;
    x = (x ^ x >>> 13) * 0xc2b2ae35;
    return Integer.toUnsignedLong(x ^ x >>> 16);
  }

  static int half(String text) throws GeneralSecurityException {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    return ByteBuffer.wrap(MessageDigest.getInstance("SHA-256").digest(bytes)).getInt();
  }
}
