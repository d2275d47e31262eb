-- Ends a token and frees its name. KEYS[1..4], ARGV[1..10]: see prelude and mutation; there is no request_id.
-- ARGV[11]  etag that must match, or ''
-- Answers {word, now, ...}: ok token (as it was) | missing | conflict | late

local etag = ARGV[11]

local answer = settled()
if answer then return answer end

local id = find(user, name)
if not id then return { 'missing', digits(now) } end
local token = record(id)
if etag ~= '' and etag ~= etagOf(id, redis.call('HGET', KEYS[2] .. id, 'g')) then
  return { 'conflict', digits(now) }
end

redis.call('DEL', KEYS[2] .. id)
redis.call('ZREM', KEYS[1], user .. '\0' .. name .. '\0' .. id)
return applied('revoked', id, '', token)
