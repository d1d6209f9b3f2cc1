// A broker that is stopped says so, and its clients find the next one.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Broker } from "../support/broker.mjs";
import { callApi, Clients, subscribe } from "../support/clients.mjs";
import { event, within } from "../support/wait.mjs";

test("SIGTERM closes with 3001, and the SDK resumes at the next broker", async () => {
  const first = await Broker.serve();
  const clients = new Clients(first);
  const client = await clients.sdk();
  const subscription = await subscribe(client, "resume");
  const raw = await clients.raw();
  raw.send({ id: 1, connect: {} });
  await raw.reply(1);

  const lost = event(client, "connecting");
  await first.stop();
  assert.equal((await lost).code, 3001);
  assert.deepEqual(await raw.end(), { code: 3001, reason: "shutdown" });

  const back = event(subscription, "subscribed");
  const second = await Broker.serve({ port: first.port });
  await back;
  await callApi(second, "publish", { channel: "resume", data: "hello again" });
  assert.deepEqual(await subscription.inbox.count(1), ["hello again"]);
  clients.close();
  await second.stop();
});

test("SIGTERM lets many clients go at once and ends with 0", async () => {
  const broker = await Broker.dev();
  const clients = new Clients(broker);
  const open = await Promise.all(Array.from({ length: 200 }, () => clients.raw()));
  open.forEach((client) => client.send({ id: 1, connect: {} }));
  await Promise.all(open.map((client) => client.reply(1)));
  // Publications that were answered before the signal have arrived; see the next test.
  await broker.stop();
  for (const client of open) assert.equal((await client.end()).code, 3001);
  clients.close();
});

test("what was answered before the end has been delivered", async () => {
  const broker = await Broker.dev();
  const clients = new Clients(broker);
  const listener = await clients.raw();
  listener.send({ id: 1, connect: {} }, { id: 2, subscribe: { channel: "last" } });
  await listener.reply(2);
  const publish = (data) => callApi(broker, "publish", { channel: "last", data });
  const answered = [];
  let ending = false;
  const speak = async (name) => {
    for (let sequence = 0; !ending; sequence += 1) {
      const answer = await publish({ name, sequence }).catch(() => null);
      if (answer === null) return;
      if (answer.result) answered.push(`${name}/${sequence}`);
      if (answered.length === 200) ending = Boolean(broker.process.kill("SIGTERM"));
    }
  };
  await Promise.all(["a", "b", "c", "d"].map(speak));
  await within(broker.ended, "the broker ends");
  assert.equal((await listener.end()).code, 3001);
  const heard = listener.inbox.items
    .filter((message) => message.push)
    .map(({ push }) => `${push.pub.data.name}/${push.pub.data.sequence}`);
  assert.equal(new Set(heard).size, heard.length, "nothing twice");
  const lost = answered.filter((id) => !heard.includes(id));
  assert.deepEqual(lost, []);
  clients.close();
  await broker.stop();
});
