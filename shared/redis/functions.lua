#!lua name=tickstream_1
-- Everything that writes the streams. Each function runs alone and whole: it validates first and writes after, and no
-- answer but OK leaves a trace. Names carry a version, so that two versions of the services can run side by side.
--
-- Rules, each from a failure that was reproduced:
-- * every key is declared in KEYS (a hidden key tears a call in a migrating cluster slot);
-- * the type of every key that a call may write, every value, and the user's right to each command is checked before the first
--   write (an error in mid-call keeps earlier writes);
-- * no unpack of more than 1 000 values; ids are compared as (length, text), because doubles lose precision.

local call -- redis.call, which exists only while a function runs: bound by `register`

local LINEAGE_LENGTH = 64
local EVENTS_KEPT = 1000
local DEADLETTERS_KEPT = 100000
local MARKET_KEPT = 1000
local PAYLOAD_BYTES = 4096
local MOST_ENTRIES = 1000
local FUTURE_MS = 5000
local TRIM_STEP = 1000
local TRIM_SINGLY = 100

local function refuse(code, text)
  return redis.error_reply(code .. ' ' .. text)
end

local function differs(key, wanted)
  local found = call('TYPE', key)['ok']
  if found ~= 'none' and found ~= wanted then
    return refuse('WRONGTYPE', key .. ' is a ' .. found .. ', not a ' .. wanted)
  end
end

