// A web server that publishes a JSON Web Key Set, which a test can change.

import { once } from "node:events";
import http from "node:http";

import { Inbox } from "./wait.mjs";

export class KeySet {
  static async start() {
    const set = new KeySet();
    set.server.listen(0, "127.0.0.1");
    await once(set.server, "listening");
    return set;
  }

  constructor() {
    this.keys = [];
    this.fetches = new Inbox();
    this.server = http.createServer((request, response) => {
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify({ keys: this.keys }));
      this.fetches.push(this.keys.map(({ kid }) => kid));
    });
  }

  get url() {
    return `http://127.0.0.1:${this.server.address().port}/keys`;
  }

  /** Adds a public key under the name `kid`. */
  add(kid, publicKey, more = {}) {
    this.keys.push({ ...publicKey.export({ format: "jwk" }), kid, use: "sig", ...more });
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}
