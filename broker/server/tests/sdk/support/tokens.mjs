// JSON Web Tokens, made by hand, so that they can be wrong in every way.

import { createHmac, sign } from "node:crypto";

export const SECRET = "a-secret-of-the-tests-with-more-than-32-bytes";
export const OTHER_SECRET = "another-secret-of-the-tests-of-over-32-bytes";

const HASHES = { 256: "sha256", 384: "sha384", 512: "sha512" };

/** Now, in Unix seconds, `seconds` later. */
export const unixTime = (seconds = 0) => Math.floor(Date.now() / 1000) + seconds;

/** A token that says `claims`, signed with a secret (HS*) or a private key (the others). */
export function jwt(claims, { alg = "HS256", key = SECRET, kid } = {}) {
  const input = [{ alg, typ: "JWT", kid }, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  return `${input}.${signature(alg, key, input).toString("base64url")}`;
}

/** A connection token that is good for an hour. */
export const connectionToken = (user, claims = {}, key = {}) =>
  jwt({ sub: user, exp: unixTime(3600), ...claims }, key);

/** A subscription token that is good for an hour. */
export const subscriptionToken = (user, channel, claims = {}, key = {}) =>
  connectionToken(user, { channel, ...claims }, key);

function signature(alg, key, input) {
  const hash = HASHES[alg.slice(2)];
  switch (alg.slice(0, 2)) {
    case "HS":
      return createHmac(hash, key).update(input).digest();
    case "RS":
      return sign(hash, Buffer.from(input), key);
    case "ES":
      return sign(hash, Buffer.from(input), { key, dsaEncoding: "ieee-p1363" });
    case "Ed":
      return sign(null, Buffer.from(input), key);
    default:
      return Buffer.alloc(0);
  }
}
