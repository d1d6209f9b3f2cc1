// Every subscriber hears every publication of its topics, once, in the one order of the topic.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { sharedBroker } from "../support/broker.mjs";
import { callApi, Clients, subscribe } from "../support/clients.mjs";

const range = (count) => Array.from({ length: count }, (_, index) => index);

/** What `publisher` said, of all that came. */
const saidBy = (items, publisher) =>
  items.filter((item) => item.publisher === publisher).map((item) => item.sequence);

describe("order", () => {
  const shared = sharedBroker({ before, after });
  let clients;
  beforeEach(() => (clients = new Clients(shared.broker)));
  afterEach(() => clients.close());

  test("100 subscribers, 5 topics, 6 publishers: each hears all, once, in one order", async () => {
    const topics = range(5).map((index) => `order${index}`);
    const perPublisher = 40;
    const subscriptions = await Promise.all(
      range(100).map(async (index) => {
        const client = await clients.sdk();
        const mine = [topics[index % 5], topics[(index + 1) % 5]];
        return Promise.all(mine.map((topic) => subscribe(client, topic)));
      }),
    );
    const speakers = await Promise.all(range(5).map(() => clients.sdk()));
    const publications = speakers.flatMap((client, publisher) =>
      topics.flatMap((topic) =>
        range(perPublisher).map((sequence) => client.publish(topic, { publisher, sequence })),
      ),
    );
    const backend = async (topic) => {
      for (const sequence of range(perPublisher)) {
        const data = { publisher: "backend", sequence };
        assert.deepEqual(await callApi(shared.broker, "publish", { channel: topic, data }), {
          result: {},
        });
      }
    };
    await Promise.all([...publications, ...topics.map(backend)]);

    const expected = perPublisher * (speakers.length + 1);
    const orders = new Map();
    for (const subscription of subscriptions.flat()) {
      const items = await subscription.inbox.count(expected);
      assert.equal(items.length, expected);
      for (const publisher of [...speakers.keys(), "backend"]) {
        assert.deepEqual(saidBy(items, publisher), range(perPublisher));
      }
      const order = orders.get(subscription.channel) ?? items;
      assert.deepEqual(items, order, `one order in ${subscription.channel}`);
      orders.set(subscription.channel, order);
    }
    assert.equal(orders.size, topics.length);
  });

  test("who subscribes while others speak hears from some point on without a gap", async () => {
    const total = 600;
    const speaker = await clients.sdk();
    const listeners = await Promise.all(range(30).map(() => clients.raw()));
    listeners.forEach((listener) => listener.send({ id: 1, connect: {} }));
    await Promise.all(listeners.map((listener) => listener.reply(1)));
    for (const sequence of range(total)) {
      if (sequence % 20 === 0) {
        listeners[sequence / 20].send({ id: 2, subscribe: { channel: "busy" } });
      }
      const said = speaker.publish("busy", sequence);
      if (sequence % 5 === 0) await said;
    }
    await Promise.all(listeners.map((listener) => listener.reply(2)));
    await speaker.publish("busy", total);

    const isLast = (message) => message.push?.pub.data === total;
    for (const listener of listeners) {
      const messages = await listener.inbox.until((all) => all.some(isLast), "the last one");
      assert.equal(messages[0].id, 1);
      assert.deepEqual(messages[1], { id: 2, subscribe: {} }, "the reply comes first");
      const heard = messages.slice(2).map((message) => message.push.pub.data);
      assert.deepEqual(heard, range(total + 1).slice(heard[0]));
    }
  });

  test("the publisher hears its publication before the reply to it", async () => {
    const client = await clients.raw();
    client.send({ id: 1, connect: {} }, { id: 2, subscribe: { channel: "echo" } });
    await client.reply(2);
    for (const id of range(50).map((index) => index + 3)) {
      client.send({ id, publish: { channel: "echo", data: id } });
    }
    await client.reply(52);
    const seen = client.inbox.items.slice(2).map((message) => message.push?.pub.data ?? message.id);
    assert.equal(seen.length, 100);
    for (const id of range(50).map((index) => index + 3)) {
      assert.ok(seen.indexOf(id) < seen.lastIndexOf(id));
    }
    assert.deepEqual(
      client.inbox.items.filter((message) => message.push).map((message) => message.push.pub.data),
      range(50).map((index) => index + 3),
    );
    assert.deepEqual(
      client.inbox.items.slice(2).filter((message) => message.id).map((message) => message.id),
      range(50).map((index) => index + 3),
    );
  });
});
