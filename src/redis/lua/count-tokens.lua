-- Looks at the next few keys of this server, whatever slots they are in, and counts the tokens among them. Without prelude.
-- ARGV[1]  where to go on, as SCAN has it; '0' to begin
-- ARGV[2]  what token keys look like, as a pattern
-- ARGV[3]  how many keys to look at, about
-- ARGV[4]  now, in ms
-- ARGV[5..] spans in ms, rising
-- Answers {next, tokens, of them those that expire within the first span, ... within the last}; next is '0' at the end.

local nextCursor, keys = unpack(redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3]))
local counts, ends = { 0 }, {}
for at = 5, #ARGV do
  counts[at - 3], ends[at - 3] = 0, ARGV[4] + ARGV[at]
end
for _, key in ipairs(keys) do
  -- A slot that is on its way to another master of a Cluster refuses: its tokens are counted there.
  local expireTime = redis.pcall('PEXPIRETIME', key)
  if type(expireTime) == 'number' and expireTime > 0 then
    counts[1] = counts[1] + 1
    for at = #counts, 2, -1 do
      if expireTime > ends[at] then break end
      counts[at] = counts[at] + 1
    end
  end
end
return { nextCursor, unpack(counts) }
