-- Reads one page of events, newest first. Without prelude.
-- KEYS[1]  events
-- ARGV[1]  where to start, as an XREVRANGE bound
-- ARGV[2]  events at most
-- ARGV[3]  organization
-- ARGV[4]  user, or '' for every one
-- ARGV[5]  name, or '' for every one
-- ARGV[6]  id, or '' for every one
-- Answers {events, next}: next is the id of the last one looked at, or '' at the end.

-- A call looks at most at so many events, so that it never holds Redis up for long.
local LOOKED_AT_MOST = 500
local STEP = 100
local start, limit, organization, user, name, id = unpack(ARGV)
limit = tonumber(limit)

-- The event's id and the values of k, o, u, n, i, g, a, the fields that writeEvent gives each one, in its order.
local function read(entry)
  local fields, event = entry[2], { entry[1] }
  for at = 2, #fields, 2 do event[#event + 1] = fields[at] end
  return event
end

local function isAskedFor(event)
  return event[3] == organization
    and (user == '' or event[4] == user)
    and (name == '' or event[5] == name)
    and (id == '' or event[6] == id)
end

local events, lookedAt, last = {}, 0, ''
while lookedAt < LOOKED_AT_MOST do
  local entries = redis.call('XREVRANGE', KEYS[1], start, '-', 'COUNT', STEP)
  for _, entry in ipairs(entries) do
    if #events == limit then return { events, last } end
    local event = read(entry)
    if isAskedFor(event) then events[#events + 1] = event end
    last, start, lookedAt = entry[1], '(' .. entry[1], lookedAt + 1
  end
  if #entries < STEP then return { events, '' } end
end
return { events, last }
