-- States and ages of a part of what is in flight.   in: first, how many.
-- out: how many were looked at, then state and ms since it entered it, of each.
local first, n = number(), number()
local ids = call('ZRANGE', LEASE, first, first + n - 1)
load(ids)
local out = { #ids }
for _, id in ipairs(ids) do
  local job = jobs[id]
  if job then
    out[#out + 1] = job.s
    out[#out + 1] = math.max(0, now - job.t)
  end
end
return out
