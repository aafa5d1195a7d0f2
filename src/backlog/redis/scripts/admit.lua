-- Turns messages into jobs.
-- in: lease ms, worker, window ms; items (raw key, epoch, id, hash, payload, not after in ms or none).
-- out: one word an item: admitted, duplicate, conflict, lost.
local lease_ms, worker, window = number(), text(), number()
local items, ids = {}, {}
while more() do
  local item = { key = text(), epoch = number(), id = text(), hash = text(), payload = text(), within = optional_number() }
  items[#items + 1] = item
  ids[#ids + 1] = item.key
  ids[#ids + 1] = item.id
end
load(ids)

local fresh, superseded, out = {}, {}, {}
for i, item in ipairs(items) do
  local raw, job = jobs[item.key], jobs[item.id]
  -- A request whose window is over is a new one.
  local verdict
  if job and job.s == 'done' and job.t + window <= now then
    verdict = verdicts(job)
    job = false
  end
  if not raw or raw.s ~= 'raw' or raw.e ~= item.epoch then
    -- The message's epoch became the job's: so a call that is repeated is known.
    local ours = job and job.e == item.epoch and job.s ~= 'done'
    out[i] = ours and 'admitted' or 'lost'
  elseif not job then
    job = { e = item.epoch, g = item.epoch, h = item.hash, w = worker, x = verdict, nd = item.within and now + item.within }
    forget(item.key)
    enter(item.id, job, 'claimed')
    lease(item.id, job, now + lease_ms)
    texts[item.id] = item.payload
    fresh[#fresh + 1] = item.id
    superseded[#superseded + 1] = 'dead\0' .. item.id
    count('admitted', 1)
    out[i] = 'admitted'
  elseif job.h == item.hash then
    forget(item.key)
    count('duplicates', 1)
    out[i] = 'duplicate'
  else
    raw.w = worker
    put(item.key, raw)
    lease(item.key, raw, now + lease_ms)
    out[i] = 'conflict'
  end
end

trim(window, 2 * #items + 16)
write()
-- An id's tombstone must not outlive its new generation, nor may its dead one be requeued beside it.
many('ZREM', DONE, fresh)
many('ZREM', DEAD, fresh)
many('HDEL', PAYLOAD, superseded)
return out
