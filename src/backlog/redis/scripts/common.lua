-- What every script begins with: keys, clock, arguments, and a write that comes after all decisions.
--
-- A script reads, decides on tables, and calls write() last: an error before that has changed nothing.
-- An argument that is absent is the empty string. A reply is a flat array; what is absent in it is false.

local LIST, INBOX, READY, DELAYED, LEASE, JOB, PAYLOAD, LIMIT, META, DONE, DEAD, ORPHAN, WORKERS = unpack(KEYS, 1, 13)
-- Locals are faster to reach than globals.
local call, ARGV = redis.call, ARGV
local tonumber, ipairs, pairs, pack, unpack_job = tonumber, ipairs, pairs, cmsgpack.pack, cmsgpack.unpack

local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)

-- Scores in LEASE: the lease's end in ms for a job that has a remote id; for every other one CREATING is
-- added. So adopt and claim each find theirs at the head of a range, however many the other one has.
-- Both sums are integers below 2^53.
local CREATING = 2 ^ 50
-- A lease that was ended by its owner.
local RELEASED = 0
-- Most remote ids kept of jobs of one request that were given a verdict.
local MOST_RETIRED = 8
-- Most entries kept in ORPHAN.
local MOST_ORPHANS = 10000

local cursor = 0
local function text()
  cursor = cursor + 1
  return ARGV[cursor] or error('an argument is missing')
end
local function number()
  return tonumber(text()) or error('an argument is no number')
end
local function optional()
  local given = text()
  if given ~= '' then return given end
end
local function optional_number()
  local given = optional()
  return given and (tonumber(given) or error('an argument is no number'))
end
local function more()
  return cursor < #ARGV
