// Tokens signed with private keys: public keys in the configuration, and key sets on the web.

import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { Broker, configWith, sharedBroker } from "../support/broker.mjs";
import { Clients } from "../support/clients.mjs";
import { KeySet } from "../support/jwks.mjs";
import { connectionToken } from "../support/tokens.mjs";
import { eventually } from "../support/wait.mjs";

const rsa = () => generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = (namedCurve) => generateKeyPairSync("ec", { namedCurve });
const ed25519 = () => generateKeyPairSync("ed25519");
const pem = (publicKey) => publicKey.export({ type: "spki", format: "pem" });

const attempt = (clients, token, options = {}) => {
  const client = clients.sdkIdle({ token, ...options });
  client.connect();
  return client.diary;
};

describe("public keys in the configuration", () => {
  const [rsaKey, p256, p384, ed] = [rsa(), ec("P-256"), ec("P-384"), ed25519()];
  const withKeys = (ecdsa) =>
    configWith({
      client: { anonymous: false },
      "client.token": {
        rsa_public_key: pem(rsaKey.publicKey),
        ecdsa_public_key: pem(ecdsa.publicKey),
        ed25519_public_key: pem(ed.publicKey),
      },
    });
  const small = sharedBroker({ before, after }, () => Broker.serve({ config: withKeys(p256) }));
  const large = sharedBroker({ before, after }, () => Broker.serve({ config: withKeys(p384) }));

  test("let in who has a token signed with the private key", async (context) => {
    const clients = Clients.of(small.broker, context);
    const signed = [
      ["RS256", rsaKey],
      ["RS384", rsaKey],
      ["RS512", rsaKey],
      ["ES256", p256],
      ["EdDSA", ed],
    ];
    for (const [alg, { privateKey }] of signed) {
      const token = connectionToken("u", {}, { alg, key: privateKey });
      await attempt(clients, token).entry("connected");
    }
    const others = Clients.of(large.broker, context);
    const token = connectionToken("u", {}, { alg: "ES384", key: p384.privateKey });
    await attempt(others, token).entry("connected");
  });

  test("let in nobody else", async (context) => {
    const clients = Clients.of(small.broker, context);
    const forged = {
      "another RSA key": { alg: "RS256", key: rsa().privateKey },
      "another P-256 key": { alg: "ES256", key: ec("P-256").privateKey },
      "another curve": { alg: "ES384", key: p384.privateKey },
      "another Ed25519 key": { alg: "EdDSA", key: ed25519().privateKey },
      "the public key as a secret": { alg: "HS256", key: pem(rsaKey.publicKey) },
      "a kid, where there are no key sets": { alg: "HS256", key: "x".repeat(32), kid: "one" },
    };
    for (const [what, key] of Object.entries(forged)) {
      const { code } = await attempt(clients, connectionToken("u", {}, key)).entry("disconnected");
      assert.equal(code, 3500, what);
    }
  });
});

describe("a key set on the web", () => {
  let keys;
  const [first, second, third] = [rsa(), ec("P-256"), ed25519()];
  const shared = sharedBroker({ before, after }, async () => {
    keys = await KeySet.start();
    keys.add("first", first.publicKey, { alg: "RS256" });
    const config = configWith({
      client: { anonymous: false },
      "client.token": { jwks_public_endpoint: keys.url, jwks_refresh_interval: "10s" },
    });
    return Broker.serve({ config });
  });
  after(() => keys.stop());
  const token = (alg, { privateKey }, kid) =>
    connectionToken("u", {}, { alg, key: privateKey, kid });

  test("lets in by the keys that it has now", async (context) => {
    const clients = Clients.of(shared.broker, context);
    await attempt(clients, token("RS256", first, "first")).entry("connected");
    const confused = attempt(clients, token("RS512", first, "first"));
    assert.equal((await confused.entry("disconnected")).code, 3500);

    // A token can be there before the key is. The client is told to try again, and does.
    keys.add("second", second.publicKey);
    keys.add("third", third.publicKey);
    keys.keys = keys.keys.filter(({ kid }) => kid !== "first");
    const early = attempt(clients, token("ES256", second, "second"));
    await early.entry("connected");
    assert.equal(early.all("error")[0].error.code, 100);
    await attempt(clients, token("EdDSA", third, "third")).entry("connected");

    // The key that is gone is refused as soon as every shard has heard of it.
    const withdrawn = async () => {
      const diary = attempt(clients, token("RS256", first, "first"));
      const decided = ({ name }) => name === "connected" || name === "error";
      return (await diary.until((items) => items.some(decided), "an answer")).find(decided);
    };
    const refused = await eventually(withdrawn, ({ name }) => name === "error", "it is refused");
    assert.equal(refused.error.code, 100);
  });
});
