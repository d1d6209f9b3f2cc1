// All of the protocol in a real Chromium page, with the SDK's builds for JSON and for Protobuf.
// Chromium offers to compress by itself.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { Broker, configWith, KEPT_TOPICS, OPEN_TOPICS, sharedBroker } from "../support/broker.mjs";
import { launchChromium, PageServer } from "../support/chromium.mjs";
import { result } from "../support/clients.mjs";
import { Proxy } from "../support/proxy.mjs";
import { connectionToken, SECRET, subscriptionToken, unixTime } from "../support/tokens.mjs";
import { Inbox, LIMIT_MS, within } from "../support/wait.mjs";

const config = configWith({
  client: { compression: true, expired_close_delay: "2s", expired_sub_close_delay: "2s" },
  namespaces: {
    kept: { ...KEPT_TOPICS, allowed_delta_types: ["fossil"], delta_publish: true },
    told: { ...OPEN_TOPICS, presence: true, join_leave: true, force_push_join_leave: true },
    closed: {},
  },
  "client.token": { hmac_secret_key: SECRET },
});

const numbers = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);

let chromium;
let server;
before(async () => {
  server = await PageServer.start();
  chromium = await launchChromium();
});
after(async () => {
  await chromium?.close();
  await server?.stop();
});

for (const [name, path] of [
  ["JSON", "/"],
  ["Protobuf", "/protobuf"],
]) {
  describe(`a page in Chromium, ${name}`, () => {
    const shared = sharedBroker({ before, after }, () => Broker.serve({ config }));
    let proxy;
    let open = [];
    beforeEach(async () => (proxy = await Proxy.start(shared.broker.port)));
    afterEach(async () => {
      for (const context of open) await context.close();
      open = [];
      await proxy.stop();
    });

    const openPage = async (newToken) => {
      const context = await chromium.newContext();
      open.push(context);
      const page = await context.newPage();
      if (newToken) await page.exposeFunction("newToken", newToken);
      await page.goto(server.origin + path);
      return page;
    };
    // What a page is asked has no time limit of its own.
    const ask = (page, what, ...given) =>
      within(
        page.evaluate(([method, all]) => window.page[method](...all), [what, given]),
        `the page answers ${what}`,
        LIMIT_MS,
      );
    const connected = async (options) => {
      const page = await openPage();
      assert.equal((await ask(page, "connect", proxy.websocket, options)).transport, "websocket");
      return page;
    };
    const publish = async (channel, payloads) => {
      for (const data of payloads) await result(shared.broker, "publish", { channel, data });
    };

    test("recovers what it missed while its connection was cut", async () => {
      const page = await connected();
      const { recoverable } = await ask(page, "subscribe", "kept:cut");
      assert.equal(recoverable, true);
      for (let time = 1; time <= 3; time += 1) {
        proxy.close();
        await ask(page, "eventOf", "kept:cut", "subscribing", time);
        await publish("kept:cut", numbers(20 * time - 20, 20 * time));
        proxy.open();
        const back = await ask(page, "eventOf", "kept:cut", "subscribed", time);
        assert.equal(back.recovered, true);
      }
      await publish("kept:cut", [60]);
      assert.deepEqual(await ask(page, "untilHeard", "kept:cut", 61), numbers(0, 61));
    });

    test("recovers what it missed while it was offline", async () => {
      const page = await connected();
      await ask(page, "subscribe", "kept:offline");
      await publish("kept:offline", [0]);
      await ask(page, "untilHeard", "kept:offline", 1);
      await page.context().setOffline(true);
      await ask(page, "eventOf", "kept:offline", "subscribing", 1);
      await publish("kept:offline", numbers(1, 30));
      await page.context().setOffline(false);
      const back = await ask(page, "eventOf", "kept:offline", "subscribed", 1);
      assert.equal(back.recovered, true);
      assert.deepEqual(await ask(page, "untilHeard", "kept:offline", 30), numbers(0, 30));
    });

    test("gets in with a token, renews it, and opens a private topic with another", async () => {
      const asked = new Inbox();
      const page = await openPage((channel) => {
        asked.push(channel);
        const claims = { exp: unixTime(2) };
        return channel
          ? subscriptionToken("alice", channel, claims)
          : connectionToken("alice", claims);
      });
      // The first one has expired.
      const token = connectionToken("alice", { exp: unixTime(-5) });
      await ask(page, "connect", proxy.websocket, { token });
      await ask(page, "event", "connected", 0);
      await ask(page, "subscribe", "$closed:mine");
      const renewed = (items) =>
        ["", "$closed:mine"].every((name) => items.filter((each) => each === name).length >= 4);
      await asked.until(renewed, "four tokens of each");
      await publish("$closed:mine", ["heard"]);
      assert.deepEqual(await ask(page, "untilHeard", "$closed:mine", 1), ["heard"]);
      // Once because of the first token; none of the others ended anything.
      const began = await page.evaluate(() => window.page.events.connected.length);
      assert.equal(began, 1);
    });

    test("with a wrong token is closed for good", async () => {
      const page = await openPage();
      const connect = ask(page, "connect", proxy.websocket, { token: "wrong" });
      connect.catch(() => {});
      await page.waitForFunction(() => window.page.events?.disconnected.length > 0);
      assert.equal((await ask(page, "event", "disconnected", 0)).code, 3500);
    });

    test("sees who is there, who comes, and who is gone without a goodbye", async () => {
      const token = connectionToken("watcher", { info: { name: "Ä" } });
      const watcher = await connected({ token });
      await ask(watcher, "subscribe", "told:room");
      const guest = await connected({ token: connectionToken("guest") });
      await ask(guest, "subscribe", "told:room");
      const join = await ask(watcher, "eventOf", "told:room", "join", 1);
      assert.equal(join.info.user, "guest");
      const there = await ask(watcher, "presence", "told:room");
      assert.deepEqual(there.toSorted(), [
        ["guest", null],
        ["watcher", { name: "Ä" }],
      ]);
      await guest.close();
      const leave = await ask(watcher, "eventOf", "told:room", "leave", 0);
      assert.equal(leave.info.user, "guest");
      assert.equal(leave.info.client, join.info.client);
      assert.equal((await ask(watcher, "presence", "told:room")).length, 1);
    });

    test("makes texts of their deltas, and of all messages what they were", async () => {
      const page = await connected();
      await ask(page, "subscribe", "kept:delta", { delta: "fossil" });
      const long = (n) => ({
        n,
        text: `${"Äö漢😀".repeat(200)}${"äöü漢漣😀😁"[n]}${"Ü".repeat(900)}`,
      });
      const documents = [...numbers(0, 7).map(long), 1, "ü", null, "big ".repeat(10_000), long(3)];
      await publish("kept:delta", documents);
      await ask(page, "publish", "kept:delta", documents[0]);
      const heard = await ask(page, "untilHeard", "kept:delta", 13);
      assert.deepEqual(heard, [...documents, documents[0]]);
      const stats = await ask(page, "deltaStats", "kept:delta");
      assert.ok(stats.numDeltaPayloads >= 7, JSON.stringify(stats));
    });
  });
}
