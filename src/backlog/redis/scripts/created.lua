-- The remote id of a create, whoever brings it: a paid id is never fenced out.
-- in: lease ms, worker, api; items (id, epoch, step, remote id, submitted at, budget ms).
-- out: per item done, lost (recorded or noted as an orphan, but the caller's hold is over), or learn <job>.
local lease_ms, worker, api = number(), text(), text()
local items, ids = {}, {}
for i = first_of(6), #ARGV, 6 do
  local item = {
    id = ARGV[i], epoch = tonumber(ARGV[i + 1]), step = tonumber(ARGV[i + 2]), remote = ARGV[i + 3],
    at = ARGV[i + 4], budget = tonumber(ARGV[i + 5]),
  }
  items[#items + 1] = item
  ids[#ids + 1] = item.id
end
load(ids)

local out = {}
for _, item in ipairs(items) do
  local id, remote = item.id, item.remote
  local job = jobs[id]
  if not job or job.s == 'done' then
    -- A tombstone knows the ids that came to a verdict.
    if not job or (job.r ~= remote and not is_retired(job, remote)) then
      orphan(id, remote, api, item.at)
    end
    out[#out + 1] = 'lost'
  else
    local mine = job.e == item.epoch
    local first = mine and (job.v or 0) <= item.step
    -- Of a retired id only its own repetition speaks, unless the service gave it out again just now.
    local past = not first and is_retired(job, remote)
    -- An earlier generation of a reused id is another request.
    local foreign = item.epoch < (job.g or 0)
    if (foreign or job.r) and job.r ~= remote and not past then
      orphan(id, remote, api, item.at)
    elseif not job.r and not past then
      -- An owner's lease need not be looked up.
      if mine then lease(id, job, now + lease_ms) end
      remember(id, job, remote, api, tonumber(item.at), item.budget)
    end
    if first then
      job.v = item.step + 1
      job.rv, job.sl, job.c = nil, nil, nil
      put(id, job)
    end
    if mine then
      job.w = worker
      put(id, job)
      lease(id, job, now + lease_ms)
    end
    if not mine then
      out[#out + 1] = 'lost'
    elseif job.r and job.r ~= remote then
      out[#out + 1] = 'learn'
      tell(out, id, job)
    else
      out[#out + 1] = 'done'
    end
  end
end
write()
return out
