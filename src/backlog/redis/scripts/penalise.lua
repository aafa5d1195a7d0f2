-- No create before this time has gone by.   in: ms.
local till = now_us + number() * 1000
local hold = tonumber(call('HGET', LIMIT, 'hold') or 0)
if till > hold then call('HSET', LIMIT, 'hold', till) end
return {}
