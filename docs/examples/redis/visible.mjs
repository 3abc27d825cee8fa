// visible.mjs MEMBER [URL]: the campaigns that a member sees, each with its token; one round trip. redis 5.
import { createHash } from "node:crypto";
import { createClient } from "redis";

const [member, url = "redis://127.0.0.1:6379/0"] = process.argv.slice(2);
const client = createClient({ url, disableClientInfo: true });
client.on("error", (error) => console.error(String(error)));
await client.connect();

const [known, live, campaigns, row] = await Promise.all([
  client.get("ms:{meta}:known"),
  client.hGetAll("ms:{meta}:live"),
  client.hGetAll("ms:{meta}:campaigns"), // a service keeps them until ms:{meta}:known changes
  client.get(`ms:member:${member}`),
]);
client.destroy();

const now = Date.now();
const [, partition, offset] = (row ?? "").split("|")[0].split(":");
for (const id of Object.keys(campaigns).sort()) {
  const { model, clusters, from, until, holdout, state } = JSON.parse(campaigns[id]);
  const [, membership] = (row ?? "").split(`|${model}@${live[model]}=`);
  if (state !== "enabled" || (from !== null && now < from) || (until !== null && now >= until)) continue;
  const cluster = Number((membership ?? "").split(":")[0]);
  if (membership === undefined || !clusters.includes(cluster)) continue;
  const heldOut = draw(id, member) * 10_000 < holdout * 2 ** 32;
  const where = offset === undefined ? "-" : `${partition}-${offset}`;
  const told = `${live[model]}.${cluster}.${heldOut ? 1 : 0}.${known}.${where}`;
  const check = half(`${id} ${member} ${told}`).toString(16).padStart(8, "0");
  const token = known === null ? "without a token" : `${told}.${check}`; // null: Redis is being filled
  console.log(`${heldOut ? "held out: " : ""}${id} ${token}`);
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
