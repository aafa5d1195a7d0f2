-- Counts, all of them cheap.   in: nothing.
-- out: list, inbox, ready, delayed, in flight, dead, orphans, workers alive, paused, quiet ms, hold ms, creates in the
-- last 60 s, then name and value of each counter.
local COUNTERS = {
  'spent', 'creates', 'unknown_creates', 'polls', 'admitted', 'solved', 'failed', 'rejected', 'duplicates', 'retries', 'orphans',
  'adopted', 'crashes',
}
local known = call('HMGET', META, 'paused', 'quiet_until')
local out = {
  call('LLEN', LIST), call('LLEN', INBOX), call('LLEN', READY), call('ZCARD', DELAYED), call('ZCARD', LEASE),
  call('ZCARD', DEAD), call('LLEN', ORPHAN), call('ZCOUNT', WORKERS, '(' .. string.format('%.0f', now), '+inf'),
  known[1] == '1' and 1 or 0, math.max(0, tonumber(known[2] or 0) - now),
}
local hold = tonumber(call('HGET', LIMIT, 'hold') or 0)
out[#out + 1] = math.max(0, math.ceil((hold - now_us) / 1000))

local names = {}
for i = 0, 59 do names[i + 1] = 's' .. i end
local second, creates = math.floor(now / 1000), 0
for _, one in ipairs(call('HMGET', LIMIT, unpack(names))) do
  local at, times = string.match(one or '', '^(%d+):(%d+)$')
  if at and tonumber(at) > second - 60 then creates = creates + tonumber(times) end
end
out[#out + 1] = creates

for i, value in ipairs(call('HMGET', META, unpack(COUNTERS))) do
  out[#out + 1] = COUNTERS[i]
  out[#out + 1] = tonumber(value or 0)
end
return out
