-- Put before the scripts that find tokens by name by src/redis/scripts.ts, which also defines FIELDS, the token fields in
-- reading order.
--
-- KEYS[1]  index      ZSET of the organization: score 0, members user \0 name \0 id
-- KEYS[2]  tokens     what every token key starts with; a script appends the 12-character id it finds in the index.
--                     Looking the id up and acting on it must be one step, and all keys share the organization's slot.
-- Redis freezes key expiry while a script runs, but not TIME: `liveUntil` closes that gap.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Milliseconds as digits; Lua's own form of so large a number loses some.
local function digits(number)
  return string.format('%.0f', number)
end

-- When the token of that key expires, or nil where it has.
local function liveUntil(key)
  local times = redis.call('HMGET', key, 'c', 't')
  local expiry = times[1] and times[1] + times[2]
  return expiry and now <= expiry and expiry or nil
end

local function isLive(key)
  return liveUntil(key) ~= nil
end

-- The token's fields with its id, as every answer carries them.
local function record(id)
  return { id, redis.call('HMGET', KEYS[2] .. id, unpack(FIELDS)) }
end

-- What a request's etag must be; src/domain/token.ts builds the same text.
local function etagOf(id, generation)
  return id .. '.' .. generation
end

-- Drops the index entry of an expired token. Reads do so too, and go on where Redis takes no writes.
local function dropEntry(member)
  redis.pcall('ZREM', KEYS[1], member)
end

-- The id of the user's live token of that name, or nil. Entries that an expiry left behind are dropped as they are met.
local function find(user, name)
  local start = user .. '\0' .. name .. '\0'
  local members = redis.call('ZRANGE', KEYS[1], '[' .. start, '(' .. user .. '\0' .. name .. '\1', 'BYLEX')
  for _, member in ipairs(members) do
    local id = string.sub(member, #start + 1)
    if isLive(KEYS[2] .. id) then return id end
    dropEntry(member)
  end
  return nil
end
