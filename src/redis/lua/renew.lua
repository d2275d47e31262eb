-- Renews a token in place. KEYS[1..4], ARGV[1..10]: see prelude and mutation.
-- ARGV[11]  new secret hash
-- ARGV[12]  grace period in ms
-- ARGV[13]  etag that must match, or ''
-- Answers {word, now, ...}: ok token | replayed token sealed | reused | expired | missing | conflict | late

local secret, grace, etag = unpack(ARGV, 11)

local answer = settled()
if answer then return answer end

local id = find(user, name)
if not id then return { 'missing', digits(now) } end
local key = KEYS[2] .. id
local created, ttl, generation, replaced, latest = unpack(redis.call('HMGET', key, 'c', 't', 'g', 's', 'q'))
if request ~= '' and latest == request then return { 'expired', digits(now) } end
if etag ~= '' and etag ~= etagOf(id, generation) then return { 'conflict', digits(now) } end

generation = digits(generation + 1)
redis.call('HSET', key, 'c', digits(now), 'g', generation, 's', secret, 'p', replaced)
if tonumber(grace) > 0 then
  redis.call('HSET', key, 'pe', digits(math.min(now + grace, created + ttl)))
  redis.call('HDEL', key, 'a')
else
  redis.call('HDEL', key, 'a', 'pe')
end
if request ~= '' then redis.call('HSET', key, 'q', request) end
local token = record(id)
expireAt(key, now + ttl)
return applied('renewed', id, generation, token)
