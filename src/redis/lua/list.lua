-- Reads one page of live tokens in the order of the index. KEYS[1..2]: see prelude.
-- ARGV[1]  where to start, as a BYLEX bound
-- ARGV[2]  where to end, as a BYLEX bound
-- ARGV[3]  tokens at most
-- ARGV[4]  length of an id
-- ARGV[5]  only tokens that expire before this, in ms, or ''
-- Answers {'ok', now, tokens, next}: next is user \0 name \0 of the last one examined, or '' at the end.

-- A call drops about so many entries of expired tokens at most, and passes over so many tokens that expire too late, so
-- that it never holds Redis up for long.
local DROPPED_AT_MOST = 2000
local PASSED_AT_MOST = 1000
local start, stop, limit, idLength, expireBefore = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- Without a filter nearly all that is read is the page.
local step = expireBefore and 100 or limit + 1

local tokens, dropped, passed = {}, 0, 0

-- A user has one entry of a name at most, so that what comes after it are other names.
local function page(isLast)
  return { 'ok', digits(now), tokens, isLast and '' or string.sub(start, 2, -idLength - 1) }
end

while dropped < DROPPED_AT_MOST and passed < PASSED_AT_MOST do
  local members = redis.call('ZRANGE', KEYS[1], start, stop, 'BYLEX', 'LIMIT', 0, step)
  for _, member in ipairs(members) do
    local id = string.sub(member, -idLength)
    local expiry = liveUntil(KEYS[2] .. id)
    if not expiry then
      dropEntry(member)
      dropped = dropped + 1
    elseif expireBefore and expiry >= expireBefore then
      passed = passed + 1
    elseif #tokens == limit then
      return page(false)
    else
      tokens[#tokens + 1] = record(id)
    end
    start = '(' .. member
  end
  if #members < step then return page(true) end
end
return page(false)
