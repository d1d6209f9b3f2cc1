// The npm SDK in Node: what an application does every day.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, OPEN_CONFIG, sharedBroker } from "../support/broker.mjs";
import { Clients, subscribe } from "../support/clients.mjs";
import { event } from "../support/wait.mjs";

let clients;

describe("a client of the npm SDK", () => {
  const shared = sharedBroker({ before, after });
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());

  test("connects and learns its id, the version and the ping interval", async () => {
    const client = await clients.sdk();
    assert.match(client.context.client, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab]/);
    assert.equal(client.context.transport, "websocket");
    const raw = await clients.raw();
    raw.send({ id: 1, connect: {} });
    const { connect } = await raw.reply(1);
    assert.equal(connect.ping, 25);
    assert.equal(connect.pong, true);
    assert.equal(typeof connect.version, "string");
    assert.notEqual(connect.client, client.context.client);
  });

  test("hears its own and the others' publications", async () => {
    const [alice, bob] = [await clients.sdk(), await clients.sdk()];
    const atAlice = await subscribe(alice, "talk");
    const atBob = await subscribe(bob, "talk");
    await atAlice.publish({ from: "alice" });
    await atBob.publish({ from: "bob" });
    const expected = [{ from: "alice" }, { from: "bob" }];
    assert.deepEqual(await atAlice.inbox.count(2), expected);
    assert.deepEqual(await atBob.inbox.count(2), expected);
  });

  test("is told who published", async () => {
    const [alice, bob] = [await clients.sdk(), await clients.sdk()];
    const atBob = await subscribe(bob, "who");
    const heard = event(atBob, "publication");
    await alice.publish("who", 1);
    const { info } = await heard;
    assert.equal(info.client, alice.context.client);
    assert.equal(info.user, "");
  });

  test("gets every kind of JSON value as it was sent", async () => {
    const client = await clients.sdk();
    const subscription = await subscribe(client, "values");
    const text = "\n\u0000\u2028ü😀";
    const values = [null, 0, -1.5e300, "", text, [], {}, true, { a: [{ b: null }] }];
    for (const value of values) await client.publish("values", value);
    assert.deepEqual(await subscription.inbox.count(values.length), values);
  });

  test("hears nothing of a topic that it left, and all of it after it came back", async () => {
    const [alice, bob] = [await clients.sdk(), await clients.sdk()];
    const atAlice = await subscribe(alice, "left");
    const atBob = await subscribe(bob, "left");
    await bob.publish("left", "before");
    await atAlice.inbox.count(1);
    const left = event(atAlice, "unsubscribed");
    atAlice.unsubscribe();
    assert.equal((await left).code, 0);
    for (let index = 0; index < 20; index += 1) await bob.publish("left", index);
    await atBob.inbox.count(21);
    const back = event(atAlice, "subscribed");
    atAlice.subscribe();
    await back;
    await bob.publish("left", "after");
    assert.deepEqual(await atAlice.inbox.count(2), ["before", "after"]);
  });

  test("subscribes in the frame of its connect command", async () => {
    const client = clients.sdkIdle();
    const subscription = client.newSubscription("early");
    const subscribed = event(subscription, "subscribed");
    subscription.subscribe();
    client.connect();
    await subscribed;
    const heard = event(subscription, "publication");
    await client.publish("early", "x");
    assert.equal((await heard).data, "x");
  });

  test("comes back to its topics after it disconnected by itself", async () => {
    const client = await clients.sdk();
    const subscription = await subscribe(client, "again");
    const gone = event(client, "disconnected");
    client.disconnect();
    await gone;
    const back = event(subscription, "subscribed");
    client.connect();
    await back;
    await client.publish("again", 1);
    assert.deepEqual(await subscription.inbox.count(1), [1]);
  });

  test("learns that a namespace is unknown", async () => {
    const client = await clients.sdk();
    await assert.rejects(client.publish("nosuch:x", {}), { code: 102 });
    const subscription = client.newSubscription("nosuch:x");
    const refused = event(subscription, "unsubscribed");
    subscription.subscribe();
    assert.equal((await refused).code, 102);
  });

  test("learns that presence, history and rpc are not available, and lives on", async () => {
    const client = await clients.sdk();
    await subscribe(client, "plain");
    await assert.rejects(client.presence("plain"), { code: 108 });
    await assert.rejects(client.presenceStats("plain"), { code: 108 });
    await assert.rejects(client.history("plain", { limit: 1 }), { code: 108 });
    await assert.rejects(client.rpc("method", {}), { code: 108 });
    assert.equal(client.state, "connected");
  });

  test("is closed for good with 3508 when it sends a message nobody takes", async () => {
    const client = await clients.sdk();
    const gone = event(client, "disconnected");
    await client.send({ a: 1 });
    assert.equal((await gone).code, 3508);
  });
});

describe("permissions", () => {
  const topics = { ...OPEN_CONFIG.topics, allow_publish_for_client: false };
  const config = {
    ...OPEN_CONFIG,
    topics: { ...topics, allow_publish_for_subscriber: true },
    "namespaces.news": { ...topics, allow_subscribe_for_client: true },
    "namespaces.closed": {},
  };
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());

  test("of a namespace are its own, not those of other topics", async () => {
    const client = await clients.sdk();
    await subscribe(client, "news:today");
    await assert.rejects(client.publish("news:today", {}), { code: 103 });
    const closed = client.newSubscription("closed:x");
    const refused = event(closed, "unsubscribed");
    closed.subscribe();
    assert.equal((await refused).code, 103);
  });

  test("to publish may depend on the subscription", async () => {
    const client = await clients.sdk();
    await assert.rejects(client.publish("room", {}), { code: 103 });
    const subscription = await subscribe(client, "room");
    await subscription.publish({ ok: 1 });
    assert.deepEqual(await subscription.inbox.count(1), [{ ok: 1 }]);
  });
});

describe("a broker without anonymous clients", () => {
  const config = { ...OPEN_CONFIG, client: { anonymous: false, allowed_origins: ["*"] } };
  const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));

  test("closes a client without a token with 3501, and the SDK does not come back", async () => {
    clients = new Clients(shared.broker);
    const client = clients.sdkIdle();
    const gone = event(client, "disconnected");
    client.connect();
    assert.equal((await gone).code, 3501);
    clients.close();
  });
});
