// A presence server as a Node team would write it, as a reference for the bench: Node's HTTP server and ioredis.
//
// It has the heartbeat call of this service, for one connection or a batch, in two variants:
//
// - /presence/heartbeat: one script call per player, atomic, with a lease per connection and an index by expiry.
// - /plain/heartbeat: one `SET … PX` per player, without reading anything: one connection per player, no version.
//
// Prints its address. REDIS_URL is the Redis.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Redis } from "ioredis";

const TTL_MS = 45_000;
const HEARTBEAT_INTERVAL_MS = 15_000;
const ONLINE = "peer:online";

// Commands of the same turn of the event loop are sent together.
const redis = new Redis(process.env.REDIS_URL, { enableAutoPipelining: true });
redis.defineCommand("heartbeat", {
  numberOfKeys: 2,
  lua: readFileSync(new URL("heartbeat.lua", import.meta.url), "utf8"),
});

const scripted = {
  send: (commands, { player_id, connection_id }) =>
    commands.heartbeat(`peer:${player_id}`, ONLINE, TTL_MS, connection_id, player_id),
  presence: ({ player_id }, record) => {
    const { state, last_seen, version, connections } = JSON.parse(record);
    return { player_id, state, last_seen, version, connection_count: Object.keys(connections).length };
  },
};

const plain = {
  send: (commands, { player_id }) =>
    commands.set(`plain:${player_id}`, JSON.stringify({ state: "ONLINE", last_seen: Date.now() }), "PX", TTL_MS),
  presence: ({ player_id }) => ({ player_id, state: "ONLINE", last_seen: Date.now(), connection_count: 1 }),
};

const routes = { "/presence/heartbeat": scripted, "/plain/heartbeat": plain };

class Invalid extends Error {}

function validate(entry) {
  if (typeof entry?.player_id !== "string" || typeof entry?.connection_id !== "string") {
    throw new Invalid("player_id and connection_id are required");
  }
}

async function heartbeat(variant, entry) {
  validate(entry);
  return variant.presence(entry, await variant.send(redis, entry));
}

async function heartbeats(variant, entries) {
  entries.forEach(validate);
  const pipeline = redis.pipeline();
  for (const entry of entries) {
    variant.send(pipeline, entry);
  }
  const results = await pipeline.exec();
  const failed = entries.filter((_, index) => results[index][0]);
  return {
    accepted: entries.length - failed.length,
    failed,
    heartbeat_interval_ms: HEARTBEAT_INTERVAL_MS,
    ttl_ms: TTL_MS,
  };
}

function readBody(request) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => resolve(Buffer.concat(chunks).toString()));
    request.on("error", reject);
  });
}

async function handle(request) {
  const variant = routes[request.url];
  if (request.method !== "POST" || !variant) {
    return [404, { title: "not found" }];
  }
  try {
    const body = JSON.parse(await readBody(request));
    return [200, await (Array.isArray(body.connections) ? heartbeats(variant, body.connections) : heartbeat(variant, body))];
  } catch (error) {
    const isInvalid = error instanceof Invalid || error instanceof SyntaxError;
    return isInvalid ? [400, { title: error.message }] : [503, { title: "Redis failed" }];
  }
}

const server = createServer(async (request, response) => {
  const [status, result] = await handle(request);
  const body = JSON.stringify(result);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
});
server.listen(0, "127.0.0.1", () => console.log(`127.0.0.1:${server.address().port}`));
