-- Starts new generations of requests that were given up.
-- in: most, until (ms; none: now), ids (none: the oldest).   out: until, requeued, unknown, unfinished.
local most, till = number(), optional_number() or now
local ids = {}
while more() do ids[#ids + 1] = text() end
if #ids == 0 then ids = call('ZRANGEBYSCORE', DEAD, '-inf', till, 'LIMIT', 0, most) end
load(ids)
local graves = {}
for i, id in ipairs(ids) do graves[i] = 'dead\0' .. id end
local payloads = load_payloads(graves)

local risen, known, unknown, unfinished = {}, {}, 0, 0
for _, id in ipairs(ids) do
  local grave = 'dead\0' .. id
  local job = jobs[id]
  if not payloads[grave] then
    unknown = unknown + 1
  elseif job and job.s ~= 'done' then
    unfinished = unfinished + 1
  else
    local was = cmsgpack.unpack(payloads[grave])
    job = { h = was.h, x = verdicts(job) }
    enter(id, job, 'queued')
    texts[id] = was.p
    risen[#risen + 1] = id
  end
  texts[grave] = false
  payloads[grave] = nil
  known[#known + 1] = id
end
new_epochs(risen)
for _, id in ipairs(risen) do jobs[id].g = jobs[id].e end
write()
many('ZREM', DEAD, known)
many('ZREM', DONE, risen)
many('LPUSH', READY, risen)
return { till, #risen, unknown, unfinished }
