local call = KEYS[#KEYS]
local repeated = redis.call('EXISTS', call) == 1
local balances, refused = {}, -1
for i = 1, #KEYS - 1 do
  local window = redis.call('HMGET', KEYS[i], 'spent', 'reserved')
  balances[2 * i - 1], balances[2 * i] = window[1] or '0', window[2] or '0'
  local held = (tonumber(window[1]) or 0) + (tonumber(window[2]) or 0)
  local limit, amount = tonumber(ARGV[i * 4 - 3]), tonumber(ARGV[i * 4 - 2])
  if refused < 0 and ARGV[i * 4] == '1' and (held >= limit or held + amount > limit) then refused = i - 1 end
end
if repeated then refused = -1 end
if refused < 0 and not repeated then
  redis.call('HSET', call, 'state', 'reserved')
  redis.call('EXPIRE', call, ARGV[#ARGV])
  for i = 1, #KEYS - 1 do
    redis.call('HSET', call, KEYS[i], ARGV[i * 4 - 2])
    redis.call('HINCRBY', KEYS[i], 'reserved', ARGV[i * 4 - 2])
    redis.call('EXPIRE', KEYS[i], ARGV[i * 4 - 1])
  end
end
table.insert(balances, 1, tostring(refused))
return balances
