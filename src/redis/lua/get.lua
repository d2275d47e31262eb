-- Reads one token by its owner and name. KEYS[1..2]: see prelude.
-- ARGV[1]  user
-- ARGV[2]  name
-- Answers {word, now, ...}: ok token | missing

local id = find(ARGV[1], ARGV[2])
if not id then return { 'missing', digits(now) } end
return { 'ok', digits(now), record(id) }
