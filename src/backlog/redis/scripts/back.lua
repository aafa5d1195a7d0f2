-- Back to claimed: a create that is known not to exist, one in doubt, or a job that failed and is tried again.
-- in: lease ms, worker; items (id, epoch, step, withdraw | unknown | retry, remote id or none, refund, polls).
-- out: per item done, lost, or learn <job>.
local lease_ms, worker = number(), text()
local items, ids = {}, {}
while more() do
  local item = {
    id = text(), epoch = number(), step = number(), how = text(), knew = optional(), refund = number(), polls = number(),
  }
  items[#items + 1] = item
  ids[#ids + 1] = item.id
end
load(ids)

local out, withdrawn = {}, 0
for _, item in ipairs(items) do
  local id = item.id
  local job = jobs[id]
  if not job or job.s == 'done' or job.s == 'raw' or job.e ~= item.epoch then
    out[#out + 1] = 'lost'
  else
    -- A step that was taken before is a repetition, and is taken once.
    if (job.v or 0) <= item.step then
      if item.how == 'retry' then
        -- Another id than the caller knew is not the one that failed.
        if not job.r or job.r == item.knew then
          job.v = item.step + 1
          add(job, 'f', 1)
          add(job, 'p', item.polls)
          count('polls', item.polls)
          count('retries', 1)
          refund(job, item.refund)
          retire(job, item.knew)
          -- Of a create that its owner forgot over an earlier one's job.
          if job.rv then doubt(job) end
          job.c = nil
          enter(id, job, 'claimed')
        end
      else
        -- A create is settled also where an earlier owner's id came in meanwhile.
        job.v = item.step + 1
        if job.rv then
          if item.how == 'withdraw' then
            refund(job, job.rv)
            add(job, 'n', -1)
            count('creates', -1)
            withdrawn = withdrawn + 1
            job.rv, job.sl = nil, nil
          else
            doubt(job)
          end
        end
        job.c = nil
        if not job.r then enter(id, job, 'claimed') end
      end
    end
    job.w = worker
    put(id, job)
    lease(id, job, now + lease_ms)
    if job.r then
      out[#out + 1] = 'learn'
      tell(out, id, job)
    else
      out[#out + 1] = 'done'
    end
  end
end
write()
-- What did not leave is no create of the last 60 seconds either; it was begun just now.
local second = math.floor(now / 1000)
for at = second, second - 1, -1 do
  if withdrawn == 0 then break end
  local name = 's' .. at % 60
  local then_, so_far = string.match(call('HGET', LIMIT, name) or '', '^(%d+):(%d+)$')
  if then_ and tonumber(then_) == at then
    local less = math.min(withdrawn, tonumber(so_far))
    withdrawn = withdrawn - less
    call('HSET', LIMIT, name, string.format('%.0f:%.0f', at, tonumber(so_far) - less))
  end
end
return out
