// What a client may not do, how many it may be, and topics that are a user's own.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, OPEN_TOPICS, sharedBroker } from "../support/broker.mjs";
import { Clients, result, subscribe, subscribing } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import { connectionToken, SECRET } from "../support/tokens.mjs";

const tokens = { "client.token": { hmac_secret_key: SECRET } };
const personal = (options) => ({ "client.personal_topic": { enabled: true, ...options } });
const namespaces = {
  open: OPEN_TOPICS,
  limited: { ...OPEN_TOPICS, allow_user_limited_channels: true },
  closed: {},
  regex: { ...OPEN_TOPICS, channel_regex: "^[a-zä]+$" },
  objects: { ...OPEN_TOPICS, publication_data_format: "json_object" },
  tagged: { ...OPEN_TOPICS, allow_tags_filter: true },
  user: { ...OPEN_TOPICS, presence: true },
};

for (const form of FORMS) {
  describe(`limits, ${form.name}`, () => {
    const config = configWith({
      client: { topics_max: 100, rpc_ping: true },
      namespaces,
      ...tokens,
    });
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let clients;
    beforeEach(() => (clients = new Clients(shared.broker)));
    afterEach(() => clients.close());
    const user = (name) => clients.sdk({ form, token: connectionToken(name) });
    const refusal = async (client, topic, options) =>
      (await subscribing(client, topic, options).diary.entry("unsubscribed")).code;

    test("a connection has a hundred topics, and not one more", async () => {
      const client = await clients.sdk({ form });
      const topics = Array.from({ length: 100 }, (_, index) => `open:many${index}`);
      const all = await Promise.all(topics.map((topic) => subscribe(client, topic)));
      await result(shared.broker, "broadcast", { channels: topics, data: "to all" });
      for (const one of all) assert.deepEqual(await one.inbox.count(1), ["to all"]);
      assert.equal(await refusal(client, "open:one-more"), 106);
      all[0].unsubscribe();
      await subscribe(client, "open:another");
    });

    test("what is not defined or not allowed is refused, and the client lives on", async () => {
      const client = await clients.sdk({ form });
      assert.equal(await refusal(client, "nosuch:x"), 102);
      assert.equal(await refusal(client, "closed:x"), 103);
      assert.equal(await refusal(client, "$open:x"), 103);
      assert.equal(await refusal(client, "open:ü"), 107);
      assert.equal(await refusal(client, "regex:A1"), 107);
      assert.equal(await refusal(client, `open:${"x".repeat(255)}`), 107);
      await subscribe(client, "regex:äz");
      await assert.rejects(client.publish("closed:x", form.encode(1)), { code: 103 });
      await assert.rejects(client.publish("objects:x", form.encode([1])), { code: 107 });
      await client.publish("objects:x", form.encode({ a: 1 }));
      assert.equal(client.state, "connected");
    });

    test("a topic names the users that may enter", async () => {
      const [alice, carol, nobody] = [
        await user("alice"),
        await user("carol"),
        await clients.sdk({ form }),
      ];
      await subscribe(alice, "limited:room#alice,bob");
      assert.equal(await refusal(carol, "limited:room#alice,bob"), 103);
      assert.equal(await refusal(nobody, "limited:room#"), 103);
      assert.equal(await refusal(nobody, "limited:room#alice,"), 103);
      await subscribe(await user("bob"), "limited:room#alice,bob");
    });

    test("calls that nobody answers are refused", async () => {
      const client = await clients.sdk({ form });
      await client.rpc("ping", form.encode({}));
      await assert.rejects(client.rpc("method", form.encode({})), { code: 108 });
      assert.equal(client.state, "connected");
      const stranger = await clients.sdk({ form });
      stranger.send(form.encode({ a: 1 })).catch(() => {});
      assert.equal((await stranger.diary.entry("disconnected")).code, 3508);
    });

    test("a filter lets through what bears the tags, and nothing else", async () => {
      const client = await clients.sdk({ form });
      const tagsFilter = {
        op: "and",
        nodes: [
          { key: "kind", cmp: "in", vals: ["goal", "tor"] },
          { op: "not", nodes: [{ key: "minute", cmp: "lt", val: "9.5" }] },
        ],
      };
      const filtered = await subscribe(client, "tagged:match", { tagsFilter });
      const all = await subscribe(await clients.sdk({ form }), "tagged:match");
      const publications = [
        [1, { kind: "goal", minute: "10" }],
        [2, { kind: "goal", minute: "9" }],
        [3, { kind: "foul", minute: "10" }],
        [4, {}],
        [5, { kind: "tor", minute: "90" }],
      ];
      for (const [data, tags] of publications) {
        await result(shared.broker, "publish", { channel: "tagged:match", data, tags });
      }
      assert.deepEqual(await all.inbox.count(5), [1, 2, 3, 4, 5]);
      assert.deepEqual(await filtered.inbox.count(2), [1, 5]);
      assert.equal(await refusal(client, "open:x", { tagsFilter }), 107);
      const wrong = { key: "", cmp: "eq", val: "x" };
      assert.equal(await refusal(client, "tagged:wrong", { tagsFilter: wrong }), 107);
    });
  });

  describe(`users and their connections, ${form.name}`, () => {
    const start = (config) => sharedBroker({ before, after }, () => Broker.serve({ config }));
    const many = start(
      configWith({ client: { user_connections_max: 3 }, namespaces, ...tokens, ...personal({}) }),
    );
    const single = { namespace: "user", single_connection: true };
    const one = start(configWith({ namespaces, ...tokens, ...personal(single) }));

    test("have a topic of their own", async (context) => {
      const clients = Clients.of(many.broker, context);
      const alice = await clients.sdk({ form, token: connectionToken("alice") });
      await clients.sdk({ form, token: connectionToken("bob") });
      assert.equal((await alice.diary.entry("subscribed")).channel, "#alice");
      const channel = "#alice";
      await result(many.broker, "publish", { channel, data: { to: "alice" } });
      const heard = await alice.diary.entry("publication");
      assert.deepEqual([heard.channel, form.decode(heard.data)], [channel, { to: "alice" }]);
      const nobody = await clients.sdk({ form });
      assert.deepEqual(nobody.diary.all("subscribed"), []);
    });

    test("may be so many, and no more", async (context) => {
      const clients = Clients.of(many.broker, context);
      const connect = () => clients.sdk({ form, token: connectionToken("dora") });
      const open = [await connect(), await connect(), await connect()];
      const surplus = clients.sdkIdle({ form, token: connectionToken("dora") });
      surplus.connect();
      assert.equal((await surplus.diary.entry("disconnected")).code, 3504);
      await clients.sdk({ form, token: connectionToken("emil") });
      assert.ok(open.every(({ state }) => state === "connected"));
      // Once the broker has seen one leave, there is room.
      open[0].disconnect();
      for (let state = ""; state !== "connected";) {
        const next = clients.sdkIdle({ form, token: connectionToken("dora") });
        next.connect();
        const ended = ({ name }) => name === "connected" || name === "disconnected";
        const told = await next.diary.until((items) => items.some(ended), "it is in or out");
        state = told.find(ended).name;
      }
    });

    test("may be one only, the newest", async (context) => {
      const clients = Clients.of(one.broker, context);
      const connect = async () => {
        const client = await clients.sdk({ form, token: connectionToken("frank") });
        assert.equal((await client.diary.entry("subscribed")).channel, "user:#frank");
        return client;
      };
      const open = [await connect()];
      for (let time = 0; time < 4; time += 1) {
        open.push(await connect());
        assert.equal((await open[time].diary.entry("disconnected")).code, 3504);
      }
      await result(one.broker, "publish", { channel: "user:#frank", data: 1 });
      await open.at(-1).diary.entry("publication");
      const stats = await result(one.broker, "presence_stats", { channel: "user:#frank" });
      assert.deepEqual(stats, { num_clients: 1, num_users: 1 });
    });
  });
}
