-- Reserves times for polls.
-- in: n, period us, burst, horizon us.   out: us until the next one that was not given, then us until each one given.
local n, period, burst, horizon = number(), number(), number(), number()
local ANOTHER_CLOCK_US = 3600 * 1000000
local tat = tonumber(call('HGET', LIMIT, 'ptat') or 0)
if tat > now_us + horizon + burst * period + ANOTHER_CLOCK_US then tat = now_us + burst * period end

local out = { 0 }
for _ = 1, n do
  local slot = math.max(now_us, tat - (burst - 1) * period)
  if slot - now_us > horizon then break end
  tat = math.max(tat, slot) + period
  out[#out + 1] = slot - now_us
end
out[1] = math.max(0, tat - (burst - 1) * period - now_us)
if #out > 1 then call('HSET', LIMIT, 'ptat', tat) end
return out
