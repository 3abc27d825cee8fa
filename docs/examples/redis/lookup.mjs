// lookup.mjs MEMBER [URL]: one round trip. redis 5.
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "redis";

const [member, url = "redis://127.0.0.1:6379/0"] = process.argv.slice(2);
// CLIENT SETINFO is not among the reader's commands. A service keeps one client for the whole process.
const client = createClient({ url, disableClientInfo: true });
client.on("error", (error) => console.error(String(error)));
await client.connect();

// Who isn't there may only be missing, until a beacon has moved since the connection was made.
let found = await look(0);
const first = found.newest;
const isUnproven = () => found.status === "unknown member" && found.newest === first;
for (let tries = 0; tries < 25 && isUnproven(); tries++) {
  await sleep(100);
  found = await look(first);
}
if (isUnproven()) found.status = "rebuilding";
client.destroy();

const { status, pos, held, fields } = found;
console.log(`status: ${status}`);
if (pos !== undefined) {
  const [, partition, offset] = pos.split(":");
  console.log(`position: ${partition}:${offset}`);
}
for (const field of fields) {
  if (held[field] !== undefined) console.log(`${field}: ${held[field].replace(":", " since ")}`);
}

async function look(newestBefore) {
  const [before, live, models, beacons, [epoch, row]] = await Promise.all([
    client.get("ms:{meta}:epoch"),
    client.hGetAll("ms:{meta}:live"),
    client.hGetAll("ms:{meta}:models"),
    client.hGetAll("ms:{meta}:beacons"),
    client.mGet(["ms:{meta}:epoch", `ms:member:${member}`]),
  ]);
  const [head, ...memberships] = (row ?? "").split("|");
  const pos = head === "" || head.endsWith(":gone") ? undefined : head;
  const held = Object.fromEntries(memberships.map((membership) => membership.split("=")));
  const newest = Math.max(0, ...Object.values(beacons).map((beacon) => Number(beacon.split(":")[2])));
  const complete = before !== null && before === epoch && newest >= newestBefore;
  const fields = Object.keys(live).map((model) => `${model}@${live[model]}`).sort();
  const isList = (field) => JSON.parse(models[field] ?? "{}").type === "list";
  const listed = fields.some((field) => isList(field) && held[field] !== undefined);
  const scored = fields.every((field) => isList(field) || held[field] !== undefined);
  return { status: statusOf(complete, listed, scored, pos, beacons), pos, held, fields, newest };
}

function statusOf(complete, listed, scored, pos, beacons) {
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
