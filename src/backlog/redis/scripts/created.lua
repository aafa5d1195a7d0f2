-- The remote id of a create, whoever brings it: a paid id is never fenced out.
-- in: lease ms, worker; items (id, epoch, step, remote id, submitted at, budget ms, api).
-- out: per item done, lost (recorded or noted as an orphan, but the caller's hold is over), or learn <job>.
local lease_ms, worker = number(), text()
local items, ids = {}, {}
while more() do
  local item = {
    id = text(), epoch = number(), step = number(), remote = text(), at = text(), budget = number(), api = text(),
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
      orphan(id, remote, item.api, item.at)
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
      orphan(id, remote, item.api, item.at)
    elseif not job.r and not past then
      remember(id, job, remote, item.api, tonumber(item.at), item.budget)
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
