/**
 * What operators ask for: one payload per verb, sent to `POST /projections`. A server with a worker answers with the result; functions
 * hand the verb over and answer at once. So the result is always read back from `GET /projections/{name}`, never assumed.
 *
 * @import {Ctx} from "../types.js"
 */
/**
 * A verb under way, or how it ended.
 * @typedef {{verb: string, label: string, running: boolean, error: unknown, rounds: number}} Job
 */

/** How long to wait between two looks at a verb that was handed over. */
const LOOK_AGAIN = 2000;

/** The jobs of this visit to the page, by projection. @param {Ctx} ctx @returns {Record<string, Job>} */
export const jobs = (ctx) => (ctx.ui["jobs"] ??= {});

/**
 * Sends a verb until it is done, as long as the page is open.
 * @param {Ctx} ctx @param {string} name the projection
 * @param {{verb: string, label: string, body: Record<string, unknown>, repeats?: boolean}} request `label`: for people, what is being done
 * @returns {Promise<any>} the last result; null if it failed or the page was left
 */
export async function run(ctx, name, { verb, label, body, repeats = false }) {
  const mine = jobs(ctx);
  /** @type {Job} */
  const job = { verb, label, running: true, error: null, rounds: 0 };
  mine[name] = job;
  ctx.draw();
  const isHere = () => ctx.ui["jobs"] === mine && mine[name] === job;
  try {
    for (;;) {
      const result = await send(ctx, name, verb, body, isHere);
      if (!isHere()) return null;
      job.rounds += 1;
      if (result?.error) throw new Error(result.error);
      const ended = !repeats || result?.done !== false;
      job.running = !ended;
      await ctx.reload();
      if (ended) return result;
    }
  } catch (error) {
    Object.assign(job, { error, running: false });
    await ctx.reload();
    return null;
  }
}

/**
 * @param {Ctx} ctx @param {string} name @param {string} verb @param {Record<string, unknown>} body @param {() => boolean} isHere
 */
async function send(ctx, name, verb, body, isHere) {
  const before = (await details(ctx, name)).last_results?.[verb]?.answered_at;
  // A reprojection that is sent again after it went live would begin the next one, and an aggregate that is no longer parked is not found.
  const answer = await ctx.api.post("/projections", body, verb === "reproject" || "aggregate_id" in body ? { tries: 1 } : {});
  if (answer.projections) return answer.projections[name];
  while (isHere()) {
    if (ctx.resting) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
      continue;
    }
    const last = (await details(ctx, name)).last_results?.[verb];
    if (last && last.answered_at !== before) return last.result;
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN));
  }
  return null;
}

/** @param {Ctx} ctx @param {string} name */
export const details = (ctx, name) => ctx.api.get(`/projections/${encodeURIComponent(name)}`);
