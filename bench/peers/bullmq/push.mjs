// Adds COUNT jobs before the clock starts. Their ids are those of the rows.
import { Queue } from "bullmq";
import { Redis } from "ioredis";

const { REDIS_URL, COUNT, WEBSITE_URL, WEBSITE_KEY } = process.env;
const connection = new Redis(REDIS_URL, { maxRetriesPerRequest: null });
const queue = new Queue("bench", { connection });
const job = (n) => ({
  name: "solve",
  data: { website_url: WEBSITE_URL + n, website_key: WEBSITE_KEY },
  opts: { jobId: `row-${n}` },
});
for (let from = 0; from < Number(COUNT); from += 1000) {
  const to = Math.min(from + 1000, Number(COUNT));
  await queue.addBulk(Array.from({ length: to - from }, (_, n) => job(from + n)));
}
await queue.close();
await connection.quit();
