-- Hands out jobs that have a remote id and no owner any more.
-- in: lease ms, worker, n, api.   out: quiet ms, elsewhere, jobs.
local lease_ms, worker, n, api = number(), text(), number(), text()
-- Jobs of other APIs that a call looks past.
local PASSED = 64

local quiet = math.max(0, tonumber(call('HGET', META, 'quiet_until') or 0) - now)
if quiet > 0 then return { quiet, 0 } end
local ids = call('ZRANGEBYSCORE', LEASE, '-inf', now, 'LIMIT', 0, n + PASSED)
if #ids == 0 then return { 0, 0 } end

load(ids)
-- They stay where they are for workers of theirs, unless they could hide ours.
local is_full = #ids == n + PASSED
local taken, elsewhere = {}, 0
for _, id in ipairs(ids) do
  local job = jobs[id]
  if not job or job.s == 'done' or job.s == 'queued' then
    scores[id] = false
  elseif not job.r then
    lease(id, job, RELEASED)
  elseif job.a ~= api then
    elsewhere = elsewhere + 1
    if is_full then lease(id, job, now + lease_ms) end
  elseif #taken < n then
    taken[#taken + 1] = id
    -- The owner died with a create in doubt, while an earlier owner's was recorded.
    if job.rv then doubt(job) end
    job.w = worker
    enter(id, job, 'waiting')
    lease(id, job, now + lease_ms)
  end
end
count('adopted', #taken)
new_epochs(taken)
local payloads = load_payloads(taken)
local out = { 0, elsewhere }
for _, id in ipairs(taken) do tell(out, id, jobs[id], payloads[id]) end
write()
return out
