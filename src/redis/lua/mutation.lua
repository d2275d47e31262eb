-- Put before create, renew and revoke, after prelude and event: at most once, answers that can be given again, and one
-- event for each mutation that is applied.
--
-- KEYS[3]  receipt    HASH of one mutation that was applied: `op` and `reply`, and with a request_id `f` (fingerprint),
--                     `id`, `g` (generation) and `sealed` (the secret, until it is first used)
-- KEYS[4]  events
-- ARGV[1]  operation  the Redis client may send one command twice: the same operation gets the same answer
-- ARGV[2]  not_after  in ms; later than that nothing is applied, for the caller was told so
-- ARGV[3]  user
-- ARGV[4]  name
-- ARGV[5]  request    hash of the request_id, or ''
-- ARGV[6]  fingerprint
-- ARGV[7]  sealed
-- ARGV[8]  how long a request can be replayed, in ms
-- ARGV[9]  actor      who does it, for the event
-- ARGV[10] how long events are kept, in ms

local operation, notAfter, user, name = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local request, fingerprint, sealed, replayable, actor, retention = unpack(ARGV, 5, 10)

-- The answer that needs no work: this operation was applied before, it comes too late, or it repeats a request.
local function settled()
  local receipt = redis.call('HMGET', KEYS[3], 'op', 'reply', 'f', 'id', 'g', 'sealed')
  if receipt[1] == operation then return cjson.decode(receipt[2]) end
  if now > notAfter then return { 'late', digits(now) } end
  if not receipt[1] then return nil end
  if receipt[3] ~= fingerprint then return { 'reused', digits(now) } end
  local id = receipt[4]
  if not receipt[6] or not isLive(KEYS[2] .. id) or redis.call('HGET', KEYS[2] .. id, 'g') ~= receipt[5] then
    return { 'expired', digits(now) }
  end
  return { 'replayed', digits(now), record(id), receipt[6] }
end

-- Records that the mutation was applied, as an event of that kind, and returns its answer.
local function applied(kind, id, generation, token)
  writeEvent(KEYS[4], retention, kind, token, actor)
  local reply = { 'ok', digits(now), token }
  redis.call('HSET', KEYS[3], 'op', operation, 'reply', cjson.encode(reply))
  if request == '' then
    redis.call('PEXPIREAT', KEYS[3], digits(notAfter + 1000))
  else
    redis.call('HSET', KEYS[3], 'f', fingerprint, 'id', id, 'g', generation, 'sealed', sealed)
    redis.call('PEXPIREAT', KEYS[3], digits(now + replayable))
  end
  return reply
end

-- The token ends with its key, and the index with its last token.
local function expireAt(key, time)
  redis.call('PEXPIREAT', key, digits(time))
  if redis.call('PEXPIRETIME', KEYS[1]) < time then redis.call('PEXPIREAT', KEYS[1], digits(time)) end
end
