// The server API: what must happen once, what does not come in order, and every way to ask.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import {
  API_KEY,
  Broker,
  configWith,
  KEPT_TOPICS,
  OPEN_TOPICS,
  sharedBroker,
} from "../support/broker.mjs";
import { callApi, Clients, post, result, subscribe } from "../support/clients.mjs";
import { connectionToken, SECRET, unixTime } from "../support/tokens.mjs";

const config = configWith({
  client: { expired_close_delay: "200ms" },
  namespaces: {
    kept: { ...KEPT_TOPICS, presence: true },
    plain: OPEN_TOPICS,
  },
  "client.token": { hmac_secret_key: SECRET },
});

describe("a backend", () => {
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
  let clients;
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());
  const call = (method, body) => callApi(shared.broker, method, body);
  const ask = (method, body) => result(shared.broker, method, body);
  const last = (channel) => ask("publish", { channel, data: "last" });
  const until = (listener, data) =>
    listener.inbox.until((items) => items.includes(data), `the publication ${data}`);

  test("that publishes the same again and again at a time publishes once", async () => {
    for (const topic of ["kept:once", "plain:once"]) {
      const listener = await subscribe(await clients.sdk(), topic);
      // Each has a connection of its own: fetch opens as many as there are requests.
      const repeat = (idempotency_key, data) =>
        Promise.all(
          Array.from({ length: 24 }, () =>
            ask("publish", { channel: topic, data, idempotency_key }),
          ),
        );
      const answers = await repeat("key one", 1);
      for (const answer of answers) assert.deepEqual(answer, answers[0]);
      await Promise.all([repeat("key two", 2), repeat("key one", 1)]);
      const other = { channel: topic, data: 3, idempotency_key: "key one" };
      assert.equal((await call("publish", other)).error.code, 113);
      await last(topic);
      assert.deepEqual(await until(listener, "last"), [1, 2, "last"]);
    }
  });

  test("that broadcasts the same again does so once in each topic", async () => {
    const channels = ["kept:cast1", "plain:cast2", "kept:cast3"];
    const client = await clients.sdk();
    const listeners = await Promise.all(channels.map((topic) => subscribe(client, topic)));
    const broadcast = (some) =>
      ask("broadcast", { channels: some, data: 1, idempotency_key: "cast" });
    const { responses } = await broadcast(channels.slice(0, 2));
    const again = await Promise.all(Array.from({ length: 8 }, () => broadcast(channels)));
    for (const one of again) assert.deepEqual(one.responses.slice(0, 2), responses);
    for (const channel of channels) await last(channel);
    for (const listener of listeners) {
      assert.deepEqual(await until(listener, "last"), [1, "last"]);
    }
  });

  test("publishes no version that is older than the last one", async () => {
    const topic = "kept:version";
    const listener = await subscribe(await clients.sdk(), topic);
    const publish = (version, version_epoch = "a") =>
      ask("publish", {
        channel: topic,
        data: `${version_epoch}${version}`,
        version,
        version_epoch,
      });
    const first = await publish(5);
    assert.equal(first.offset, 1);
    assert.deepEqual(await publish(5), first);
    assert.deepEqual(await publish(4), first);
    for (const version of [7, 6, 8]) await publish(version);
    for (const version of [1, 2, 2]) await publish(version, "b");
    await publish(2, "");
    await last(topic);
    assert.deepEqual(await until(listener, "last"), ["a5", "a7", "a8", "b1", "b2", "last"]);
  });

  test("learns where in its topic a publication stands", async () => {
    const first = await ask("publish", { channel: "kept:offset", data: 1 });
    assert.match(first.epoch, /^\S+$/);
    const second = await ask("publish", { channel: "kept:offset", data: 2 });
    assert.deepEqual([first.offset, second], [1, { offset: 2, epoch: first.epoch }]);
    const unkept = { channel: "kept:offset", data: 3, skip_history: true };
    assert.equal((await ask("publish", unkept)).offset ?? 0, 0);
    assert.deepEqual(await ask("publish", { channel: "plain:offset", data: 1 }), {});
    const { responses } = await ask("broadcast", {
      channels: ["kept:offset", "plain:offset", "nosuch:x"],
      data: 4,
    });
    assert.deepEqual(responses[0].result, { offset: 3, epoch: first.epoch });
    assert.deepEqual(responses[1], { result: {} });
    assert.equal(responses[2].error.code, 102);
  });

  test("reads a history as it wants", async () => {
    const channel = "kept:read";
    const token = connectionToken("author", { info: { a: 1 } });
    const author = await clients.sdk({ token });
    await author.publish(channel, "by a client");
    for (const data of [2, 3, 4]) await ask("publish", { channel, data, tags: { n: `${data}` } });
    const { offset, epoch, publications } = await ask("history", { channel });
    assert.deepEqual([offset, publications], [4, []]);
    const read = async (range) => (await ask("history", { channel, ...range })).publications;
    const [first, second] = await read({ limit: 2 });
    const { client } = author.context;
    const info = { user: "author", client, conn_info: { a: 1 } };
    assert.deepEqual(first, { data: "by a client", info, offset: 1 });
    assert.deepEqual(second, { data: 2, offset: 2, tags: { n: "2" } });
    const offsets = async (range) => (await read(range)).map((each) => each.offset);
    assert.deepEqual(await offsets({ limit: -1, since: { offset: 2, epoch } }), [3, 4]);
    assert.deepEqual(await offsets({ limit: 2, reverse: true }), [4, 3]);
    const since = { offset: 3, epoch };
    assert.deepEqual(await offsets({ limit: -1, reverse: true, since }), [2, 1]);
    const foreign = await call("history", { channel, limit: 1, since: { offset: 1, epoch: "x" } });
    assert.equal(foreign.error.code, 112);
    assert.equal((await call("history", { channel: "plain:x" })).error.code, 108);
  });

  test("sets when a connection expires, and the client is told", async () => {
    const raw = await clients.raw();
    raw.send({ id: 1, connect: { token: connectionToken("renewed") } });
    await raw.reply(1);
    const push = async (count) => {
      const pushes = (items) => items.flatMap(({ push }) => push?.refresh ?? []);
      const enough = (items) => pushes(items).length >= count;
      return pushes(await raw.inbox.until(enough, "a refresh push")).at(-1);
    };
    await ask("refresh", { user: "renewed", expire_at: unixTime(100) });
    const told = await push(1);
    assert.equal(told.expires, true);
    assert.ok(told.ttl > 90 && told.ttl <= 100);
    await ask("refresh", { user: "renewed" });
    assert.deepEqual(await push(2), {});
    await ask("refresh", { user: "renewed", expire_at: unixTime(-10) });
    assert.equal((await raw.end()).code, 3005);
  });

  test("asks for all in one batch", async () => {
    const channel = "kept:batch";
    const client = await clients.sdk();
    const listener = await subscribe(client, channel);
    const { replies } = await call("batch", {
      commands: [
        { publish: { channel, data: 1 } },
        { broadcast: { channels: [channel], data: 2 } },
        { history: { channel, limit: -1 } },
        { presence: { channel } },
        { presence_stats: { channel } },
        { channels: { pattern: channel } },
        { info: {} },
        { history_remove: { channel } },
        { history: { channel, limit: -1 } },
        { history: { channel: "plain:x" } },
        { nosuch: {} },
        { unsubscribe: { channel, user: "" } },
      ],
    });
    assert.equal(replies.length, 12);
    assert.equal(replies[0].publish.offset, 1);
    assert.equal(replies[1].broadcast.responses[0].result.offset, 2);
    assert.deepEqual(
      replies[2].history.publications.map(({ data }) => data),
      [1, 2],
    );
    assert.deepEqual(Object.keys(replies[3].presence.presence), [client.context.client]);
    assert.deepEqual(replies[4].presence_stats, { num_clients: 1, num_users: 1 });
    assert.deepEqual(replies[5].channels.channels, { [channel]: { num_clients: 1 } });
    assert.equal(replies[6].info.nodes.length, 1);
    assert.deepEqual(replies[7], { history_remove: {} });
    assert.deepEqual(replies[8].history.publications, []);
    assert.equal(replies[9].error.code, 108);
    assert.equal(replies[10].error.code, 104);
    assert.deepEqual(replies[11], { unsubscribe: {} });
    assert.equal((await listener.diary.entry("unsubscribed")).code, 2000);
  });

  test("can have errors as HTTP statuses", async () => {
    const mode = { "X-Centrifugo-Error-Mode": "transport" };
    const status = async (method, body) => {
      const response = await post(shared.broker, `/api/${method}`, JSON.stringify(body), mode);
      const { code, result: good } = await response.json();
      return [response.status, code ?? good];
    };
    assert.deepEqual(await status("publish", { channel: "plain:x", data: 1 }), [200, {}]);
    assert.deepEqual(await status("publish", { channel: "nosuch:x", data: 1 }), [404, 102]);
    assert.deepEqual(await status("publish", { channel: "plain:x" }), [400, 107]);
    assert.deepEqual(await status("history", { channel: "plain:x" }), [400, 108]);
    assert.deepEqual(await status("rpc", { method: "nosuch" }), [404, 104]);
    await ask("publish", { channel: "kept:mode", data: 1 });
    const since = { offset: 1, epoch: "another" };
    assert.deepEqual(
      await status("history", { channel: "kept:mode", limit: 1, since }),
      [416, 112],
    );
  });

  test("may ask as older versions did", async () => {
    const lines = [
      { id: 7, method: "publish", params: { channel: "plain:old", data: 1 } },
      { method: "publish", params: { channel: "nosuch:x", data: 1 } },
      { id: 9, method: "nosuch", params: {} },
      { method: "presence_stats", params: { channel: "kept:old" } },
    ];
    const listener = await subscribe(await clients.sdk(), "plain:old");
    const body = lines.map((line) => JSON.stringify(line)).join("\n");
    const text = await (await post(shared.broker, "/api", body)).text();
    const answers = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.equal(answers.length, 4);
    assert.deepEqual(answers[0], { id: 7, result: {} });
    assert.equal(answers[1].error.code, 102);
    assert.deepEqual([answers[2].id, answers[2].error.code], [9, 104]);
    assert.deepEqual(answers[3].result, { num_clients: 0, num_users: 0 });
    assert.deepEqual(await listener.inbox.count(1), [1]);
  });

  test("shows its key in any of three places", async () => {
    const status = async (path, headers) => {
      const options = { method: "POST", headers, body: "{}" };
      return (await fetch(shared.broker.http + path, options)).status;
    };
    assert.equal(await status("/api/info", { "X-API-Key": API_KEY }), 200);
    assert.equal(await status("/api/info", { Authorization: `apikey ${API_KEY}` }), 200);
    assert.equal(await status(`/api/info?api_key=${API_KEY}`, {}), 200);
    assert.equal(await status("/api/info", {}), 401);
    assert.equal(await status("/api/info", { "X-API-Key": `${API_KEY}x` }), 401);
    assert.equal(await status("/api", { Authorization: "apikey x" }), 401);
  });
});
