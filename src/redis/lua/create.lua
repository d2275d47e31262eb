-- Creates a token. KEYS[1..4], ARGV[1..10]: see prelude and mutation.
-- ARGV[11]  organization
-- ARGV[12]  id
-- ARGV[13]  role
-- ARGV[14]  ttl in ms
-- ARGV[15]  secret hash
-- ARGV[16]  most tokens a user may have
-- Answers {word, now, ...}: ok token | replayed token sealed | reused | expired | exists | limit | late | collision

-- Each creation looks at a few entries anywhere in the index, so that those of expired tokens stay a small part of it.
local SWEPT_PER_CREATION = 8
local organization, id, role, ttl, secret, limit = unpack(ARGV, 11)

-- Drops the entry if its token has expired; true then.
local function sweep(member)
  local isExpired = not isLive(KEYS[2] .. string.sub(member, -#id))
  if isExpired then dropEntry(member) end
  return isExpired
end

-- True when the user has room for one more; entries of expired tokens make room.
local function hasRoom()
  local first, last = '[' .. user .. '\0', '(' .. user .. '\1'
  if redis.call('ZLEXCOUNT', KEYS[1], first, last) < tonumber(limit) then return true end
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], first, last, 'BYLEX')) do
    if sweep(member) then return true end
  end
  return false
end

local answer = settled()
if answer then return answer end

local holder = find(user, name)
if holder then
  local isRetry = request ~= '' and redis.call('HGET', KEYS[2] .. holder, 'q') == request
  return { isRetry and 'expired' or 'exists', digits(now) }
end
for _, member in ipairs(redis.call('ZRANDMEMBER', KEYS[1], SWEPT_PER_CREATION)) do sweep(member) end
if not hasRoom() then return { 'limit', digits(now) } end
local key = KEYS[2] .. id
if redis.call('EXISTS', key) == 1 then return { 'collision', digits(now) } end

redis.call('HSET', key, 'o', organization, 'u', user, 'n', name, 'c', digits(now), 't', ttl, 'g', '1', 's', secret)
if role ~= '' then redis.call('HSET', key, 'r', role) end
if request ~= '' then redis.call('HSET', key, 'q', request) end
redis.call('ZADD', KEYS[1], 0, user .. '\0' .. name .. '\0' .. id)
-- Read before it gets its end, at which it may be gone at once.
local token = record(id)
expireAt(key, now + ttl)
return applied('created', id, '1', token)
