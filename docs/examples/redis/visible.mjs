// visible.mjs MEMBER [URL]: the campaigns that a member sees; one round trip. redis 5.
import { createHash } from "node:crypto";
import { createClient } from "redis";

const [member, url = "redis://127.0.0.1:6379/0"] = process.argv.slice(2);
const client = createClient({ url, disableClientInfo: true });
client.on("error", (error) => console.error(String(error)));
await client.connect();

const [live, campaigns, row] = await Promise.all([
  client.hGetAll("ms:{meta}:live"),
  client.hGetAll("ms:{meta}:campaigns"), // a service keeps them until ms:{meta}:known changes
  client.get(`ms:member:${member}`),
]);
client.destroy();

const now = Date.now();
for (const id of Object.keys(campaigns).sort()) {
  const { model, clusters, from, until, holdout, state } = JSON.parse(campaigns[id]);
  const [, membership] = (row ?? "").split(`|${model}@${live[model]}=`);
  if (state !== "enabled" || (from !== null && now < from) || (until !== null && now >= until)) continue;
  if (membership === undefined || !clusters.includes(Number(membership.split(":")[0]))) continue;
  console.log(draw(id, member) * 10_000 < holdout * 2 ** 32 ? `held out: ${id}` : id);
}

function draw(campaign, member) {
  let x = half(campaign) ^ half(member);
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

function half(text) {
  return createHash("sha256").update(text).digest().readUInt32BE();
}
