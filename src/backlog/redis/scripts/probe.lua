-- Whether this user may do all that the scripts do. A right that is found missing half-way through a script
-- would leave it half done, so each is asked for first.
-- in: results list or none, a key of a result or none, a reply list.
-- out: whether reply lists may be pushed to, then each command that is denied.
local results, result_key, reply = optional(), optional(), text()

local wanted = {
  { 'HGET', META, 'f' }, { 'HMGET', META, 'f' }, { 'HSET', META, 'f', 'v' }, { 'HDEL', META, 'f' }, { 'HINCRBY', META, 'f', 1 },
  { 'LLEN', LIST }, { 'LRANGE', LIST, 0, 0 }, { 'LTRIM', LIST, 0, -1 }, { 'LPUSH', LIST, 'x' }, { 'RPUSH', INBOX, 'x' },
  { 'LPOS', ORPHAN, 'x' }, { 'BLMOVE', LIST, INBOX, 'RIGHT', 'LEFT', 1 },
  { 'ZADD', LEASE, 0, 'm' }, { 'ZREM', LEASE, 'm' }, { 'ZCARD', LEASE }, { 'ZSCORE', LEASE, 'm' }, { 'ZRANGE', LEASE, 0, 0 },
  { 'ZRANGEBYSCORE', LEASE, '-inf', 0 }, { 'ZCOUNT', WORKERS, '-inf', 0 }, { 'ZREMRANGEBYSCORE', WORKERS, '-inf', 0 },
  { 'ZPOPMIN', DEAD }, { 'ZREVRANGE', DEAD, 0, 0 }, { 'TYPE', LIST },
}
if results then wanted[#wanted + 1] = { 'LPUSH', results, 'x' } end
if results then wanted[#wanted + 1] = { 'TYPE', results } end
if result_key then wanted[#wanted + 1] = { 'SET', result_key, 'v', 'PX', 1 } end
if result_key then wanted[#wanted + 1] = { 'TYPE', result_key } end

local function may(command)
  return redis.acl_check_cmd(unpack(command))
end
local out = { may({ 'LPUSH', reply, 'x' }) and may({ 'TYPE', reply }) and 1 or 0 }
for _, command in ipairs(wanted) do
  if not may(command) then out[#out + 1] = command[1] .. ' ' .. command[2] end
end
return out
