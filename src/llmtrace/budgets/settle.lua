local call = KEYS[#KEYS]
local state = redis.call('HGET', call, 'state')
local spent = {}
for i = 1, #KEYS - 1 do
  if state == 'settled' then
    spent[i] = redis.call('HGET', KEYS[i], 'spent') or '0'
  else
    local reserved = state and redis.call('HGET', call, KEYS[i]) or '0'
    if reserved ~= '0' and redis.call('HINCRBY', KEYS[i], 'reserved', '-' .. reserved) < 0 then
      redis.call('HSET', KEYS[i], 'reserved', '0')
    end
    redis.call('HINCRBY', KEYS[i], 'spent', ARGV[i * 2 - 1])
    spent[i] = redis.call('HGET', KEYS[i], 'spent')
    redis.call('EXPIRE', KEYS[i], ARGV[i * 2])
  end
end
redis.call('DEL', call)
redis.call('HSET', call, 'state', 'settled')
redis.call('EXPIRE', call, ARGV[#ARGV])
return spent