-- `types` maps a key to the type it must have when it exists. At all streams one command looks, from their end: it reads nothing.
local function wrong_type(types)
  local names, ends = {}, {}
  for key, wanted in pairs(types) do
    if wanted == 'stream' then
      names[#names + 1], ends[#ends + 1] = key, '$'
    else
      local bad = differs(key, wanted)
      if bad then return bad end
    end
  end
  if #names == 0 then return end
  for i = 1, #ends do names[#names + 1] = ends[i] end
  local answer = redis.pcall('XREAD', 'STREAMS', unpack(names))
  if not answer then return end
  for i = 1, #ends do
    local bad = differs(names[i], 'stream')
    if bad then return bad end
  end
  return answer
end

-- What to answer if the user may not run a command. A call that is stopped after its first write leaves entries
-- without their seq, and then the same ones again. The key itself was allowed with the call; what follows it lets Redis find it.
local function forbids(command, key)
  local may
  if type(command) == 'table' then
    may = redis.acl_check_cmd(command[1], command[2], key, 'x', 'x')
    command = table.concat(command, '|')
  else
    may = redis.acl_check_cmd(command, key, 'x', 'x', 'x')
  end
  if not may then return refuse('NOPERM', 'this user has no permissions to run the ' .. string.lower(command) .. ' command') end
end

local function forbidden(commands, key)
  for _, command in ipairs(commands) do
    local bad = forbids(command, key)
    if bad then return bad end
  end
end

local CREATE, SETID = { 'XGROUP', 'CREATE' }, { 'XGROUP', 'SETID' }
local CREATECONSUMER, DELCONSUMER = { 'XGROUP', 'CREATECONSUMER' }, { 'XGROUP', 'DELCONSUMER' }
local CREATING = { 'XSETID', CREATE }
local BURYING = { 'XADD', 'XTRIM', 'HINCRBY' }
local REPORTING = { 'XADD', 'HINCRBY' }

-- Reads a hash before the first write of a call, which is its check as well: it ends the call if the key is something else.
local function read_hash(command, key, ...)
  local found = redis.pcall(command, key, ...)
  if type(found) == 'table' and found.err then error(differs(key, 'hash') or found) end
  return found
end

local function is_below(a, b) -- both entry ids as Redis writes them
  local a_ms, a_n = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_n = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then
    if #a_ms ~= #b_ms then return #a_ms < #b_ms end
    return a_ms < b_ms
  end
  if #a_n ~= #b_n then return #a_n < #b_n end
  return a_n < b_n
end

local function is_id(text)
  return type(text) == 'string' and #text <= 41 and string.match(text, '^%d+%-%d+$') ~= nil
end

local function count_of(text) -- a whole number from 0 to 2^53, or nil
  if type(text) == 'string' and #text <= 16 and string.match(text, '^%d+$') then return tonumber(text) end
end

local function now_ms()
  local time = call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function whole(number) -- %d fails beyond 2^31 in some builds, tostring turns 1e14 into an exponent
  return string.format('%.0f', number)
end

local function stream_info(key)
  if call('EXISTS', key) == 0 then return { id = '0-0', added = 0, length = 0 } end
  local info, found = call('XINFO', 'STREAM', key), {}
  for i = 1, #info, 2 do found[info[i]] = info[i + 1] end
  return { id = found['last-generated-id'], added = found['entries-added'], length = found['length'] }
end

local function group_info(key)
  local groups = {}
  if call('EXISTS', key) == 0 then return groups end
  for _, row in ipairs(call('XINFO', 'GROUPS', key)) do
    local group = {}
    for i = 1, #row, 2 do group[row[i]] = row[i + 1] end
    groups[group['name']] = group
  end
  return groups
end

-- concat fails on anything but texts and numbers, and looks at a thousand values in the time of a few `type` calls.
local function all_texts(values)
  return (pcall(table.concat, values))
end

local function contains(list, value)
  for _, found in ipairs(list or {}) do
    if found == value then return true end
  end
  return false
end

local function hset_pairs(key, pairs_list)
  for i = 1, #pairs_list, MOST_ENTRIES do
    call('HSET', key, unpack(pairs_list, i, math.min(i + MOST_ENTRIES - 1, #pairs_list)))
  end
end

local function report(log, events, kind, stream, incarnation, first, last, detail)
  local seq = call('HINCRBY', log, 'events_seq', 1)
  call('XADD', events, 'MAXLEN', EVENTS_KEPT, '*', 'seq', whole(seq), 'kind', kind, 'stream', stream,
    'incarnation', incarnation, 'first_seq', first, 'last_seq', last, 'detail', detail, 'ts', whole(now_ms()))
end

local function bury(log, deadletters, stream, entry_id, reason, payload, ms)
  call('XADD', deadletters, '*', 'stream', stream, 'entry_id', entry_id, 'reason', reason,
    'payload', string.sub(payload, 1, PAYLOAD_BYTES), 'ts', ms)
  local dropped = call('XTRIM', deadletters, 'MAXLEN', DEADLETTERS_KEPT)
  if dropped > 0 then call('HINCRBY', log, 'deadletters_dropped', dropped) end
end

-- A released lease has an empty token, which nobody holds.
local function is_held(lease, token)
  return token ~= '' and read_hash('HGET', lease, 'token') == token
end

local function value_of(info, name) -- found as it stands: a pattern would be tried at every character
  local _, before = string.find(info, name .. ':', 1, true)
  return string.match(info, '^%x+', before + 1)
end

local process_run_id -- of the process that loaded this library, which keeps it for life

-- Differs after every restart, fail-over and restored backup: exactly when entries may have been lost. The process's run_id alone
-- would be the same after a fail-over there and back again; the replication id is a new one whenever a replica is promoted.
local function server_run_id()
  if not process_run_id then process_run_id = value_of(call('INFO', 'server'), 'run_id') end
  return process_run_id .. ':' .. value_of(call('INFO', 'replication'), 'master_replid')
end

local function new_incarnation_id(run_id)
  local time = call('TIME')
  return time[1] .. string.format('%06d', time[2]) .. '-' .. string.sub(run_id, 1, 8)
end

local function end_of(stream, seq)
  local info = stream_info(stream)
  return { seq = seq, id = info.id, added = info.added }
end

-- The head of the partition in the incarnation of the server as it runs now; nil if the log is gone.
-- The first write of a call, when the server is another than the one that wrote the log: the end of the former
-- incarnation is recorded before anything new is written, so that every reader can tell whether it lost something.
local function current_head(keys)
  local head = read_hash('HMGET', keys.log, 'incarnation', 'run_id', 'seq', 'enriched_seq', 'cursor', 'period', 'passed', 'required',
    'cursor_seq')
  if not head[1] then return nil end
  local h = { log = keys.log, incarnation = head[1], seq = tonumber(head[3]), enriched_seq = tonumber(head[4]), cursor = head[5],
              period = head[6], passed = tonumber(head[7]), required = head[8], cursor_seq = tonumber(head[9]) }
  local run_id = server_run_id()
  if head[2] == run_id then return h end
  local lineage = cjson.decode(call('HGET', keys.log, 'lineage'))
  lineage[#lineage + 1] = {
    incarnation = h.incarnation,
    ticks = end_of(keys.ticks, h.seq),
    enriched = end_of(keys.enriched, h.enriched_seq),
    events = end_of(keys.events, tonumber(call('HGET', keys.log, 'events_seq'))),
  }
  while #lineage > LINEAGE_LENGTH do table.remove(lineage, 1) end
  h.incarnation = new_incarnation_id(run_id)
  call('HSET', keys.log, 'incarnation', h.incarnation, 'run_id', run_id, 'lineage', cjson.encode(lineage))
  return h
end

local function unconfigured(log)
  return refuse('UNCONFIGURED', log .. ' is missing')
end

local function highest(a, b)
  if not b or is_below(b, a) then return a end
  return b
end

-- Creates a group at the beginning of its stream. A stream that was lost (DEL) is made again as if it had been trimmed: its ids go
-- on, since whoever read it waits behind its last one, which may be of this very millisecond, or of a clock that was set back since;
-- and it goes on counting, so that its readers' counts and lags stay true.
local function create_group(key, group, head, name)
  local is_new = call('EXISTS', key) == 0
  call('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
  local added = head.enriched_seq
  if name == 'ticks' then added = head.passed + head.seq - head.cursor_seq end
  if not is_new or added == 0 then return end
  local id = highest(whole(now_ms()) .. '-18446744073709551615', call('HGET', head.log, name .. '_id'))
  if name == 'ticks' then id = highest(id, head.cursor) end
  call('XSETID', key, id, 'ENTRIESADDED', whole(added))
end

local function required_groups(head, name)
  return cjson.decode(head.required)[name] or {}
end

-- Creates the required groups of a stream at the beginning, with the stream (one created later, at its end, would lose
-- what came before): whoever adds an entry to an empty stream looks, since that may be gone. What groups a stream with entries lacks,
-- `trim` sees before it removes any. Returns whether one was missing.
local function ensure_groups(key, head, name)
  local groups, missing = group_info(key), false
  for _, group in ipairs(required_groups(head, name)) do
    if not groups[group] then
      create_group(key, group, head, name)
      missing = true
    end
  end
  return missing
end

-- Claims the deployment's values if nobody has; answers with those that hold.
-- KEYS: config. ARGV: partitions, period, required groups (JSON). Returns: the three that hold.
local function configure(keys, args)
  local bad = wrong_type({ [keys[1]] = 'hash' })
  if bad then return bad end
  if call('HEXISTS', keys[1], 'partitions') == 0 then
    call('HSET', keys[1], 'partitions', args[1], 'sma_period', args[2], 'required', args[3])
  end
  return call('HMGET', keys[1], 'partitions', 'sma_period', 'required')
end

-- Creates the head of a partition if it is missing, whole or not at all.
-- KEYS: log, ticks, enriched, events. ARGV: period, required groups (JSON). Returns: incarnation.
local function prepare(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local bad = wrong_type({ [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream' })
  if bad then return bad end
  local ok, required = pcall(cjson.decode, args[2])
  if not count_of(args[1]) or not ok or not contains(required.ticks, 'analyzer') then return refuse('ERR', 'bad prepare') end
  local head = current_head(k)
  if head then
    if head.required ~= args[2] then call('HSET', k.log, 'required', args[2]) end
    return head.incarnation
  end
  local run_id = server_run_id()
  local incarnation = new_incarnation_id(run_id)
  call('HSET', k.log, 'incarnation', incarnation, 'run_id', run_id, 'seq', '0', 'enriched_seq', '0', 'events_seq', '0',
    'cursor', '0-0', 'cursor_seq', '0', 'passed', '0', 'period', args[1], 'required', args[2], 'lineage', '[]')
  return incarnation
end

-- Changes the period: windows and sides of the partition start again at the cursor.
-- KEYS: log, ticks, enriched, events, sides, latest, then the price list of every ticker in `latest`.
-- ARGV: new period. Returns: OK, SAME, or RETRY if a ticker came in meanwhile.
local function change_period(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local types = { [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream',
                  [keys[5]] = 'hash', [keys[6]] = 'hash' }
  local bad = wrong_type(types)
  if bad then return bad end
  if not count_of(args[1]) then return refuse('ERR', 'period') end
  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  if head.period == args[1] then return 'SAME' end
  if call('HLEN', keys[6]) ~= #keys - 6 then return 'RETRY' end
  for i = 7, #keys do call('DEL', keys[i]) end
  call('DEL', keys[5])
  call('HSET', k.log, 'period', args[1])
  report(k.log, k.events, 'period', 'enriched', head.incarnation, whole(head.cursor_seq + 1), '',
    '{"from":' .. head.period .. ',"to":' .. args[1] .. '}')
  return 'OK'
end

local TICK_VALUES = 7 -- ticker, price, ts, source, volume, quote_ts, shed

local function bad_batch(ticks, rejected, first, count)
  if not first or first < 1 or not count or count < 1 or count > MOST_ENTRIES then return 'first or count' end
  if #ticks % TICK_VALUES ~= 0 or #rejected % 3 ~= 0 then return 'number of values' end
  if #ticks / TICK_VALUES + #rejected / 3 ~= count then return 'count' end
  if not all_texts(ticks) then return 'tick value' end
  local before = -1
  for i = 1, #rejected, 3 do
    local offset = rejected[i]
    if type(offset) ~= 'number' or offset <= before or offset >= count then return 'offset of a rejected row' end
    if type(rejected[i + 1]) ~= 'string' or type(rejected[i + 2]) ~= 'string' then return 'rejected row' end
    before = offset
  end
end

-- The newest `ts` of a batch in ms, or nil and which one is no number.
local function newest_of(ticks)
  local newest, ts = 0, nil
  for i = 3, #ticks, TICK_VALUES do
    if ticks[i] ~= ts then
      ts = ticks[i]
      local ms = tonumber(ts)
      if not ms then return nil, 'ts ' .. i end
      if ms > newest then newest = ms end
    end
  end
  return newest
end

-- Appends a producer's numbered batch to `ticks:{p}`, whole or not at all; what it has already is skipped.
-- KEYS: log, ticks, enriched, events, producers, last, deadletters, lease:fetcher.
-- ARGV: token, producer, first number, count, cap, polled ('1': a tick not newer than its ticker's last is skipped),
--       msgpack [[7 values per tick, flat], [offset, reason, payload per rejected row, flat]].
-- Returns: {FENCED|AHEAD|FULL|OK, last number stored for the producer, seq, length, refused}.
local function append(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local producers, last, deadletters, lease = keys[5], keys[6], keys[7], keys[8]
  local token, producer, polled = args[1], args[2], args[6] == '1'
  local bad = wrong_type({ [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream',
                           [last] = polled and 'hash' or nil, [deadletters] = 'stream' })
  if bad then return bad end
  local first, count, cap = count_of(args[3]), count_of(args[4]), count_of(args[5])
  local body = cmsgpack.unpack(args[7])
  local ticks, rejected = body[1], body[2]
  local fault, newest_ts = bad_batch(ticks, rejected, first, count), nil
  if not fault then newest_ts, fault = newest_of(ticks) end
  if fault or not cap then return refuse('ERR', 'bad batch: ' .. (fault or 'cap')) end

  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  local length = call('XLEN', k.ticks)
  local stored = tonumber(read_hash('HGET', producers, producer) or '0')
  if not is_held(lease, token) then return { 'FENCED', whole(stored), head.seq, length, 0 } end
  if first + count - 1 <= stored then return { 'OK', whole(stored), head.seq, length, 0 } end
  if first > stored + 1 then return { 'AHEAD', whole(stored), head.seq, length, 0 } end
  if length >= cap then return { 'FULL', whole(stored), head.seq, length, 0 } end

  local ms = now_ms()
  local now_text, limit = whole(ms), ms + FUTURE_MS
  bad = (#rejected > 0 or newest_ts > limit) and forbidden(BURYING, deadletters) or length == 0 and forbidden(CREATING, k.ticks)
  if bad then return bad end
  if length == 0 then ensure_groups(k.ticks, head, 'ticks') end
  local seq, refused = head.seq, 0
  local newest, id = {}, nil
  local t, r = 1, 1
  local ts, ts_ms -- looked at anew where it differs from the tick before: `tonumber`, here and above, was 8 % of the call
  for offset = 0, count - 1 do
    local is_new = first + offset > stored
    if rejected[r] == offset then
      if is_new then bury(k.log, deadletters, '', '', rejected[r + 1], rejected[r + 2], now_text) end
      r = r + 3
    else
      local ticker = ticks[t]
      if ticks[t + 2] ~= ts then
        ts = ticks[t + 2]
        ts_ms = tonumber(ts)
      end
      if is_new and ts_ms > limit then
        bury(k.log, deadletters, '', '', 'ts is more than 5 s in the future',
          table.concat(ticks, ',', t, t + TICK_VALUES - 1), now_text)
        refused = refused + 1
      elseif is_new then
        local before = polled and (newest[ticker] or call('HGET', last, ticker))
        if not (before and ts_ms <= tonumber(before)) then
          seq = seq + 1
          id = call('XADD', k.ticks, '*', 'seq', seq, 'ticker', ticker, 'price', ticks[t + 1], 'ts', ts,
            'source', ticks[t + 3], 'volume', ticks[t + 4], 'quote_ts', ticks[t + 5], 'shed', ticks[t + 6])
          if polled then
            newest[ticker] = ts
            call('HSET', last, ticker, ts)
          end
        end
      end
      t = t + TICK_VALUES
    end
  end
  call('HSET', producers, producer, whole(first + count - 1))
  if id then call('HSET', k.log, 'seq', whole(seq), 'ticks_id', id) end
  return { 'OK', whole(first + count - 1), seq, length + seq - head.seq, refused }
end

-- Returns the analyzer's state of a partition. Called once without lists for the names, then with lists in steps that
-- stay short; equal cursors prove that all steps saw one state.
-- KEYS: log, ticks, enriched, events, sides, latest, then price lists. ARGV: '1' if sides and tickers are wanted.
-- Returns: {incarnation, period, cursor, entries passed, seq of the cursor, sides (flat), tickers, lists}.
local function load(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local types = { [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream',
                  [keys[5]] = 'hash', [keys[6]] = 'hash' }
  for i = 7, #keys do types[keys[i]] = 'list' end
  local bad = wrong_type(types)
  if bad then return bad end
  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  local sides, tickers, lists = {}, {}, {}
  if args[1] == '1' then
    sides, tickers = call('HGETALL', keys[5]), call('HKEYS', keys[6])
  end
  for i = 7, #keys do lists[i - 6] = call('LRANGE', keys[i], 0, -1) end
  return { head.incarnation, head.period, head.cursor, whole(head.passed), whole(head.cursor_seq), sides, tickers, lists }
end

local EVENT_VALUES = 8 -- seq, ticker, price, ts, source, tick_id, sma, alert

local function bad_outcome(body, lists)
  if type(body) ~= 'table' or #body ~= 5 then return 'body' end
  local prices, events, latest, sides, dead = unpack(body)
  if #prices ~= lists then return 'number of lists' end
  if #events % EVENT_VALUES ~= 0 or #latest % 2 ~= 0 or #sides % 2 ~= 0 or #dead % 3 ~= 0 then return 'number of values' end
  for i = 1, lists do
    if #prices[i] < 1 or #prices[i] > MOST_ENTRIES then return 'length of list ' .. i end
    if not all_texts(prices[i]) then return 'price' end
  end
  for _, values in ipairs({ events, latest, sides, dead }) do
    if not all_texts(values) then return 'value' end
  end
  for i = 1, #events, EVENT_VALUES do
    if not tonumber(events[i]) then return 'seq ' .. i end
  end
end

-- Seqs from `args[LOST]` on: the last tick that was deleted unread ('' or nothing for none), then first and last of each hole.
local LOST = 10

local function bad_holes(args)
  if #args > LOST and (#args - LOST) % 2 ~= 0 then return 'number of lost seqs' end
  for i = LOST, #args do
    if not (count_of(args[i]) or i == LOST and args[i] == '') then return 'lost seq' end
  end
end

-- Moves the analyzers' group, as the first write of a commit. Returns why that could not be done; nothing is written then.
local function unmoved(ticks, head, id, passed)
  local answer = redis.pcall('XGROUP', 'SETID', ticks, 'analyzer', id, 'ENTRIESREAD', passed)
  if not answer.err then return end
  if string.sub(answer.err, 1, 7) ~= 'NOGROUP' then return forbids(SETID, ticks) or answer end
  local bad = forbidden(CREATING, ticks)
  if bad then return bad end
  ensure_groups(ticks, head, 'ticks')
  call('XGROUP', 'SETID', ticks, 'analyzer', id, 'ENTRIESREAD', passed)
end

-- Commits what a worker made of the entries after `previous` up to `last`: the compare-and-set on the cursor makes it
-- exactly-once, whoever calls it and however often.
-- KEYS: log, ticks, enriched, events, sides, latest, deadletters, lease:analyzer, then the price list of each touched ticker.
-- ARGV: token, period, incarnation, previous id, last id, seq of the last tick passed, entries passed, cap,
--       msgpack [prices per list, events (8 values each, flat), latest (ticker, JSON), sides (ticker, side),
--       dead letters (entry id, reason, payload)], seq of the last tick that was deleted unread before one of these ('' for none),
--       then first and last seq of each hole that such ticks left.
-- Returns: {FENCED|RESET|DUP|CONFLICT|FULL|OK, last id or cursor, length of ticks, length of enriched}.
local function commit(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local sides_key, latest_key, deadletters, lease = keys[5], keys[6], keys[7], keys[8]
  local types = { [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream',
                  [sides_key] = 'hash', [latest_key] = 'hash', [deadletters] = 'stream' }
  for i = 9, #keys do types[keys[i]] = 'list' end
  local bad = wrong_type(types)
  if bad then return bad end
  local token, period, incarnation, previous, last_id = args[1], args[2], args[3], args[4], args[5]
  local cursor_seq, passed, cap = count_of(args[6]), count_of(args[7]), count_of(args[8])
  local body = cmsgpack.unpack(args[9])
  local fault = bad_outcome(body, #keys - 8) or bad_holes(args)
  if not (is_id(previous) and is_id(last_id) and cursor_seq and passed and cap and count_of(period)) then fault = 'argument' end
  if fault then return refuse('ERR', 'bad commit: ' .. fault) end

  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  if not is_held(lease, token) or head.period ~= period then return { 'FENCED', head.cursor, 0, 0 } end
  if head.incarnation ~= incarnation then return { 'RESET', head.cursor, 0, 0 } end
  local ticks_length, enriched_length = call('XLEN', k.ticks), call('XLEN', k.enriched)
  if head.cursor == last_id then return { 'DUP', last_id, ticks_length, enriched_length } end
  if head.cursor ~= previous or #call('XREVRANGE', k.ticks, last_id, last_id, 'COUNT', 1) == 0 then
    return { 'CONFLICT', head.cursor, ticks_length, enriched_length }
  end
  local prices, events, latest, sides, dead = unpack(body)
  if enriched_length >= cap and #events > 0 then return { 'FULL', head.cursor, ticks_length, enriched_length } end

  bad = #dead > 0 and forbidden(BURYING, deadletters) or args[LOST + 1] and forbidden(REPORTING, k.events)
    or enriched_length == 0 and forbidden(CREATING, k.enriched) or unmoved(k.ticks, head, last_id, args[7])
  if bad then return bad end
  if enriched_length == 0 then ensure_groups(k.enriched, head, 'enriched') end
  local count = count_of(period)
  local keep = '-' .. whole(count) -- a text: Redis 7.0 writes numbers by %.17g, and these two were 5 % of a commit of 1 000 tickers
  for i = 1, #prices do
    local key = keys[8 + i]
    local beyond = call('RPUSH', key, unpack(prices[i])) - count
    -- Of a thousand tickers hardly one comes twice in a batch.
    if beyond == 1 then call('LPOP', key) elseif beyond > 1 then call('LTRIM', key, keep, '-1') end
  end
  local id
  for i = 1, #events, EVENT_VALUES do
    id = call('XADD', k.enriched, '*', 'seq', events[i], 'ticker', events[i + 1], 'price', events[i + 2], 'ts', events[i + 3],
      'source', events[i + 4], 'tick_id', events[i + 5], 'sma', events[i + 6], 'alert', events[i + 7])
  end
  hset_pairs(latest_key, latest)
  hset_pairs(sides_key, sides)
  local ms = #dead > 0 and whole(now_ms())
  for i = 1, #dead, 3 do bury(k.log, deadletters, 'ticks', dead[i], dead[i + 1], dead[i + 2], ms) end
  local moved = { 'cursor', last_id, 'cursor_seq', args[6], 'passed', args[7] }
  if id then moved[7], moved[8], moved[9], moved[10] = 'enriched_seq', events[#events - EVENT_VALUES + 1], 'enriched_id', id end
  hset_pairs(k.log, moved)
  for i = LOST + 1, #args, 2 do
    -- The persister may have stored these ticks: of the events that never came of them it would see nothing.
    report(k.log, k.events, 'gap', 'enriched', incarnation, args[i], args[i + 1], '{"reason":"ticks were deleted before they were analyzed"}')
  end
  if (args[LOST] or '') ~= '' then call('HSET', k.log, 'gap_seq', args[LOST]) end
  call('HINCRBY', lease, 'beats', 1)
  return { 'OK', last_id, ticks_length, enriched_length + #events / EVENT_VALUES }
end

-- Moves a group to where its reader's own database says it is; never backwards, and only in the same incarnation.
-- KEYS: log, ticks, enriched, events. ARGV: stream ('ticks' or 'enriched'), group, incarnation, id, entries passed.
-- Returns: {OK|BEHIND|RESET, entries passed as the group has it}.
local function mirror(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local bad = wrong_type({ [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream' })
  if bad then return bad end
  local stream, group, incarnation, id, passed = k[args[1]], args[2], args[3], args[4], count_of(args[5])
  if not stream or not is_id(id) or not passed then return refuse('ERR', 'bad mirror') end
  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  if head.incarnation ~= incarnation then return { 'RESET', args[5] } end
  local found = group_info(stream)[group]
  if found and not is_below(found['last-delivered-id'], id) then return { 'BEHIND', args[5] } end
  local info = stream_info(stream)
  if info.id == id then passed = info.added end -- at the end nothing is left to read: heals a count spoilt by a foreign XTRIM
  if not found then create_group(stream, group, head, args[1]) end
  call('XGROUP', 'SETID', stream, group, id, 'ENTRIESREAD', whole(passed))
  return { 'OK', whole(passed) }
end

-- One consistent look at a partition, for a reader that starts.
-- KEYS: log, enriched, latest.
-- Returns: {incarnation, lineage (JSON), seq of ticks, seq of enriched, last id of enriched, latest (flat), entries ever added to enriched}.
local function snapshot(keys)
  local bad = wrong_type({ [keys[1]] = 'hash', [keys[2]] = 'stream', [keys[3]] = 'hash' })
  if bad then return bad end
  local head = call('HMGET', keys[1], 'incarnation', 'lineage', 'seq', 'enriched_seq')
  if not head[1] then return unconfigured(keys[1]) end
  local info = stream_info(keys[2])
  return { head[1], head[2], head[3], head[4], info.id, call('HGETALL', keys[3]), info.added }
end

-- The lowest id that a group still needs: its oldest pending entry, else where it was last delivered.
local function needed_by(key, group)
  if group['pending'] > 0 then return call('XPENDING', key, group['name'])[2] end
  return group['last-delivered-id']
end

local function lowest(a, b)
  if not a or is_below(b, a) then return b end
  return a
end

-- Removes up to TRIM_STEP of the oldest entries below `floor` while the stream is longer than `wanted`. Returns how many.
-- Whole nodes of the stream go without a look at what is in them; where that is too much, entries that are read first.
local function trim_down(key, length, wanted, floor)
  local most = math.min(length - wanted, TRIM_STEP)
  local removed = call('XTRIM', key, 'MINID', '~', floor, 'LIMIT', most)
  if removed > 0 then return removed end
  local oldest = call('XRANGE', key, '-', '+', 'COUNT', math.min(most, TRIM_SINGLY) + 1)
  local bound = oldest[#oldest][1]
  if is_below(floor, bound) then bound = floor end
  return call('XTRIM', key, 'MINID', bound)
end

-- `unfinished` is what the call before left to do: 'window' or 'overrun', which go on below the mark where they began, or ''.
-- Returns how many entries went, what is left to do, and what was taken from a foreign group ({stream, group, entries} or nil).
local function trim_stream(k, name, floor, head, cap, window_id, unfinished)
  local key = k[name]
  local length = call('XLEN', key)
  if length == 0 or ensure_groups(key, head, name) then return 0, '' end
  local is_required = {}
  for _, group in ipairs(required_groups(head, name)) do is_required[group] = true end
  local foreign, slowest, slowest_name = floor, nil, nil
  for group_name, group in pairs(group_info(key)) do
    local needed = needed_by(key, group)
    if is_required[group_name] then
      floor = lowest(floor, needed)
    else
      if lowest(slowest, needed) == needed then slowest, slowest_name = needed, group_name end
    end
    foreign = lowest(foreign, needed)
  end
  local removed = call('XTRIM', key, 'MINID', lowest(foreign, window_id))
  length = length - removed
  local goal = math.floor(cap * 0.5)
  if length >= cap * 0.8 or (unfinished ~= '' and length > goal) then
    local more = trim_down(key, length, goal, foreign)
    removed, length = removed + more, length - more
    if more > 0 and length > goal then return removed, 'window' end
  end
  goal = math.floor(cap * 0.9)
  local is_over = length >= cap * 0.95 or (unfinished == 'overrun' and length > goal)
  if not (is_over and slowest and is_below(slowest, floor)) then return removed, '' end
  local more = trim_down(key, length, goal, floor)
  if more > 0 then
    local first = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    report(k.log, k.events, 'overrun', name, head.incarnation, '', '',
      cjson.encode({ group = slowest_name, group_at = slowest, first_kept = first and first[1] or '', entries = more }))
  end
  return removed + more, more > 0 and length - more > goal and 'overrun' or '', more > 0 and { name, slowest_name, more } or nil
end

-- How many entries a group needs that stands lowest, at `id`: exact where it has nothing pending or keeps all there is.
local function count_needed(group, id, first, length)
  local rest = math.max(0, group['lag'] or 0) + group['pending']
  if group['pending'] > 0 then return is_below(first, id) and math.min(rest, length) or length end
  if is_below(id, first) then return length end
  if id == first then return length - 1 end
  return math.min(rest, length)
end

-- Who keeps a stream from being trimmed: the group that stands lowest.
-- Returns: {length, entries that it needs, its name ('' if all have read everything), the id where it stands}.
local function held(key)
  local first = call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  local length, lowest_id, name, lowest_group = call('XLEN', key), nil, '', nil
  for group_name, group in pairs(group_info(key)) do
    local id = needed_by(key, group)
    if not lowest_id or is_below(id, lowest_id) or (id == lowest_id and group_name < name) then
      lowest_id, name, lowest_group = id, group_name, group
    end
  end
  local needed = first and lowest_id and count_needed(lowest_group, lowest_id, first[1], length) or 0
  return { length, needed, needed > 0 and name or '', lowest_id or '0-0' }
end

-- Removes from both streams what nobody needs any more. Never passes a required group.
-- KEYS: log, ticks, enriched, events. ARGV: cap, replay window in ms.
-- Returns: {removed from ticks, removed from enriched, 1 if there is more to do, who holds ticks (see `held`), who holds enriched,
--           {stream, group, entries} per foreign group that was passed}.
local function trim(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local bad = wrong_type({ [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream' })
  if bad then return bad end
  local cap, window_ms = count_of(args[1]), count_of(args[2])
  if not cap or not window_ms then return refuse('ERR', 'bad trim') end
  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  local window_id = whole(math.max(0, now_ms() - window_ms)) .. '-0'
  local before = call('HGET', k.log, 'trimming') or ','
  local ticks_before, enriched_before = string.match(before, '^(%a*),(%a*)$')
  local overruns = {}
  local ticks, ticks_left, passed = trim_stream(k, 'ticks', head.cursor, head, cap, window_id, ticks_before)
  overruns[#overruns + 1] = passed
  local enriched, enriched_left, passed_too = trim_stream(k, 'enriched', stream_info(k.enriched).id, head, cap, window_id, enriched_before)
  overruns[#overruns + 1] = passed_too
  local left = ticks_left .. ',' .. enriched_left
  if left ~= before then call('HSET', k.log, 'trimming', left) end
  return { ticks, enriched, left ~= ',' and 1 or 0, held(k.ticks), held(k.enriched), overruns }
end

local GROUPS = { analyzer = { 'ticks' }, persister = { 'ticks', 'enriched' } }

local function leave_groups(k, service, owner)
  for _, name in ipairs(GROUPS[service] or {}) do
    if group_info(k[name])[service] then call('XGROUP', 'DELCONSUMER', k[name], service, owner) end
  end
end

-- Takes a free lease, or one whose counter the caller saw standing still for LEASE_SECONDS.
-- KEYS: log, ticks, enriched, events, producers, lease. ARGV: service, owner, new token, token seen, counter seen.
-- Returns: {1 if it is the caller's, owner, token, counter}.
local function acquire(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local producers, lease = keys[5], keys[6]
  local bad = wrong_type({ [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream',
                           [producers] = 'hash', [lease] = 'hash' })
  if bad then return bad end
  local service, owner, token, seen_token, seen_beats = args[1], args[2], args[3], args[4], args[5]
  if token == '' or owner == '' then return refuse('ERR', 'bad acquire') end
  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  local held = call('HMGET', lease, 'owner', 'token', 'beats')
  if held[2] == token then return { 1, owner, token, held[3] } end -- the answer of our own acquire was lost
  if held[2] and held[2] ~= '' and not (held[2] == seen_token and held[3] == seen_beats) then
    return { 0, held[1], held[2], held[3] }
  end
  if held[2] and held[2] ~= '' then
    call('HDEL', producers, held[2]) -- a fenced token can append no more: its number is of no use
    leave_groups(k, service, held[1])
  end
  call('HSET', lease, 'owner', owner, 'token', token, 'beats', '0', 'wanted_by', '')
  for _, name in ipairs(GROUPS[service] or {}) do
    if not group_info(k[name])[service] then create_group(k[name], service, head, name) end
    call('XGROUP', 'CREATECONSUMER', k[name], service, owner)
  end
  return { 1, owner, token, '0' }
end

-- Says that the holder is alive. KEYS: lease. ARGV: token.
-- Returns: {the counter, who wants the lease}, or {-1, its owner} if it is somebody else's.
local function heartbeat(keys, args)
  local bad = wrong_type({ [keys[1]] = 'hash' })
  if bad then return bad end
  local held = call('HMGET', keys[1], 'owner', 'token', 'wanted_by')
  if args[1] == '' or held[2] ~= args[1] then return { -1, held[1] or '' } end
  return { call('HINCRBY', keys[1], 'beats', 1), held[3] or '' }
end

-- Notes who wants a lease: its holder sees it with the next heartbeat, and gives the lease back in order.
-- KEYS: lease. ARGV: name, token seen, wanter seen. Returns: 1 if it is noted, 0 if the lease or its wanter is another by now.
local function want(keys, args)
  local bad = wrong_type({ [keys[1]] = 'hash' })
  if bad then return bad end
  local name, seen_token, seen_wanter = args[1], args[2], args[3]
  if not seen_wanter or name == '' or seen_token == '' then return refuse('ERR', 'bad want') end
  local held = call('HMGET', keys[1], 'token', 'wanted_by')
  if held[1] ~= seen_token then return 0 end
  if held[2] == name then return 1 end -- the answer of our own want was lost
  if (held[2] or '') ~= seen_wanter then return 0 end
  call('HSET', keys[1], 'wanted_by', name)
  return 1
end

-- Gives a lease back. Who wanted it stays noted: the others leave it to that one.
-- KEYS: log, ticks, enriched, events, producers, lease. ARGV: service, owner, token. Returns: 1, or 0 if it was not the caller's.
local function release(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local bad = wrong_type({ [k.ticks] = 'stream', [k.enriched] = 'stream', [keys[5]] = 'hash', [keys[6]] = 'hash' })
  if bad then return bad end
  if call('HGET', keys[6], 'token') ~= args[3] then return 0 end
  call('HDEL', keys[5], args[3])
  call('HSET', keys[6], 'owner', '', 'token', '', 'beats', '0')
  leave_groups(k, args[1], args[2])
  return 1
end

-- Says that a process of a service lives, and takes away those that the caller saw standing still.
-- KEYS: members. ARGV: its name, then name and counter of each that stood still. Returns: name and counter of every member.
local function attend(keys, args)
  local bad = wrong_type({ [keys[1]] = 'hash' })
  if bad then return bad end
  if #args % 2 == 0 or args[1] == '' then return refuse('ERR', 'bad attend') end
  local beats = count_of(call('HGET', keys[1], args[1])) or 0
  for i = 2, #args, 2 do
    if call('HGET', keys[1], args[i]) == args[i + 1] then call('HDEL', keys[1], args[i]) end
  end
  call('HSET', keys[1], args[1], whole(beats + 1))
  return call('HGETALL', keys[1])
end

-- Says that a process of a service ends: the others share its part at once. KEYS: members. ARGV: its name. Returns: 1, or 0 if it was none.
local function leave(keys, args)
  local bad = wrong_type({ [keys[1]] = 'hash' })
  if bad then return bad end
  return call('HDEL', keys[1], args[1])
end

local MARKET_FIELDS = { 'exchange', 'status', 'reason', 'next_open', 'next_close' }

local function says(entry, values) -- whether an entry of `market` has exactly these values
  for i, name in ipairs(MARKET_FIELDS) do
    if entry[2][2 * i - 1] ~= name or entry[2][2 * i] ~= values[i] then return false end
  end
  return true
end

-- Says whether the exchange trades, unless that was said last: two callers at once leave one entry.
-- KEYS: market. ARGV: exchange, status, reason, next open, next close (ms, '' for none). Returns: 1 if it was new, else 0.
local function announce(keys, args)
  local bad = wrong_type({ [keys[1]] = 'stream' })
  if bad then return bad end
  if #args ~= #MARKET_FIELDS or args[1] == '' or args[2] == '' then return refuse('ERR', 'bad announce') end
  local newest = call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)[1]
  if newest and says(newest, args) then return 0 end
  call('XADD', keys[1], 'MAXLEN', MARKET_KEPT, '*', 'exchange', args[1], 'status', args[2], 'reason', args[3],
    'next_open', args[4], 'next_close', args[5], 'ts', whole(now_ms()))
  return 1
end

-- Appends the tick that a dead letter turned out to be, and deletes the letter: once, whoever asks and however often.
-- KEYS: log, ticks, enriched, events, deadletters. ARGV: id of the letter, cap, 7 values of the tick.
-- Returns: {GONE|FUTURE|FULL|OK, last seq}; GONE: the letter was retried or dropped before.
local function retry(keys, args)
  local k = { log = keys[1], ticks = keys[2], enriched = keys[3], events = keys[4] }
  local deadletters, id, cap = keys[5], args[1], count_of(args[2])
  local bad = wrong_type({ [k.ticks] = 'stream', [k.enriched] = 'stream', [k.events] = 'stream',
                           [deadletters] = 'stream' })
  if bad then return bad end
  if not is_id(id) or not cap or #args ~= 2 + TICK_VALUES or not count_of(args[5]) then return refuse('ERR', 'bad retry') end
  local head = current_head(k)
  if not head then return unconfigured(k.log) end
  if #call('XRANGE', deadletters, id, id) == 0 then return { 'GONE', head.seq } end
  if tonumber(args[5]) > now_ms() + FUTURE_MS then return { 'FUTURE', head.seq } end
  if call('XLEN', k.ticks) >= cap then return { 'FULL', head.seq } end

  ensure_groups(k.ticks, head, 'ticks')
  local seq = head.seq + 1
  local given = call('XADD', k.ticks, '*', 'seq', whole(seq), 'ticker', args[3], 'price', args[4], 'ts', args[5],
    'source', args[6], 'volume', args[7], 'quote_ts', args[8], 'shed', args[9])
  call('HSET', k.log, 'seq', whole(seq), 'ticks_id', given)
  call('XDEL', deadletters, id)
  return { 'OK', seq }
end

-- Deletes dead letters for good. KEYS: deadletters. ARGV: ids. Returns: how many there were.
local function drop(keys, args)
  local bad = wrong_type({ [keys[1]] = 'stream' })
  if bad then return bad end
  if #args < 1 or #args > MOST_ENTRIES then return refuse('ERR', 'bad drop') end
  for i = 1, #args do
    if not is_id(args[i]) then return refuse('ERR', 'bad drop') end
  end
  return call('XDEL', keys[1], unpack(args))
end

-- What each function writes with. `append` and `commit` ask for what they seldom need when they need it.
local WRITES = {
  configure = { 'HSET' },
  prepare = { 'HSET' },
  change_period = { 'HSET', 'HINCRBY', 'DEL', 'XADD' },
  append = { 'HSET', 'XADD' },
  load = { 'HSET' },
  commit = { 'HSET', 'HINCRBY', 'XADD', 'RPUSH', 'LPOP', 'LTRIM' },
  mirror = { 'HSET', 'XSETID', CREATE, SETID },
  trim = { 'HSET', 'HINCRBY', 'XADD', 'XTRIM', 'XSETID', CREATE },
  acquire = { 'HSET', 'HDEL', 'XSETID', CREATE, CREATECONSUMER, DELCONSUMER },
  heartbeat = { 'HINCRBY' },
  release = { 'HSET', 'HDEL', DELCONSUMER },
  want = { 'HSET' },
  attend = { 'HSET', 'HDEL' },
  leave = { 'HDEL' },
  announce = { 'XADD' },
  retry = { 'HSET', 'XADD', 'XDEL', 'XSETID', CREATE },
  drop = { 'XDEL' },
}

local function register(name, run, flags)
  local writes = WRITES[name] or {}
  redis.register_function {
    function_name = name .. '_1',
    callback = function(keys, args)
      call = redis.call
      return forbidden(writes, keys[1]) or run(keys, args)
    end,
    flags = flags,
  }
end

register('configure', configure, {})
register('prepare', prepare, {})
register('change_period', change_period, {})
register('append', append, {})
register('load', load, {})
register('commit', commit, {})
register('mirror', mirror, { 'allow-oom' }) -- as `trim`, which waits for it: else a full memory would never be freed
register('snapshot', snapshot, { 'no-writes' })
register('trim', trim, { 'allow-oom' })
register('acquire', acquire, { 'allow-oom' })
register('heartbeat', heartbeat, { 'allow-oom' })
register('want', want, { 'allow-oom' })
register('release', release, { 'allow-oom' })
register('attend', attend, { 'allow-oom' })
register('leave', leave, { 'allow-oom' })
register('announce', announce, {})
register('retry', retry, {})
register('drop', drop, { 'allow-oom' })
