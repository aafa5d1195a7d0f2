-- Ends holds at once: jobs with a remote id are up for adoption, others for the next claim.
-- in: items (id, epoch, polls, delay ms).   out: per item done or lost.
-- The epoch is spent with it: whatever comes late from this owner does not hold the job again.
local items, ids = {}, {}
while more() do
  local item = { id = text(), epoch = number(), polls = number(), delay = number() }
  items[#items + 1] = item
  ids[#ids + 1] = item.id
end
load(ids)

local out, ended, ready, raws = {}, {}, {}, {}
for i, item in ipairs(items) do
  local id = item.id
  local job = jobs[id]
  if not job or job.s == 'done' or job.s == 'queued' or job.e ~= item.epoch then
    out[i] = 'lost'
  else
    out[i] = 'done'
    if job.s == 'raw' then
      raws[#raws + 1] = id
    else
      if item.polls > 0 then
        add(job, 'p', item.polls)
        count('polls', item.polls)
      end
      ended[#ended + 1] = id
      -- Never again in this call.
      job.e = 0
      if job.s == 'claimed' then
        enter(id, job, 'queued')
        scores[id] = false
        if item.delay > 0 then
          job.dly = now + item.delay
          due[id] = job.dly
        else
          ready[#ready + 1] = id
        end
      else
        -- waiting; or submitting, which the next claim finds as a create in doubt.
        put(id, job)
        lease(id, job, RELEASED)
      end
    end
  end
end
new_epochs(ended)

local payloads = load_payloads(raws)
local back = {}
for _, id in ipairs(raws) do
  -- Twice in a call is once.
  if payloads[id] and jobs[id] then
    back[#back + 1] = payloads[id]
    forget(id)
  end
end
write()
many('RPUSH', READY, ready)
many('RPUSH', INBOX, back)
return out
