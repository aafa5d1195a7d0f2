-- Hands out work that has no remote id: what was left by the dead, due retries, ready ones, new messages.
-- in: lease ms, worker, n, cap (0: none).
-- out: paused, quiet ms, empty, next ms or none, whether jobs with a remote id have no owner, number of jobs, jobs, then messages (key, epoch, takes, text).
local lease_ms, worker, n, cap = number(), text(), number(), number()
-- A message is read in chunks, until so many bytes were read in a call.
local CHUNK, ENOUGH_BYTES = 16, 4 * 1024 * 1024
-- One byte more than a request may have: what is longer is rejected whatever stands behind.
local LONGEST_MESSAGE = 64 * 1024 + 1
-- Times that ready is looked into again because entries were stale.
local LOOKS = 8

local known = call('HMGET', META, 'paused', 'quiet_until')
local paused = known[1] == '1'
local quiet = math.max(0, tonumber(known[2] or 0) - now)
local ready = call('LLEN', READY)
local inbox = call('LLEN', INBOX)
local list = call('LLEN', LIST)
local leased = call('ZCARD', LEASE)
local first = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')

local room = (paused or quiet > 0) and 0 or n
local taken, raws, was_submitting, takes = {}, {}, {}, {}

local function take(id, job)
  if job.s == 'raw' then
    add(job, 'k', 1)
    raws[#raws + 1] = id
  else
    if job.s == 'submitting' then
      was_submitting[id] = true
      add(job, 'c', 1)
      count('crashes', 1)
      doubt(job)
    end
    job.dly = nil
    enter(id, job, 'claimed')
    taken[#taken + 1] = id
  end
  job.w = worker
  put(id, job)
  lease(id, job, now + lease_ms)
end

if room > 0 and leased > 0 then
  local ids = call('ZRANGEBYSCORE', LEASE, CREATING, CREATING + now, 'LIMIT', 0, room)
  load(ids)
  for _, id in ipairs(ids) do
    local job = jobs[id]
    if not job or job.s == 'done' or job.s == 'queued' then
      scores[id] = false
      leased = leased - 1
    elseif job.r then
      lease(id, job, RELEASED)
    else
      take(id, job)
      room = room - 1
    end
  end
end

-- From here on jobs are added to those in flight.
if cap > 0 then room = math.max(0, math.min(room, cap - leased)) end

if room > 0 and first[1] and tonumber(first[2]) <= now then
  local ids = call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, room)
  load(ids)
  for _, id in ipairs(ids) do
    local job = jobs[id]
    due[id] = false
    if job and job.s == 'queued' then
      take(id, job)
      room = room - 1
      leased = leased + 1
    end
  end
end

local from_ready = 0
for _ = 1, LOOKS do
  if room == 0 or from_ready >= ready then break end
  local ids = call('LRANGE', READY, -from_ready - room, -from_ready - 1)
  load(ids)
  from_ready = from_ready + #ids
  for i = #ids, 1, -1 do
    local id = ids[i]
    local job = jobs[id]
    if job and job.s == 'queued' and not job.dly then
      take(id, job)
      room = room - 1
      leased = leased + 1
    end
  end
end

local messages, bytes = {}, 0
local function take_messages(key, length)
  local from = 0
  while room > 0 and from < length and bytes < ENOUGH_BYTES do
    local some = call('LRANGE', key, -from - math.min(CHUNK, room), -from - 1)
    for i = #some, 1, -1 do
      bytes = bytes + #some[i]
      messages[#messages + 1] = #some[i] > LONGEST_MESSAGE and some[i]:sub(1, LONGEST_MESSAGE) or some[i]
    end
    from = from + #some
    room = room - #some
    leased = leased + #some
  end
  return from
end
local from_inbox = take_messages(INBOX, inbox)
local from_list = take_messages(LIST, list)

local payloads = load_payloads(taken)
for id, found in pairs(load_payloads(raws)) do payloads[id] = found end
if #messages > 0 then
  local seq = call('HINCRBY', META, 'seq', #messages) - #messages
  for i, message in ipairs(messages) do
    local id = '\0' .. string.format('%.0f', seq + i)
    raws[#raws + 1] = id
    jobs[id] = { k = 1, w = worker }
    enter(id, jobs[id], 'raw')
    texts[id] = message
    payloads[id] = message
    lease(id, jobs[id], now + lease_ms)
  end
end
local fenced = {}
for _, id in ipairs(taken) do fenced[#fenced + 1] = id end
for _, id in ipairs(raws) do fenced[#fenced + 1] = id end
new_epochs(fenced)
local moved_delayed = next(due) ~= nil
write()
-- What is taken next stands at the right.
if from_ready > 0 then call('LTRIM', READY, 0, -from_ready - 1) end
if from_inbox > 0 then call('LTRIM', INBOX, 0, -from_inbox - 1) end
if from_list > 0 then call('LTRIM', LIST, 0, -from_list - 1) end

-- What is over or due already is not waited for: it is asked for again, or another's.
if moved_delayed then first = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES') end
local soonest
local function consider(till)
  if till and till > now and (not soonest or till < soonest) then soonest = till end
end
if first[2] then
  consider(tonumber(first[2]))
  if tonumber(first[2]) <= now then
    consider(tonumber(call('ZRANGEBYSCORE', DELAYED, '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]))
  end
end
if leased > 0 then
  local after, others_after = string.format('(%.0f', now), string.format('(%.0f', CREATING + now)
  consider(tonumber(call('ZRANGEBYSCORE', LEASE, after, CREATING, 'WITHSCORES', 'LIMIT', 0, 1)[2]))
  local other = call('ZRANGEBYSCORE', LEASE, others_after, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  consider(other and tonumber(other) - CREATING)
end
local left = ready - from_ready + inbox - from_inbox + list - from_list + leased
local empty = left == 0 and not first[1]

local ownerless = leased > 0 and quiet == 0 and #call('ZRANGEBYSCORE', LEASE, '-inf', now, 'LIMIT', 0, 1) or 0
local out = { paused and 1 or 0, quiet, empty and 1 or 0, soonest and soonest - now or false, ownerless, #taken }
for _, id in ipairs(taken) do tell(out, id, jobs[id], payloads[id], was_submitting[id]) end
for _, id in ipairs(raws) do
  out[#out + 1] = id
  out[#out + 1] = jobs[id].e
  out[#out + 1] = jobs[id].k
  out[#out + 1] = payloads[id] or ''
end
return out
