// A real headless Chromium, and a web server that gives it the test page.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import http from "node:http";
import { once } from "node:events";
import { createRequire } from "node:module";
import path from "node:path";

import { chromium } from "playwright-core";

const PROGRAMS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

export async function launchChromium() {
  const named = process.env.CHROMIUM_BIN;
  const executablePath = named ?? PROGRAMS.find((program) => existsSync(program));
  if (!executablePath) throw new Error("no Chromium: install it, or name it in CHROMIUM_BIN");
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/**
 * Serves the page with the SDK's build for browsers, at `/protobuf` with its build for Protobuf;
 * its origin is another than the broker's.
 */
export class PageServer {
  static async start() {
    const main = createRequire(import.meta.url).resolve("centrifuge");
    const sdk = (name) => readFile(path.join(path.dirname(main), "..", "dist", name));
    const page = await readFile(new URL("page.html", import.meta.url), "utf8");
    const files = {
      "/": ["text/html", page],
      "/protobuf": ["text/html", page.replace("/centrifuge.js", "/centrifuge.protobuf.js")],
      "/centrifuge.js": ["text/javascript", await sdk("centrifuge.js")],
      "/centrifuge.protobuf.js": ["text/javascript", await sdk("centrifuge.protobuf.js")],
    };
    const server = http.createServer((request, response) => {
      const [type, body] = files[request.url] ?? [];
      response.writeHead(body ? 200 : 404, { "Content-Type": type ?? "text/plain" }).end(body);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new PageServer(server);
  }

  constructor(server) {
    this.server = server;
    this.origin = `http://127.0.0.1:${server.address().port}`;
  }

  async stop() {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}
