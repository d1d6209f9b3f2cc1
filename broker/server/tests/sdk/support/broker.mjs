// Starts and ends real brokers for the tests of this folder.
//
// BROKER_BIN     the program to test (required)
// BROKER_SHARDS  its number of shards, 2 unless said otherwise
//
// These names do not begin with FANWIRE_, because the broker refuses variables of that prefix
// which it does not know.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";

import { within } from "./wait.mjs";

export const API_KEY = "a-key-for-the-tests";
export const SHARDS = process.env.BROKER_SHARDS ?? "2";

/** What `fanwire dev` allows, as a file, for tests that need settings of their own. */
export const OPEN_CONFIG = {
  api: { keys: [API_KEY] },
  client: { anonymous: true, allowed_origins: ["*"] },
  topics: {
    allow_subscribe_for_client: true,
    allow_subscribe_for_anonymous: true,
    allow_publish_for_client: true,
    allow_publish_for_anonymous: true,
  },
};

/** Options of topics that everybody may do everything with. */
export const OPEN_TOPICS = {
  ...OPEN_CONFIG.topics,
  allow_history_for_client: true,
  allow_history_for_anonymous: true,
  allow_presence_for_client: true,
  allow_presence_for_anonymous: true,
};

/** The same, and nothing is lost. */
export const KEPT_TOPICS = {
  ...OPEN_TOPICS,
  history_size: 10_000,
  history_ttl: "10m",
  force_recovery: true,
};

/** `OPEN_CONFIG` with more settings for clients and namespaces with these options. */
export const configWith = ({ client = {}, namespaces = {}, ...sections } = {}) => ({
  ...OPEN_CONFIG,
  client: { ...OPEN_CONFIG.client, ...client },
  ...Object.fromEntries(
    Object.entries(namespaces).map(([name, options]) => [`namespaces.${name}`, options]),
  ),
  ...sections,
});

export class Broker {
  /** `fanwire dev`: a port of the broker's choice, anonymous clients may do everything. */
  static async dev() {
    const broker = new Broker(
      ["dev", "--listen", "127.0.0.1:0", "--shards", SHARDS, "--api-key", API_KEY],
      {},
    );
    broker.port = await broker.#announcedPort();
    return broker;
  }

  /** `fanwire serve` with a file made of `config`, on `port` or on a free one. */
  static async serve({ config = OPEN_CONFIG, env = {}, port } = {}) {
    const folder = await mkdtemp(path.join(tmpdir(), "fanwire-test-"));
    const file = path.join(folder, "fanwire.toml");
    const serverPort = port ?? (await freePort());
    const sections = {
      server: { address: `127.0.0.1:${serverPort}`, shards: Number(SHARDS) },
      admin: { address: `127.0.0.1:${await freePort()}` },
      ...config,
    };
    await writeFile(file, toToml(sections));
    const broker = new Broker(["serve", "--config", file], env);
    broker.folder = folder;
    broker.port = serverPort;
    await broker.#accepts();
    return broker;
  }

  constructor(args, env) {
    const program = process.env.BROKER_BIN;
    if (!program) throw new Error("BROKER_BIN must name the broker to test");
    this.process = spawn(program, args, { env: { ...cleanEnvironment(), ...env } });
    this.stdout = "";
    this.stderr = "";
    this.process.stdout.setEncoding("utf8").on("data", (text) => (this.stdout += text));
    this.process.stderr.setEncoding("utf8").on("data", (text) => (this.stderr += text));
    this.ended = once(this.process, "close").then(([code, signal]) => ({ code, signal }));
  }

  get http() {
    return `http://127.0.0.1:${this.port}`;
  }

  get websocket() {
    return `ws://127.0.0.1:${this.port}/connection/websocket`;
  }

  /** Ends the broker as an operator would, and fails the test unless it leaves in good order. */
  async stop() {
    this.process.kill("SIGTERM");
    const { code, signal } = await within(this.ended, "the broker ends on SIGTERM").catch(
      (error) => {
        this.process.kill("SIGKILL");
        throw error;
      },
    );
    if (this.folder) await rm(this.folder, { recursive: true, force: true });
    if (code !== 0 || this.stderr.includes("panicked")) {
      throw new Error(`the broker ended with ${code ?? signal}\n${this.stderr.slice(-4000)}`);
    }
  }

  async #announcedPort() {
    const announced = new Promise((resolve) => {
      const look = () => {
        const match = /ws:\/\/127\.0\.0\.1:(\d+)\//.exec(this.stdout);
        if (match) resolve(Number(match[1]));
      };
      this.process.stdout.on("data", look);
    });
    return within(Promise.race([announced, this.#endedEarly()]), "the broker tells its address");
  }

  async #accepts() {
    const connected = async () => {
      while (this.process.exitCode === null && !(await canConnect(this.port))) {
        await new Promise((done) => setTimeout(done, 10));
      }
    };
    const started = Promise.race([connected(), this.#endedEarly()]);
    return within(started, "the broker accepts connections");
  }

  async #endedEarly() {
    const { code, signal } = await this.ended;
    throw new Error(`the broker ended with ${code ?? signal} at its start\n${this.stderr}`);
  }
}

/** The broker that the tests of one file share; registered before the first test. */
export function sharedBroker({ before, after }, start = () => Broker.dev()) {
  const shared = {};
  before(async () => {
    shared.broker = await start();
  });
  after(async () => {
    await shared.broker?.stop();
  });
  return shared;
}

function cleanEnvironment() {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("FANWIRE_"));
  return Object.fromEntries(kept);
}

/** A port below the ephemeral range, so that no outgoing connection takes it meanwhile. */
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 10_000);
    const server = net.createServer().listen(port, "127.0.0.1");
    const free = await Promise.race([
      once(server, "listening").then(() => true),
      new Promise((resolve) => server.once("error", () => resolve(false))),
    ]);
    if (!free) continue;
    server.close();
    await once(server, "close");
    return port;
  }
}

function canConnect(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    socket.once("connect", () => socket.end());
  });
}

/** Sections of strings, numbers, booleans and lists of these: JSON spells them as TOML does. */
function toToml(sections) {
  return Object.entries(sections)
    .map(([section, keys]) => {
      const lines = Object.entries(keys).map(([key, value]) => `${key} = ${JSON.stringify(value)}`);
      return `[${section}]\n${lines.join("\n")}\n`;
    })
    .join("\n");
}
