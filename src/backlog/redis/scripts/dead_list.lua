-- Requests that were given up, the latest first.   in: how many.   out: id, when, payload, of each.
local ids = call('ZREVRANGE', DEAD, 0, number() - 1, 'WITHSCORES')
local graves = {}
for i = 1, #ids, 2 do graves[#graves + 1] = 'dead\0' .. ids[i] end
local payloads = load_payloads(graves)
local out = {}
for i = 1, #ids, 2 do
  local grave = payloads['dead\0' .. ids[i]]
  out[#out + 1] = ids[i]
  out[#out + 1] = tonumber(ids[i + 1])
  out[#out + 1] = grave and cmsgpack.unpack(grave).p or ''
end
return out
