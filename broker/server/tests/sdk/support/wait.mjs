// Waiting on events. A time limit here only turns a hang into a failure; none of them is the
// thing that a test measures.

export const LIMIT_MS = 30_000;

/** The promise's value, or an error that says what did not happen. */
export function within(promise, what, limitMs = LIMIT_MS) {
  let timer;
  const limit = new Promise((_, reject) => {
    const error = new Error(`did not happen within ${limitMs} ms: ${what}`);
    timer = setTimeout(() => reject(error), limitMs);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

/** The next event of that name, whose context satisfies `wanted`. */
export function event(emitter, name, wanted = () => true) {
  const seen = new Promise((resolve) => {
    const listener = (context) => {
      if (!wanted(context)) return;
      emitter.off(name, listener);
      resolve(context);
    };
    emitter.on(name, listener);
  });
  return within(seen, `event ${name}`);
}

/** Asks again until the answer satisfies `wanted`; for counters that the broker gathers. */
export async function eventually(ask, wanted, what) {
  let answer;
  const asked = async () => {
    for (;;) {
      answer = await ask();
      if (wanted(answer)) return answer;
      await new Promise((done) => setTimeout(done, 20));
    }
  };
  return within(asked(), what).catch((error) => {
    error.message += `\nlast answer: ${JSON.stringify(answer)}`;
    throw error;
  });
}

/** A list that can be waited on. */
export class Inbox {
  #waiters = [];

  items = [];

  push(item) {
    this.items.push(item);
    this.#waiters = this.#waiters.filter((waiter) => !waiter());
  }

  /** The items as soon as `enough(items)` holds. */
  until(enough, what) {
    const reached = new Promise((resolve) => {
      const waiter = () => {
        const done = enough(this.items);
        if (done) resolve(this.items);
        return done;
      };
      if (!waiter()) this.#waiters.push(waiter);
    });
    return within(reached, what).catch((error) => {
      const last = JSON.stringify(this.items.at(-1));
      error.message += `\n${this.items.length} came, the last: ${last}`;
      throw error;
    });
  }

  /** The items as soon as there are `count` of them. */
  count(count) {
    return this.until((items) => items.length >= count, `${count} items`);
  }
}

/** What an emitter told: every event of these names, in order. */
export class Diary extends Inbox {
  constructor(emitter, names) {
    super();
    for (const name of names) emitter.on(name, (context) => this.push({ name, ...context }));
  }

  /** All entries of that name so far. */
  all(name) {
    return this.items.filter((item) => item.name === name);
  }

  /** The entry of that name with this number, counted from 0; waits for it. */
  async entry(name, number = 0) {
    const told = () => this.all(name).length > number;
    await this.until(told, `event ${name}, number ${number}`);
    return this.all(name)[number];
  }
}
