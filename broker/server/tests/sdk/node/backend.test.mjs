// What a backend does through the server API, as the clients see it.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { sharedBroker } from "../support/broker.mjs";
import { callApi, Clients, subscribe } from "../support/clients.mjs";
import { event, eventually } from "../support/wait.mjs";

describe("a backend", () => {
  const shared = sharedBroker({ before, after });
  let clients;
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());
  const call = (method, body) => callApi(shared.broker, method, body);

  test("publishes, and the payload arrives as it was", async () => {
    const subscription = await subscribe(await clients.sdk(), "pub");
    const heard = event(subscription, "publication");
    const data = { text: "ü\n😀", nested: [1, { a: null }] };
    assert.deepEqual(await call("publish", { channel: "pub", data }), { result: {} });
    const { data: got, info } = await heard;
    assert.deepEqual(got, data);
    assert.equal(info, undefined, "a backend's publication has no client");
  });

  test("sends tags and base64 data", async () => {
    const subscription = await subscribe(await clients.sdk(), "tagged");
    const heard = event(subscription, "publication");
    const b64data = Buffer.from('{"b":64}').toString("base64");
    await call("publish", { channel: "tagged", b64data, tags: { kind: "test" } });
    const { data, tags } = await heard;
    assert.deepEqual(data, { b: 64 });
    assert.deepEqual(tags, { kind: "test" });
  });

  test("broadcasts into many topics and learns of each how it went", async () => {
    const client = await clients.sdk();
    const topics = ["cast1", "cast2", "cast3"];
    const subscriptions = await Promise.all(topics.map((topic) => subscribe(client, topic)));
    const channels = ["cast1", "nosuch:x", "cast2", "cast3"];
    const { result } = await call("broadcast", { channels, data: "all" });
    assert.equal(result.responses.length, 4);
    assert.deepEqual(result.responses[0], { result: {} });
    assert.equal(result.responses[1].error.code, 102);
    assert.deepEqual(result.responses[3], { result: {} });
    for (const subscription of subscriptions) {
      assert.deepEqual(await subscription.inbox.count(1), ["all"]);
    }
  });

  test("sends a batch, whose commands are answered in order", async () => {
    const subscription = await subscribe(await clients.sdk(), "batch");
    const publish = (data) => ({ publish: { channel: "batch", data } });
    const { replies } = await call("batch", {
      commands: [publish(1), publish(2), { publish: { channel: "nosuch:x", data: 1 } }, publish(3)],
    });
    assert.equal(replies.length, 4);
    assert.deepEqual(replies[0], { publish: {} });
    const refused = replies[2].error ?? replies[2].publish?.error;
    assert.equal(refused?.code, 102);
    assert.deepEqual(await subscription.inbox.count(3), [1, 2, 3]);
  });

  test("learns of refusals", async () => {
    const refusal = async (method, body) => (await call(method, body)).error?.code;
    assert.equal(await refusal("publish", { data: 1 }), 107);
    assert.equal(await refusal("publish", { channel: "x" }), 107);
    assert.equal(await refusal("publish", { channel: "nosuch:x", data: 1 }), 102);
    assert.equal(await refusal("broadcast", { channels: [], data: 1 }), 107);
    assert.equal(await refusal("unsubscribe", { channel: "", user: "" }), 107);
  });

  test("counts connections and topics", async () => {
    const count = 12;
    const open = await Promise.all(Array.from({ length: count }, () => clients.sdk()));
    await Promise.all(open.map((client, index) => subscribe(client, `count${index % 3}`)));
    const info = async () => (await call("info")).result.nodes[0];
    const counted = (node) => node.num_clients === count && node.num_channels === 3;
    const node = await eventually(info, counted, "info counts 12 clients and 3 topics");
    assert.equal(node.num_subs, count);
    assert.equal(typeof node.uid, "string");
    assert.equal(typeof node.version, "string");
    assert.ok(node.uptime >= 0);

    const all = async () => (await call("channels")).result.channels;
    const four = { num_clients: 4 };
    assert.deepEqual(await all(), { count0: four, count1: four, count2: four });
    const some = await call("channels", { pattern: "*2" });
    assert.deepEqual(some.result.channels, { count2: four });

    clients.close();
    await eventually(info, (left) => (left.num_clients ?? 0) === 0, "nobody is left");
    await eventually(all, (left) => Object.keys(left).length === 0, "no topic is left");
  });

  test("disconnects one client for good and no other", async () => {
    const [bad, good] = [await clients.sdk(), await clients.sdk()];
    const atGood = await subscribe(good, "stays");
    const gone = event(bad, "disconnected");
    const client = bad.context.client;
    assert.deepEqual(await call("disconnect", { user: "", client }), { result: {} });
    const { code, reason } = await gone;
    assert.deepEqual({ code, reason }, { code: 3503, reason: "force disconnect" });
    await call("publish", { channel: "stays", data: 1 });
    assert.deepEqual(await atGood.inbox.count(1), [1]);
    assert.equal(good.state, "connected");
  });

  test("disconnects with a code that lets the client come back", async () => {
    const client = await clients.sdk();
    const subscription = await subscribe(client, "returns");
    const left = event(client, "connecting");
    const back = event(subscription, "subscribed");
    const disconnect = { code: 4001, reason: "move" };
    await call("disconnect", { user: "", client: client.context.client, disconnect });
    assert.equal((await left).code, 4001);
    await back;
    await call("publish", { channel: "returns", data: 1 });
    assert.deepEqual(await subscription.inbox.count(1), [1]);
  });

  test("disconnects a whole user but for the whitelist", async () => {
    const open = await Promise.all(Array.from({ length: 6 }, () => clients.sdk()));
    const [kept, ...others] = open;
    const gone = Promise.all(others.map((client) => event(client, "disconnected")));
    await call("disconnect", { user: "", whitelist: [kept.context.client] });
    for (const { code } of await gone) assert.equal(code, 3503);
    assert.equal(kept.state, "connected");
    const subscription = await subscribe(kept, "whitelist");
    await call("publish", { channel: "whitelist", data: 1 });
    assert.deepEqual(await subscription.inbox.count(1), [1]);
  });

  test("ends one subscription of one client", async () => {
    const [alice, bob] = [await clients.sdk(), await clients.sdk()];
    const [atAlice, atBob] = [await subscribe(alice, "cut"), await subscribe(bob, "cut")];
    const other = await subscribe(alice, "other");
    const cut = event(atAlice, "unsubscribed");
    const client = alice.context.client;
    const answer = await call("unsubscribe", { channel: "cut", user: "", client });
    assert.deepEqual(answer, { result: {} });
    const { code, reason } = await cut;
    assert.deepEqual({ code, reason }, { code: 2000, reason: "server unsubscribe" });
    await call("publish", { channel: "cut", data: 1 });
    await call("publish", { channel: "other", data: 2 });
    assert.deepEqual(await atBob.inbox.count(1), [1]);
    assert.deepEqual(await other.inbox.count(1), [2]);
    assert.deepEqual(atAlice.inbox.items, []);
  });

  test("ends the subscriptions of a user on every shard", async () => {
    const open = await Promise.all(Array.from({ length: 16 }, () => clients.sdk()));
    const all = await Promise.all(open.map((client) => subscribe(client, "everybody")));
    const cut = Promise.all(all.map((subscription) => event(subscription, "unsubscribed")));
    await call("unsubscribe", { channel: "everybody", user: "" });
    for (const { code } of await cut) assert.equal(code, 2000);
  });
});
