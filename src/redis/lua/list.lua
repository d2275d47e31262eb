-- Reads one page of live tokens in the order of the index. KEYS[1..2]: see prelude.
-- ARGV[1]  where to start, as a BYLEX bound
-- ARGV[2]  where to end, as a BYLEX bound
-- ARGV[3]  tokens at most
-- ARGV[4]  length of an id
-- Answers {'ok', now, tokens, next}: next is user \0 name \0 of the last one examined, or '' at the end.

-- A call drops at most so many entries of expired tokens, so that it never holds Redis up for long.
local DROPPED_AT_MOST = 2000
local start, stop, limit, idLength = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local tokens, dropped, last = {}, 0, ''
while dropped < DROPPED_AT_MOST do
  local members = redis.call('ZRANGE', KEYS[1], start, stop, 'BYLEX', 'LIMIT', 0, limit + 1)
  for _, member in ipairs(members) do
    local id = string.sub(member, -idLength)
    if not isLive(KEYS[2] .. id) then
      dropEntry(member)
      dropped = dropped + 1
    elseif #tokens == limit then
      return { 'ok', digits(now), tokens, last }
    else
      tokens[#tokens + 1] = record(id)
      last = string.sub(member, 1, -idLength - 1)
    end
    start = '(' .. member
  end
  if #members <= limit then return { 'ok', digits(now), tokens, '' } end
end
return { 'ok', digits(now), tokens, string.sub(start, 2, -idLength - 1) }
