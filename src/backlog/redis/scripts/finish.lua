-- The end of requests: outcome delivered, state gone, tombstone left, all at once.
-- KEYS[14...]: targets. in: window ms, results (index of a target, 0: none); items (id, epoch, success,
-- remote id known or none, refund, polls, unknown create, dead, status word, target index, reply, outcome, outcome with
-- reply_error or none, result key index, ttl ms).
-- out: per item done, lost, bad_target <key>, or learn <job>. An error that begins with WRONGTARGET names the results list.
local window, results = number(), number()
local FIRST_TARGET = 13
-- Most requests that are kept for requeue.
local MOST_DEAD = 10000
local ours = {}
for i = 1, FIRST_TARGET do ours[KEYS[i]] = true end
local types = {}
-- Whether the target takes outcomes in this way. What is empty becomes what it is first used as; the
-- results list is a list, and our own keys are no targets.
local function holds(index, wanted)
  if not types[index] then
    local key = KEYS[FIRST_TARGET + index]
    types[index] = ours[key] and 'ours' or call('TYPE', key).ok
    if types[index] == 'none' then types[index] = index == results and 'list' or wanted end
  end
  return types[index] == wanted
end

local items, ids = {}, {}
for i = first_of(15), #ARGV, 15 do
  local item = {
    id = ARGV[i], epoch = tonumber(ARGV[i + 1]), success = ARGV[i + 2] == '1', knew = given(ARGV[i + 3]),
    refund = tonumber(ARGV[i + 4]), polls = tonumber(ARGV[i + 5]), unknown = ARGV[i + 6] == '1',
    dead = ARGV[i + 7] == '1', status = ARGV[i + 8], target = tonumber(ARGV[i + 9]), is_reply = ARGV[i + 10] == '1',
    outcome = ARGV[i + 11], fallback = given(ARGV[i + 12]), result_key = tonumber(ARGV[i + 13]),
    ttl = tonumber(ARGV[i + 14]),
  }
  items[#items + 1] = item
  ids[#ids + 1] = item.id
end
load(ids)

local out, pushes, order, values, dead, finished = {}, {}, {}, {}, {}, {}

-- Whether there is a place for the outcome; puts it there in thought.
local function deliver(item)
  local target, outcome = item.target, item.outcome
  if item.is_reply and not holds(target, 'list') then
    target, outcome = results, item.fallback or outcome
    if target == 0 and item.result_key == 0 then return false, KEYS[FIRST_TARGET + item.target] end
  end
  if item.result_key > 0 and not holds(item.result_key, 'string') then
    return false, KEYS[FIRST_TARGET + item.result_key]
  end
  if target > 0 then
    if not holds(target, 'list') then return nil, KEYS[FIRST_TARGET + target] end
    if not pushes[target] then
      pushes[target] = {}
      order[#order + 1] = target
    end
    table.insert(pushes[target], outcome)
  end
  if item.result_key > 0 then values[#values + 1] = { KEYS[FIRST_TARGET + item.result_key], outcome, item.ttl } end
  return true
end

for _, item in ipairs(items) do
  local id = item.id
  local job = jobs[id]
  local mine = job and job.e == item.epoch
  local known = job and item.knew and job.r == item.knew
  if not job or job.s == 'done' then
    out[#out + 1] = mine and 'done' or 'lost'
  elseif not mine and not (item.success and known) then
    out[#out + 1] = 'lost'
  elseif not item.success and job.r and not known then
    out[#out + 1] = 'learn'
    tell(out, id, job)
  else
    local delivered, bad = deliver(item)
    if delivered == nil then
      return redis.error_reply('WRONGTARGET the results list ' .. bad .. ' is no list')
    elseif not delivered then
      out[#out + 1] = 'bad_target'
      out[#out + 1] = bad
    else
      -- Success with another job than the recorded one: that one is paid, too.
      if job.r and item.knew and not known then orphan(id, job.r, job.a, string.format('%.0f', job.at)) end
      refund(job, item.refund)
      -- Nobody will tell any more what became of a create beside the recorded job.
      if item.unknown or (job.rv and job.r) then count('unknown_creates', 1) end
      count('polls', item.polls)
      count(item.status, 1)
      forget(id)
      if job.s ~= 'raw' then
        if item.dead then dead[#dead + 1] = id end
        put(id, { s = 'done', e = item.epoch, h = job.h, r = item.knew or job.r, x = job.x, t = now })
        finished[#finished + 1] = shown(now)
        finished[#finished + 1] = id
      end
      out[#out + 1] = 'done'
    end
  end
end

local graves = {}
local payloads = load_payloads(dead)
for _, id in ipairs(dead) do
  texts['dead\0' .. id] = pack({ p = payloads[id] or '', h = jobs[id].h })
  graves[#graves + 1] = shown(now)
  graves[#graves + 1] = id
end
trim(window, 2 * #items + 16)
write()
many('ZADD', DONE, finished)
many('ZADD', DEAD, graves)
if #graves > 0 then
  -- The oldest make room.
  local over = call('ZCARD', DEAD) - MOST_DEAD
  if over > 0 then
    local popped, gone = call('ZPOPMIN', DEAD, over), {}
    for i = 1, #popped, 2 do gone[#gone + 1] = 'dead\0' .. popped[i] end
    many('HDEL', PAYLOAD, gone)
  end
end
for _, target in ipairs(order) do many('LPUSH', KEYS[FIRST_TARGET + target], pushes[target]) end
for _, value in ipairs(values) do call('SET', value[1], value[2], 'PX', value[3]) end
return out
