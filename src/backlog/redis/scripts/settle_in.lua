-- Notes which Redis this is; where it is another one than before, nobody claims for one lease.
-- in: lease ms, run id.   out: whether it differs, quiet ms.
local lease_ms, run_id = number(), text()
local known = call('HMGET', META, 'run_id', 'quiet_until')
local quiet_until = tonumber(known[2] or 0)
local differs = known[1] and known[1] ~= run_id
if differs then
  quiet_until = now + lease_ms
  call('HSET', META, 'run_id', run_id, 'quiet_until', quiet_until)
elseif not known[1] then
  call('HSET', META, 'run_id', run_id)
end
return { differs and 1 or 0, math.max(0, quiet_until - now) }
