// Publications without a pause, while connections are cut again and again.

import { within } from "./wait.mjs";

const AT_ONCE = 20;

/**
 * Calls `publish(0)` to `publish(total - 1)`, and `cut()` whenever one of the inboxes has `every`
 * more. Nobody is ever more than `ahead` behind, so that there are many cuts however fast it goes.
 */
export async function storm({ publish, total, inboxes, cut, every = 60, ahead = 150 }) {
  const speak = async () => {
    for (let first = 0; first < total; first += AT_ONCE) {
      const count = Math.min(AT_ONCE, total - first);
      await Promise.all(Array.from({ length: count }, (_, index) => publish(first + index)));
      for (const inbox of inboxes) await inbox.count(first - ahead);
    }
  };
  const disturb = async () => {
    for (let heard = every / 2; heard < total; heard += every) {
      await Promise.race(inboxes.map((inbox) => inbox.count(heard)));
      cut();
    }
  };
  await within(Promise.all([speak(), disturb()]), "all is said", 120_000);
}
