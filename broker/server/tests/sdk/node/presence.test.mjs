// Who is there, who comes and who goes, as the npm SDK tells it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, OPEN_TOPICS, sharedBroker } from "../support/broker.mjs";
import { callApi, Clients, result, subscribe } from "../support/clients.mjs";
import { FORMS } from "../support/encodings.mjs";
import { Proxy } from "../support/proxy.mjs";
import { connectionToken, SECRET } from "../support/tokens.mjs";
import { eventually, Inbox, LIMIT_MS } from "../support/wait.mjs";

const PRESENT = { ...OPEN_TOPICS, presence: true, join_leave: true };
const config = configWith({
  namespaces: {
    told: { ...PRESENT, force_push_join_leave: true },
    asked: PRESENT,
    members: {
      ...PRESENT,
      allow_presence_for_client: false,
      allow_presence_for_subscriber: true,
    },
    secret: { ...PRESENT, allow_presence_for_client: false },
    plain: OPEN_TOPICS,
  },
  "client.token": { hmac_secret_key: SECRET },
});

for (const form of FORMS) {
  describe(`presence, ${form.name}`, () => {
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let clients;
    beforeEach(() => (clients = new Clients(shared.broker)));
    afterEach(() => clients.close());
    const user = (name, info) =>
      clients.sdk({ form, token: connectionToken(name, info ? { info } : {}) });
    const presence = async (channel) =>
      (await result(shared.broker, "presence", { channel })).presence;

    test("names every subscriber, with what its token says of it", async () => {
      const topic = "asked:names";
      const open = [await user("alice", { a: "Ä" }), await user("alice"), await user("bob")];
      const subscriptions = await Promise.all(open.map((client) => subscribe(client, topic)));
      const { clients: there } = await subscriptions[0].presence();
      assert.deepEqual(
        Object.keys(there).toSorted(),
        open.map((one) => one.context.client).toSorted(),
      );
      const alice = there[open[0].context.client];
      assert.equal(alice.user, "alice");
      assert.deepEqual(form.decode(alice.connInfo ?? alice.conn_info), { a: "Ä" });
      assert.deepEqual(await subscriptions[0].presenceStats(), { numClients: 3, numUsers: 2 });
      const stats = await result(shared.broker, "presence_stats", { channel: topic });
      assert.deepEqual(stats, { num_clients: 3, num_users: 2 });

      subscriptions[1].unsubscribe();
      await eventually(
        () => presence(topic),
        (now) => Object.keys(now).length === 2,
        "one is gone",
      );
      open[0].disconnect();
      const left = await eventually(
        () => presence(topic),
        (now) => Object.keys(now).length === 1,
        "two are gone",
      );
      assert.equal(Object.values(left)[0].user, "bob");
    });

    test("is for those who may see it", async () => {
      const [member, stranger] = [await user("member"), await user("stranger")];
      const subscription = await subscribe(member, "members:only");
      const { numClients } = await subscription.presenceStats();
      assert.equal(numClients, 1);
      await assert.rejects(stranger.presence("members:only"), { code: 103 });
      await assert.rejects(stranger.presenceStats("secret:x"), { code: 103 });
      await assert.rejects(stranger.presence("plain:x"), { code: 108 });
      await assert.rejects(stranger.presence("nosuch:x"), { code: 102 });
      const { error } = await callApi(shared.broker, "presence", { channel: "plain:x" });
      assert.equal(error.code, 108);
    });

    test("tells of everybody who comes and goes", async () => {
      const topic = "told:all";
      const watcher = await subscribe(await user("watcher"), topic);
      assert.equal((await watcher.diary.entry("join")).info.user, "watcher");
      for (let round = 1; round <= 3; round += 1) {
        const guest = await user(`guest${round}`, { round });
        const visit = await subscribe(guest, topic);
        const joined = await watcher.diary.entry("join", round);
        assert.equal(joined.info.client, guest.context.client);
        assert.equal(joined.info.user, `guest${round}`);
        assert.deepEqual(form.decode(joined.info.connInfo), { round });
        if (round === 1) visit.unsubscribe();
        else guest.disconnect();
        const left = await watcher.diary.entry("leave", round - 1);
        assert.equal(left.info.client, guest.context.client);
        assert.equal(visit.diary.all("leave").length, 0, "who leaves does not hear of it");
      }
      const names = watcher.diary.items.map(({ name }) => name).slice(2);
      assert.deepEqual(names, ["join", ...Array(3).fill(["join", "leave"]).flat()]);
    });

    test("tells those who ask, and no others", async () => {
      const topic = "asked:joins";
      const asking = await subscribe(await user("asking"), topic, { joinLeave: true });
      const silent = await subscribe(await user("silent"), topic);
      const guest = await subscribe(await user("guest"), topic);
      await asking.diary.entry("join", 2);
      guest.unsubscribe();
      assert.equal((await asking.diary.entry("leave")).info.user, "guest");
      await result(shared.broker, "publish", { channel: topic, data: 1 });
      await silent.inbox.count(1);
      assert.deepEqual([silent.diary.all("join"), silent.diary.all("leave")], [[], []]);
    });

    test("forgets a client whose socket is gone without a goodbye", async () => {
      const topic = "told:vanish";
      const watcher = await subscribe(await user("watcher"), topic);
      const lost = [];
      for (let index = 0; index < 8; index += 1) {
        const raw = await clients.raw();
        const token = connectionToken(`lost${index}`);
        raw.send({ id: 1, connect: { token } }, { id: 2, subscribe: { channel: topic } });
        await raw.reply(2);
        lost.push(raw);
      }
      await watcher.diary.entry("join", 8);
      for (const raw of lost) raw.socket.terminate();
      await watcher.diary.entry("leave", 7);
      const left = watcher.diary.all("leave").map(({ info }) => info.user);
      assert.deepEqual(
        left.toSorted(),
        lost.map((_, index) => `lost${index}`),
      );
      const users = Object.values(await presence(topic)).map((info) => info.user);
      assert.deepEqual(users, ["watcher"]);
    });

    test("is right after much coming and going", async (context) => {
      const topic = "told:rush";
      const proxy = await Proxy.start(shared.broker.port);
      context.after(() => proxy.stop());
      const watcher = await subscribe(await user("watcher"), topic);
      const guests = [];
      const returns = new Inbox();
      for (let number = 0; number < 20; number += 1) {
        const token = connectionToken(`guest${number}`);
        const guest = await clients.sdk({ form, token, through: proxy });
        const visit = await subscribe(guest, topic);
        visit.on("subscribed", () => returns.push(number));
        guests.push({ guest, visit });
      }
      for (let time = 0; time < 20; time += 1) {
        proxy.cut();
        // Only some of them are back when it is cut again.
        await returns.count(returns.items.length + 5);
      }
      for (const { visit } of guests) await visit.ready(LIMIT_MS);
      const living = guests.map(({ guest }) => guest.diary.all("connected").at(-1).client);
      living.push(watcher.diary.all("join")[0].info.client);
      const ids = async () => Object.keys(await presence(topic)).toSorted();
      const same = (now) => JSON.stringify(now) === JSON.stringify(living.toSorted());
      await eventually(ids, same, "they are those that live");

      // What the watcher was told comes by another way than the backend's answer.
      const told = (name) => watcher.diary.all(name).map(({ info }) => info.client);
      const there = () => {
        const left = new Set(told("leave"));
        return told("join")
          .filter((client) => !left.has(client))
          .toSorted();
      };
      await watcher.diary.until(() => same(there()), "it is told of those that live");
      for (const name of ["join", "leave"]) {
        assert.equal(new Set(told(name)).size, told(name).length, `no ${name} twice`);
      }
    });

    test("keeps a client that comes back once, under its new id", async () => {
      const topic = "told:back";
      const watcher = await subscribe(await user("watcher"), topic);
      const guest = await user("guest");
      const visit = await subscribe(guest, topic);
      const disconnect = { code: 4001, reason: "move" };
      for (let time = 1; time <= 5; time += 1) {
        const { client } = guest.diary.all("connected").at(-1);
        await result(shared.broker, "disconnect", { user: "guest", client, disconnect });
        await visit.diary.entry("subscribed", time);
      }
      await watcher.diary.entry("join", 6);
      await watcher.diary.entry("leave", 4);
      const ids = Object.values(await presence(topic)).map(({ client }) => client);
      const now = guest.diary.all("connected").at(-1).client;
      const { client: watching } = watcher.diary.all("join")[0].info;
      assert.deepEqual(ids.toSorted(), [now, watching].toSorted());
    });
  });
}

test("presence forgets a client whose process was killed", async (context) => {
  const broker = await Broker.serve({ config });
  context.after(() => broker.stop());
  const clients = Clients.of(broker, context);
  const watcher = await subscribe(await clients.sdk(), "told:killed");
  await watcher.diary.entry("join");
  const program = new URL("../support/visitor.mjs", import.meta.url).pathname;
  const visitor = spawn(process.execPath, [program, broker.websocket, "told:killed"]);
  await watcher.diary.entry("join", 1);
  visitor.kill("SIGKILL");
  await once(visitor, "exit");
  await watcher.diary.entry("leave");
  const stats = await result(broker, "presence_stats", { channel: "told:killed" });
  assert.deepEqual(stats, { num_clients: 1, num_users: 1 });
});
