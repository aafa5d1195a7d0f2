// A BullMQ worker that creates a job and polls for its token, which becomes the job's return value.
// It ends when COUNT jobs are completed; the first one that fails ends it, too.
import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";

const env = process.env;
const count = Number(env.COUNT);
const first = Number(env.FIRST_MS);
const interval = Number(env.INTERVAL_MS);
const agent = new Agent({ connections: Number(env.CONNECTIONS), pipelining: 1, keepAliveTimeout: 30_000 });

async function post(path, message) {
  const { statusCode, body } = await request(env.BASE_URL + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(message),
    dispatcher: agent,
  });
  const answer = await body.json();
  if (statusCode !== 200 || answer.error) throw new Error(`${path}: ${statusCode} ${answer.message}`);
  return answer;
}

async function solve({ data }) {
  const { job_id } = await post("/api/createJob", {
    api_token: "bench",
    data: { type_job_id: "11", website_url: data.website_url, website_key: data.website_key },
  });
  for (let wait = first; ; wait = interval) {
    // Up to a tenth more, as pollwheel does it, so that all have the same schedule.
    if (wait) await sleep(wait * (1 + Math.random() / 10));
    const { status, result } = await post("/api/getJobResult", { api_token: "bench", job_id });
    if (status === "success") return result;
    if (status !== "running") throw new Error(`status ${status}`);
  }
}

const connection = new Redis(env.REDIS_URL, { maxRetriesPerRequest: null });
const worker = new Worker("bench", solve, { connection, concurrency: Number(env.IN_FLIGHT) });
let completed = 0;
await new Promise((resolve, reject) => {
  worker.on("completed", () => ++completed === count && resolve());
  worker.on("failed", (_, error) => reject(error));
  worker.on("error", reject);
});
await worker.close();
await agent.close();
await connection.quit();