end
-- Where the first of the remaining items begins, of so many arguments each.
local function first_of(width)
  if (#ARGV - cursor) % width ~= 0 then error('an argument is missing') end
  return cursor + 1
end
local function given(argument)
  if argument ~= '' then return argument end
end

-- A whole number's digits. Redis writes a number out anew for each place where it stands, and slowly; scores of
-- a call are few different ones.
local digits = {}
local function shown(number)
  local text = digits[number]
  if not text then
    text = string.format('%.0f', number)
    digits[number] = text
  end
  return text
end

-- Calls a variadic command in pieces that Lua can unpack.
local function many(command, key, list)
  for i = 1, #list, 1000 do
    call(command, key, unpack(list, i, math.min(i + 999, #list)))
  end
end

-- What was read, and what is to be written: job by id (false: none), lease score, payload, time in
-- DELAYED (false: remove), additions to counters in META.
local jobs, changed, scores, texts, due, counts = {}, {}, {}, {}, {}, {}

local function load(ids)
  local wanted = {}
  for _, id in ipairs(ids) do
    if jobs[id] == nil then
      jobs[id] = false
      wanted[#wanted + 1] = id
    end
  end
  for i = 1, #wanted, 1000 do
    local last = math.min(i + 999, #wanted)
    local packed = call('HMGET', JOB, unpack(wanted, i, last))
    for k = i, last do
      local one = packed[k - i + 1]
      jobs[wanted[k]] = one and unpack_job(one)
    end
  end
end

local function load_payloads(ids)
  local found = {}
  for i = 1, #ids, 1000 do
    local last = math.min(i + 999, #ids)
    local some = call('HMGET', PAYLOAD, unpack(ids, i, last))
    for k = i, last do found[ids[k]] = some[k - i + 1] end
  end
  return found
end

local function put(id, job)
  jobs[id] = job
  changed[id] = true
end

local function enter(id, job, state)
  job.s = state
  job.t = now
  put(id, job)
end

-- The job must be in its new state already.
local function lease(id, job, till)
  scores[id] = (job.r and 0 or CREATING) + till
end

local function forget(id)
  put(id, false)
  scores[id] = false
  texts[id] = false
end

local function count(name, by)
  counts[name] = (counts[name] or 0) + by
end

local function add(job, name, by)
  job[name] = (job[name] or 0) + by
end

-- Gives back what was reserved or billed, at most what this job has.
local function refund(job, amount)
  amount = math.max(0, math.min(amount, job.m or 0))
  add(job, 'm', -amount)
  count('spent', -amount)
end

-- A create of the present epoch whose fate nobody will tell.
local function doubt(job)
  job.rv = nil
  job.sl = nil
  add(job, 'u', 1)
  count('unknown_creates', 1)
end

local function is_retired(job, remote)
  for _, one in ipairs(job.x or {}) do
    if one == remote then return true end
  end
  return false
end

local function retire(job, remote)
  local kept = job.x or {}
  if remote and not is_retired(job, remote) then
    kept[#kept + 1] = remote
    if #kept > MOST_RETIRED then table.remove(kept, 1) end
  end
  job.x = #kept > 0 and kept or nil
  job.r, job.at, job.dl = nil, nil, nil
end

-- What a tombstone passes on to the request's next generation, so that a late repetition is known.
local function verdicts(tombstone)
  if not tombstone then return nil end
  retire(tombstone, tombstone.r)
  return tombstone.x
end

-- A paid job that nobody polls: noted once.
local orphans = {}
local function orphan(id, remote, api, at)
  local note = '{"id":' .. cjson.encode(id) .. ',"remote_id":' .. remote .. ',"api":' .. cjson.encode(api)
    .. ',"at":' .. at .. '}'
  if not orphans[note] and not call('LPOS', ORPHAN, note, 'MAXLEN', MOST_ORPHANS) then
    orphans[note] = true
    orphans[#orphans + 1] = note
    count('orphans', 1)
  end
end

-- The job has no remote id, and this one is recorded. A present owner keeps its lease and learns of it
-- at its next call; where there is none, the job is up for adoption.
local function remember(id, job, remote, api, at, budget)
  job.r, job.a, job.at, job.dl, job.c = remote, api, at, now + budget, nil
  if job.s == 'queued' then
    due[id] = false
    job.dly = nil
    scores[id] = RELEASED
  elseif scores[id] == nil then
    local score = tonumber(call('ZSCORE', LEASE, id) or CREATING)
    scores[id] = score >= CREATING and score - CREATING or score
  elseif scores[id] and scores[id] >= CREATING then
    scores[id] = scores[id] - CREATING
  end
  enter(id, job, 'waiting')
end

-- Appends what a caller has to know of a job that it holds. Its length is known to the Rust side.
local function tell(out, id, job, payload, was_submitting)
  local n = #out
  out[n + 1] = id
  out[n + 2] = job.e
  out[n + 3] = job.v or 0
  out[n + 4] = job.s
  out[n + 5] = was_submitting and 1 or 0
  out[n + 6] = payload or ''
  out[n + 7] = job.h or ''
  out[n + 8] = job.n or 0
  out[n + 9] = job.f or 0
  out[n + 10] = job.u or 0
  out[n + 11] = job.p or 0
  out[n + 12] = job.m or 0
  out[n + 13] = job.c or 0
  out[n + 14] = job.r or false
  out[n + 15] = job.at or false
  out[n + 16] = job.dl and job.dl - now or false
  out[n + 17] = job.nd and job.nd - now or false
  out[n + 18] = job.a or false
end

-- Takes a few tombstones out that have left the window.
local function trim(window, most)
  local old = call('ZRANGEBYSCORE', DONE, '-inf', now - window, 'LIMIT', 0, most)
  if #old == 0 then return end
  load(old)
  for _, id in ipairs(old) do
    local job = jobs[id]
    if job and job.s == 'done' then put(id, false) end
  end
  many('ZREM', DONE, old)
end

-- Hands out epochs, one for each id, in order.
local function new_epochs(ids)
  if #ids == 0 then return end
  local last = call('HINCRBY', META, 'epoch', #ids)
  for i, id in ipairs(ids) do
    jobs[id].e = last - #ids + i
    jobs[id].v = nil
  end
end

local function split(map, value)
  local kept, removed = {}, {}
  for id, one in pairs(map) do
    if one == false then
      removed[#removed + 1] = id
    else
      value(kept, id, one)
    end
  end
  return kept, removed
end
local function field(kept, id, one)
  kept[#kept + 1] = id
  kept[#kept + 1] = one
end
local function scored(kept, id, one)
  kept[#kept + 1] = shown(one)
  kept[#kept + 1] = id
end

local function write()
  local records = {}
  for id in pairs(changed) do
    records[id] = jobs[id] and pack(jobs[id])
  end
  local kept, removed = split(records, field)
  many('HSET', JOB, kept)
  many('HDEL', JOB, removed)
  kept, removed = split(scores, scored)
  many('ZADD', LEASE, kept)
  many('ZREM', LEASE, removed)
  kept, removed = split(texts, field)
  many('HSET', PAYLOAD, kept)
  many('HDEL', PAYLOAD, removed)
  kept, removed = split(due, scored)
  many('ZADD', DELAYED, kept)
  many('ZREM', DELAYED, removed)
  if #orphans > 0 then
    many('LPUSH', ORPHAN, orphans)
    call('LTRIM', ORPHAN, 0, MOST_ORPHANS - 1)
  end
  for name, by in pairs(counts) do
    if by ~= 0 then call('HINCRBY', META, name, by) end
  end
end
