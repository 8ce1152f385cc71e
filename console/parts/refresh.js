/**
 * When a page is read again: every 5 s while the user is active, less often while the page is only open, not at all while it is
 * hidden or after 15 min without input, so that a console left open does not keep a database awake. A display on a wall goes on.
 */

const ACTIVE_FOR = 60_000;
const SLOWEST = 60_000;
const IDLE_AFTER = 15 * 60_000;

/**
 * @param {{run(): void, changed(): void, wanted(): boolean, rests(): boolean, every(): number}} page
 *   `run` reads again; `changed` is called when the mode is another one; `wanted` says whether the page refreshes at all, `rests` whether
 *   it stops without input
 */
export function refresher({ run, changed, wanted, rests, every }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let input = Date.now();
  let failures = 0;
  const self = {
    /** @type {"live" | "idle" | "hidden" | "off"} */
    mode: "live",
    /** When the next reading begins; undefined if none is planned. @type {number | undefined} */
    next: undefined,
    /** After a reading. @param {boolean} failed */
    done(failed) {
      failures = failed ? failures + 1 : 0;
      plan(failed ? Math.min(SLOWEST, 1000 * 2 ** failures) : pace());
    },
    /** Input of the user. */
    active() {
      const idle = self.mode === "idle";
      input = Date.now();
      if (idle) wake();
    },
    stop() {
      clearTimeout(timer);
      self.next = undefined;
    },
  };

  const isIdle = () => rests() && Date.now() - input >= IDLE_AFTER;

  function pace() {
    const idle = Date.now() - input;
    const base = every();
    return idle < ACTIVE_FOR ? base : Math.min(Math.max(base, SLOWEST), base * 2 ** Math.floor(idle / ACTIVE_FOR));
  }

  /** @param {number} wait */
  function plan(wait) {
    self.stop();
    const mode = !wanted() ? "off" : document.hidden ? "hidden" : isIdle() ? "idle" : "live";
    if (mode === "live") {
      self.next = Date.now() + wait;
      timer = setTimeout(() => (document.hidden || isIdle() ? plan(0) : run()), wait);
    }
    if (mode !== self.mode) {
      self.mode = mode;
      changed();
    }
  }

  function wake() {
    self.mode = "live";
    changed();
    run();
  }

  for (const event of ["pointerdown", "keydown", "wheel", "touchstart"]) addEventListener(event, self.active, { passive: true, capture: true });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) plan(0);
    else if (wanted() && self.mode === "hidden") wake();
  });
  return self;
}
