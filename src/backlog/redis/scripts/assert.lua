-- Puts back what a Redis that failed over or restarted has lost of jobs that their owner still holds.
-- in: lease ms, worker; items (id, epoch, step, state, payload, hash, creates, failed, unknown, polls, spent, crashes,
-- reserve or none, remote id or none, submitted at or none, ms to its deadline or none, ms to the request's or none, api or none).
-- out: put back; per item done, lost, or learn <job>.
local lease_ms, worker = number(), text()
local items, ids, highest = {}, {}, 0
while more() do
  local item = {
    id = text(), epoch = number(), step = number(), state = text(), payload = text(), hash = optional(),
    n = number(), f = number(), u = number(), p = number(), m = number(), c = number(), rv = optional_number(),
    r = optional(), at = optional_number(), dl = optional_number(), nd = optional_number(), a = optional(),
  }
  items[#items + 1] = item
  ids[#ids + 1] = item.id
  highest = math.max(highest, item.epoch)
end
load(ids)
-- No epoch may be handed out twice.
local epoch = tonumber(call('HGET', META, 'epoch') or 0)
if epoch < highest then count('epoch', highest - epoch) end

local out, put_back = { 0 }, 0
for _, item in ipairs(items) do
  local id = item.id
  local job = jobs[id]
  if job and job.s == 'done' then
    if item.r and job.r ~= item.r and not is_retired(job, item.r) then
      orphan(id, item.r, item.a or '', string.format('%.0f', item.at or 0))
    end
    out[#out + 1] = 'lost'
  else
    local foreign = job and item.epoch < (job.g or 0)
    local past = job and item.r and is_retired(job, item.r)
    local other = job and job.r and job.r ~= item.r
    if item.r and (foreign or other) and not past and job.r ~= item.r then
      orphan(id, item.r, item.a or '', string.format('%.0f', item.at or 0))
    end
    local brings = item.r and not foreign and not past and not (job and job.r)
    if job and job.e > item.epoch then
      -- Somebody else's by now, who may not know this id.
      if brings then
        remember(id, job, item.r, item.a or '', item.at or now, item.dl or 0)
        put_back = put_back + 1
      end
      out[#out + 1] = 'lost'
    else
      if not job or job.e < item.epoch or (job.v or 0) < item.step then
        job = job or {}
        count('spent', item.m - (job.m or 0))
        count('creates', item.n - (job.n or 0))
        count('unknown_creates', item.u - (job.u or 0))
        job.e, job.v, job.w, job.k, job.dly = item.epoch, item.step, worker, nil, nil
        job.n, job.f, job.u, job.p, job.m, job.c = item.n, item.f, item.u, item.p, item.m, item.c
        job.h = item.hash or job.h
        job.nd = item.nd and now + item.nd
        job.rv, job.sl = item.rv, item.rv and now_us
        -- A recorded id stays.
        if not job.r then
          job.a = item.a
          enter(id, job, item.r and 'waiting' or item.state)
        end
        if item.r and not job.r then
          job.r, job.at, job.dl = item.r, item.at or now, now + (item.dl or 0)
        end
        put(id, job)
        due[id] = false
        texts[id] = item.payload
        put_back = put_back + 1
      elseif brings then
        remember(id, job, item.r, item.a or '', item.at or now, item.dl or 0)
        put_back = put_back + 1
      end
      lease(id, job, now + lease_ms)
      if job.r and job.r ~= item.r then
        out[#out + 1] = 'learn'
        tell(out, id, job)
      else
        out[#out + 1] = 'done'
      end
    end
  end
end
write()
out[1] = put_back
return out
