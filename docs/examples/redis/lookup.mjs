// lookup.mjs MEMBER [URL]: one round trip (node-redis sends what is called in one turn together). redis 5.
import { createClient } from "redis";

const [member, url = "redis://127.0.0.1:6379/0"] = process.argv.slice(2);
// CLIENT SETINFO is not among the reader's commands. A service keeps one client for the whole process.
const client = createClient({ url, disableClientInfo: true });
client.on("error", (error) => console.error(String(error)));
await client.connect();

const [before, live, models, beacons, [epoch, row]] = await Promise.all([
  client.get("ms:{meta}:epoch"),
  client.hGetAll("ms:{meta}:live"),
  client.hGetAll("ms:{meta}:models"),
  client.hGetAll("ms:{meta}:beacons"),
  client.mGet(["ms:{meta}:epoch", `ms:member:${member}`]),
]);
client.destroy();

const [head, ...memberships] = (row ?? "").split("|");
const pos = head === "" || head.endsWith(":gone") ? undefined : head;
const held = Object.fromEntries(memberships.map((membership) => membership.split("=")));
const complete = before !== null && before === epoch;
const fields = Object.keys(live).map((model) => `${model}@${live[model]}`).sort();
const isList = (field) => models[field]?.startsWith('{"type":"list"');
const listed = fields.some((field) => isList(field) && held[field] !== undefined);
const scored = fields.every((field) => isList(field) || held[field] !== undefined);
console.log(`status: ${status(complete, listed, scored, pos, beacons)}`);
if (pos !== undefined) {
  const [, partition, offset] = pos.split(":");
  console.log(`position: ${partition}:${offset}`);
}
for (const field of fields) {
  if (held[field] !== undefined) console.log(`${field}: ${held[field].replace(":", " since ")}`);
}

function status(complete, listed, scored, pos, beacons) {
  if (!complete) return "rebuilding";
  if (pos === undefined) return listed ? "current" : "unknown member";
  if (!scored) return "rebuilding";
  const [, partition, , , validUntil] = pos.split(":");
  if (beacons[partition] === undefined) return "stale";
  const [, clock, written] = beacons[partition].split(":").map(Number);
  const age = Math.max(0, Date.now() - written);
  if (age > 30_000 || (validUntil !== "" && Number(validUntil) <= clock + age)) return "stale";
  return "current";
}
