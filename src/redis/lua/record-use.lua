-- Notes that the current secret of a token was verified. Touches neither the expiry nor another generation.
-- KEYS[1]  token
-- KEYS[2]  receipt of its latest request_id; the token's own key when it has none
-- ARGV[1]  generation that was verified
-- Answers 'ok' | 'gone'. Without prelude.

local clock = redis.call('TIME')
local now = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))
local generation, used, previousExpiry = unpack(redis.call('HMGET', KEYS[1], 'g', 'a', 'pe'))
if generation ~= ARGV[1] then return 'gone' end

-- Whoever uses the secret has it: from the first use on it cannot be replayed.
if not used then redis.call('HDEL', KEYS[2], 'sealed') end
if previousExpiry and tonumber(previousExpiry) < tonumber(now) then redis.call('HDEL', KEYS[1], 'pe') end
redis.call('HSET', KEYS[1], 'a', now)
return 'ok'
