-- Reserves a slot and the money for a create, and marks that it is about to be sent.
-- in: lease ms, worker, api, period us, burst, horizon us, spend cap or none; items (id, epoch, step, reserve).
-- out: per item slot <us>, not_yet <us>, over_spend, lost, or learn <job>.
local lease_ms, worker, api = number(), text(), text()
local period, burst, horizon, cap = number(), number(), number(), optional_number()
-- A limit this much further away than it can be is of another clock.
local ANOTHER_CLOCK_US = 3600 * 1000000
local PAUSED_US = 1000000
local items, ids = {}, {}
for i = first_of(4), #ARGV, 4 do
  local item = {
    id = ARGV[i], epoch = tonumber(ARGV[i + 1]), step = tonumber(ARGV[i + 2]), reserve = tonumber(ARGV[i + 3]),
  }
  items[#items + 1] = item
  ids[#ids + 1] = item.id
end
load(ids)
local known = call('HMGET', META, 'paused', 'spent')
local limits = call('HMGET', LIMIT, 'tat', 'hold')
local paused, spent = known[1] == '1', tonumber(known[2] or 0)
local tat, hold = tonumber(limits[1] or 0), tonumber(limits[2] or 0)
if tat > now_us + horizon + burst * period + ANOTHER_CLOCK_US then tat = now_us + burst * period end
if hold > now_us + ANOTHER_CLOCK_US then hold = 0 end
-- After a hold there is no burst.
if hold > now_us then tat = math.max(tat, hold + (burst - 1) * period) end

local out, begun, closed = {}, 0, paused and PAUSED_US
for _, item in ipairs(items) do
  local job = jobs[item.id]
  if not job or job.s == 'done' or job.s == 'raw' or job.e ~= item.epoch then
    out[#out + 1] = 'lost'
  elseif job.r then
    out[#out + 1] = 'learn'
    tell(out, item.id, job)
  elseif job.s == 'submitting' then
    out[#out + 1] = 'slot'
    out[#out + 1] = job.sl - now_us
  elseif (job.v or 0) > item.step then
    -- A call that was overtaken by its own repetition: its create is long settled.
    out[#out + 1] = 'lost'
  elseif closed then
    out[#out + 1] = 'not_yet'
    out[#out + 1] = closed
  elseif cap and spent + item.reserve > cap then
    out[#out + 1] = 'over_spend'
  else
    local slot = math.max(now_us, tat - (burst - 1) * period)
    if slot - now_us > horizon then
      closed = slot - now_us
      out[#out + 1] = 'not_yet'
      out[#out + 1] = closed
    else
      tat = math.max(tat, slot) + period
      begun = begun + 1
      spent = spent + item.reserve
      count('spent', item.reserve)
      count('creates', 1)
      add(job, 'm', item.reserve)
      add(job, 'n', 1)
      job.v = item.step + 1
      job.rv, job.sl, job.a, job.w = item.reserve, slot, api, worker
      enter(item.id, job, 'submitting')
      lease(item.id, job, now + lease_ms)
      out[#out + 1] = 'slot'
      out[#out + 1] = slot - now_us
    end
  end
end

write()
if begun > 0 then
  -- Creates of the last 60 seconds, a counter for each second.
  local second = math.floor(now / 1000)
  local name = 's' .. second % 60
  local was = call('HGET', LIMIT, name)
  local at, so_far = string.match(was or '', '^(%d+):(%d+)$')
  so_far = at and tonumber(at) == second and tonumber(so_far) or 0
  call('HSET', LIMIT, 'tat', tat, name, string.format('%.0f:%.0f', second, so_far + begun))
end
return out
