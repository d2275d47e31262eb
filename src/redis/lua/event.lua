-- Put before the scripts that leave events, with FIELDS in scope.

-- Adds an event to the stream at `key`, and drops those that are older than `retention` in ms. `token`: {id, values of
-- FIELDS}. Redis's own ids never go back, even where its clock does.
local function writeEvent(key, retention, kind, token, actor)
  local of = {}
  for at, field in ipairs(FIELDS) do of[field] = token[2][at] end
  local clock = redis.call('TIME')
  local oldest = string.format('%.0f', math.max(0, clock[1] * 1000 - retention))
  redis.call('XADD', key, 'MINID', '=', oldest, '*',
    'k', kind, 'o', of.o, 'u', of.u, 'n', of.n, 'i', token[1], 'g', of.g, 'a', actor)
  redis.call('PEXPIRE', key, retention)
end
