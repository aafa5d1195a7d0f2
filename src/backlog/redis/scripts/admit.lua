-- Turns messages into jobs.
-- in: lease ms, worker, window ms; items (raw key, epoch, id, hash, payload, not after in ms or none).
-- out: per item admitted <epoch>, duplicate, conflict, lost.
local lease_ms, worker, window = number(), text(), number()
local items, ids = {}, {}
for i = first_of(6), #ARGV, 6 do
  local item = {
    key = ARGV[i], epoch = tonumber(ARGV[i + 1]), id = ARGV[i + 2], hash = ARGV[i + 3], payload = ARGV[i + 4],
    within = tonumber(ARGV[i + 5]),
  }
  items[#items + 1] = item
  ids[#ids + 1] = item.key
  ids[#ids + 1] = item.id
end
load(ids)

local fresh, risen, out, tells = {}, {}, {}, {}
for _, item in ipairs(items) do
  local raw, job = jobs[item.key], jobs[item.id]
  -- A request whose window is over is a new one.
  local verdict, was_done
  if job and job.s == 'done' and job.t + window <= now then
    verdict, was_done = verdicts(job), true
    job = false
  end
  if not raw or raw.s ~= 'raw' or raw.e ~= item.epoch then
    -- A repetition is known by the message's epoch, as long as nobody took the job over.
    local ours = job and job.s ~= 'done' and job.ra == item.epoch and job.g == job.e
    out[#out + 1] = ours and 'admitted' or 'lost'
    if ours then
      out[#out + 1] = 0
      tells[#out] = job
    end
  elseif not job then
    -- An epoch of its own: the message's may be older than one of the former generation.
    job = { ra = item.epoch, h = item.hash, w = worker, x = verdict, nd = item.within and now + item.within }
    forget(item.key)
    enter(item.id, job, 'claimed')
    lease(item.id, job, now + lease_ms)
    texts[item.id] = item.payload
    fresh[#fresh + 1] = item.id
    if was_done then risen[#risen + 1] = item.id end
    count('admitted', 1)
    out[#out + 1] = 'admitted'
    out[#out + 1] = 0
    tells[#out] = job
  elseif job.h == item.hash then
    forget(item.key)
    count('duplicates', 1)
    out[#out + 1] = 'duplicate'
  else
    raw.w = worker
    put(item.key, raw)
    lease(item.key, raw, now + lease_ms)
    out[#out + 1] = 'conflict'
  end
end

new_epochs(fresh)
for _, id in ipairs(fresh) do jobs[id].g = jobs[id].e end
for place, job in pairs(tells) do out[place] = job.e end
trim(window, 2 * #items + 16)
write()
-- An id's tombstone must not outlive its new generation, nor may its dead one be requeued beside it.
many('ZREM', DONE, risen)
if call('ZCARD', DEAD) > 0 then
  many('ZREM', DEAD, fresh)
  local superseded = {}
  for i, id in ipairs(fresh) do superseded[i] = 'dead\0' .. id end
  many('HDEL', PAYLOAD, superseded)
end
return out
