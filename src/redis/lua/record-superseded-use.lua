-- Leaves an event that the secret before a token's latest renewal was presented. Changes nothing of the token.
-- KEYS[1]  token
-- KEYS[2]  mark of the last such event, so that there is at most one in a while
-- KEYS[3]  events
-- ARGV[1]  id of the token
-- ARGV[2]  generation that was read
-- ARGV[3]  actor
-- ARGV[4]  how long events are kept, in ms
-- ARGV[5]  that while, in ms
-- Answers 'ok' | 'gone' | 'recent'. After event, without prelude.

if redis.call('HGET', KEYS[1], 'g') ~= ARGV[2] then return 'gone' end
if not redis.call('SET', KEYS[2], '', 'NX', 'PX', ARGV[5]) then return 'recent' end
local token = { ARGV[1], redis.call('HMGET', KEYS[1], unpack(FIELDS)) }
writeEvent(KEYS[3], ARGV[4], 'superseded_use', token, ARGV[3])
return 'ok'
