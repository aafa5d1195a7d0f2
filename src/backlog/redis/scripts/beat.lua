-- Keeps leases alive and tells what became of them meanwhile.
-- in: lease ms, worker; items (id, epoch, remote id known or none).
-- out: hold ms, paused, workers alive, number lost, their places (from 0), then place and job of each that has an unknown remote id.
local lease_ms, worker = number(), text()
local items, ids = {}, {}
for i = first_of(3), #ARGV, 3 do
  items[#items + 1] = { id = ARGV[i], epoch = tonumber(ARGV[i + 1]), knows = given(ARGV[i + 2]) }
  ids[#ids + 1] = ARGV[i]
end
load(ids)

local lost, learned = {}, {}
for place, item in ipairs(items) do
  local job = jobs[item.id]
  if not job or job.s == 'done' or job.e ~= item.epoch then
    lost[#lost + 1] = place - 1
  else
    lease(item.id, job, now + lease_ms)
    if job.r and job.r ~= item.knows then
      learned[#learned + 1] = place - 1
      tell(learned, item.id, job)
    end
  end
end
write()
-- A beat comes three times a lease.
call('ZREMRANGEBYSCORE', WORKERS, '-inf', now)
call('ZADD', WORKERS, now + lease_ms, worker)

local hold = tonumber(call('HGET', LIMIT, 'hold') or 0)
local out = { math.max(0, math.ceil((hold - now_us) / 1000)), call('HGET', META, 'paused') == '1' and 1 or 0, call('ZCARD', WORKERS), #lost }
for _, place in ipairs(lost) do out[#out + 1] = place end
for i = 1, #learned do out[#out + 1] = learned[i] end
return out
