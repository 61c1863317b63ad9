internal import NeedletailRedis

/// Decisions about jobs in Redis, as Lua that Redis runs as a whole: no two servers see the same moment of them.
///
/// `KEYS[1]` begins the names of all keys. `ARGV` begins with the time in milliseconds for which ended jobs are known, how
/// many of them, and how often a job may be begun. Every answer is `{swept, counts, verdict, …}`: what was due and has
/// been done, what there is, and the decision.
///
/// | key | holds | ends |
/// |---|---|---|
/// | `job:ID` | the record, a hash | by itself, when the job is forgotten |
/// | `request:ID`, `result:ID` | a body, as a list of parts | by itself, or as soon as nobody needs it |
/// | `key:…` | id of the job that a caller submitted under its own key | with the record |
/// | `queue` | jobs that wait, by the number of their submission | with the last job |
/// | `due` | every job with a place, by the time at which something must be done about it | the same |
/// | `running`, `done` | jobs with a lease, and with a result | the same |
/// | `held`, `callers`, `sums` | bytes and caller of each place, places of each caller, bytes of all | the same |
/// | `ended` | jobs that are only known, by the time of their end | the same |
///
/// Records may have been written by anything: fields may be missing, too long or no numbers, and keys of another type.
enum JobScripts {
  static let submit = RedisScript(prelude + submitBody)
  static let append = RedisScript(prelude + appendBody)
  static let claim = RedisScript(prelude + claimBody)
  static let renew = RedisScript(prelude + renewBody)
  static let reserve = RedisScript(prelude + reserveBody)
  static let part = RedisScript(prelude + partBody)
  static let done = RedisScript(prelude + doneBody)
  static let fail = RedisScript(prelude + failBody)
  static let giveBack = RedisScript(prelude + giveBackBody)
  static let status = RedisScript(prelude + statusBody)
  static let cancel = RedisScript(prelude + cancelBody)
  static let read = RedisScript(readBody)

  /// Functions of all scripts. `sweep` does what is due.
  private static let prelude = #"""
    local p = KEYS[1]
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
    local function num(text)
      local n = tonumber(text)
      if not n or n ~= n or n < 0 or n > 1e15 then return 0 end
      return math.floor(n)
    end
    local memory, remembered, runs = num(ARGV[1]), num(ARGV[2]), num(ARGV[3])
    local swept = {0, 0, 0, 0}
    local function is(key, kind) return redis.call('TYPE', key).ok == kind end
    local function get(id, ...)
      local key = p .. 'job:' .. id
      if not is(key, 'hash') then return nil end
      for _, name in ipairs({...}) do
        if redis.call('HSTRLEN', key, name) > 65536 then return nil end
      end
      local fields = redis.call('HMGET', key, ...)
      for i = 1, #fields do fields[i] = fields[i] or '' end
      return fields
    end
    local function keyname(caller, key) return p .. 'key:' .. #caller .. ':' .. caller .. ':' .. key end
    local function keyof(id)
      local f = get(id, 'caller', 'key')
      if f and f[2] ~= '' then return keyname(f[1], f[2]) end
    end
    local function place(id)
      local text = redis.call('HGET', p .. 'held', id)
      if not text then return nil end
      local requests, results, caller = string.match(text, '^(%d+) (%d+) (.*)$')
      return num(requests), num(results), caller or ''
    end
    local function setplace(id, requests, results, caller)
      local a, b = place(id)
      redis.call('HINCRBY', p .. 'sums', 'requests', requests - (a or 0))
      redis.call('HINCRBY', p .. 'sums', 'results', results - (b or 0))
      redis.call('HSET', p .. 'held', id, requests .. ' ' .. results .. ' ' .. caller)
    end
    local function release(id)
      redis.call('ZREM', p .. 'due', id)
      redis.call('ZREM', p .. 'queue', id)
      redis.call('SREM', p .. 'running', id)
      redis.call('SREM', p .. 'done', id)
      redis.call('UNLINK', p .. 'request:' .. id, p .. 'result:' .. id)
      local requests, results, caller = place(id)
      if not requests then return end
      setplace(id, 0, 0, caller)
      redis.call('HDEL', p .. 'held', id)
      if redis.call('HINCRBY', p .. 'callers', caller, -1) <= 0 then redis.call('HDEL', p .. 'callers', caller) end
    end
    local function forget(id)
      local name = keyof(id)
      release(id)
      redis.call('ZREM', p .. 'ended', id)
      if name then redis.call('UNLINK', name) end
      redis.call('UNLINK', p .. 'job:' .. id)
    end
    local function finish(id, state, fault, sentence)
      local name = keyof(id)
      release(id)
      if not is(p .. 'job:' .. id, 'hash') then return end
      redis.call('HSET', p .. 'job:' .. id, 'state', state, 'fault', fault, 'error', sentence, 'owner', '')
      redis.call('PEXPIRE', p .. 'job:' .. id, memory)
      if name then redis.call('PEXPIRE', name, memory) end
      redis.call('ZADD', p .. 'ended', now, id)
      redis.call('PEXPIRE', p .. 'ended', memory)
      redis.call('ZREMRANGEBYSCORE', p .. 'ended', '-inf', now - memory)
      while redis.call('ZCARD', p .. 'ended') > remembered do
        forget(redis.call('ZRANGE', p .. 'ended', 0, 0)[1])
      end
    end
    local function wait(id, seq, due)
      redis.call('SREM', p .. 'running', id)
      redis.call('HSET', p .. 'job:' .. id, 'state', 'queued', 'owner', '', 'seq', seq)
      redis.call('ZADD', p .. 'queue', seq, id)
      redis.call('ZADD', p .. 'due', due, id)
    end
    local function sweep()
      for _, id in ipairs(redis.call('ZRANGEBYSCORE', p .. 'due', '-inf', now, 'LIMIT', 0, 100)) do
        local f = get(id, 'state', 'attempts', 'due', 'seq')
        local state = f and f[1]
        if state == 'queued' then
          finish(id, 'failed', 'overdue', '')
          swept[1] = swept[1] + 1
        elseif state == 'running' and now >= num(f[3]) then
          finish(id, 'failed', 'late', '')
          swept[1] = swept[1] + 1
        elseif state == 'running' and num(f[2]) >= runs then
          finish(id, 'failed', 'lost', f[2])
          swept[2] = swept[2] + 1
        elseif state == 'running' then
          local requests, _, caller = place(id)
          if requests then setplace(id, requests, 0, caller) end
          redis.call('UNLINK', p .. 'result:' .. id)
          wait(id, num(f[4]), num(f[3]))
          swept[4] = swept[4] + 1
        elseif state == 'done' then
          finish(id, 'expired', '', '')
          swept[3] = swept[3] + 1
        else
          forget(id)
        end
      end
      if redis.call('ZCARD', p .. 'due') == 0 then
        redis.call('UNLINK', p .. 'held', p .. 'callers', p .. 'sums', p .. 'queue', p .. 'running', p .. 'done')
      end
    end
    local function keep(ttl)
      for _, name in ipairs({'queue', 'due', 'running', 'done', 'held', 'callers', 'sums', 'seq'}) do
        if redis.call('PTTL', p .. name) < ttl then redis.call('PEXPIRE', p .. name, ttl) end
      end
    end
    local function sum(kind) return num(redis.call('HGET', p .. 'sums', kind)) end
    local function answer(verdict, ...)
      local counts = {
        redis.call('ZCARD', p .. 'queue'), redis.call('SCARD', p .. 'running'), redis.call('SCARD', p .. 'done'),
        sum('requests'), sum('results'),
      }
      return {swept, counts, verdict, ...}
    end
    local function status(id)
      local f = get(
        id, 'layout', 'state', 'model', 'version', 'rows', 'rows_done', 'submitted', 'expires', 'fault', 'error',
        'result_bytes', 'result_json')
      if not f then return {} end
      f[7] = math.max(0, now - num(f[7]))
      f[8] = math.max(0, num(f[8]) - now)
      return f
    end
    local function owns(id, owner)
      local f = get(id, 'state', 'owner')
      return f and f[1] == 'running' and f[2] == owner
    end
    local function visible(id, caller)
      local f = get(id, 'caller', 'state')
      if not f then return redis.call('EXISTS', p .. 'job:' .. id) == 1 and 'wrong' or nil end
      if f[1] ~= caller or f[2] == 'uploading' then return nil end
      return f[2]
    end

    """#

  /// id, caller, key, digest, model, selector, json, bytes, life, places of all, places of a caller, bytes of all
  /// requests, life of the lists, first part, time for the next part.
  private static let submitBody = #"""
    local id, caller, key, digest, model = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
    local bytes, life, part = num(ARGV[11]), num(ARGV[12]), ARGV[17]
    sweep()
    local name = key ~= '' and keyname(caller, key)
    if name and is(name, 'string') then
      local known = redis.call('GET', name)
      local f = get(known, 'digest', 'model', 'state')
      if f then
        if f[1] ~= digest or f[2] ~= model then return answer('conflict', known) end
        if f[3] == 'uploading' then return answer('busy') end
        return answer('known', known, status(known))
      end
    end
    local count = redis.call('ZCARD', p .. 'due')
    if count >= num(ARGV[13]) then return answer('count', count + 1) end
    local own = num(redis.call('HGET', p .. 'callers', caller))
    if own >= num(ARGV[14]) then return answer('caller', own + 1) end
    if sum('requests') + bytes > num(ARGV[15]) then return answer('memory', sum('requests')) end
    local record = p .. 'job:' .. id
    redis.call(
      'HSET', record, 'layout', '1', 'caller', caller, 'key', key, 'digest', digest, 'model', model, 'selector', ARGV[9],
      'json', ARGV[10], 'bytes', bytes, 'state', 'uploading', 'submitted', now, 'due', now + life, 'attempts', 0)
    redis.call('PEXPIRE', record, life + memory)
    if name then redis.call('SET', name, id, 'PX', life + memory) end
    redis.call('HINCRBY', p .. 'callers', caller, 1)
    setplace(id, bytes, 0, caller)
    redis.call('ZADD', p .. 'due', now + num(ARGV[18]), id)
    if #part > 0 then
      redis.call('RPUSH', p .. 'request:' .. id, part)
      redis.call('PEXPIRE', p .. 'request:' .. id, life + memory)
    end
    if #part == bytes then wait(id, redis.call('INCR', p .. 'seq'), now + life) end
    keep(num(ARGV[16]))
    return answer('new', id, status(id))
    """#

  /// id, part, whether it is the last, time for the next one.
  private static let appendBody = #"""
    local id = ARGV[4]
    local f = get(id, 'state', 'due')
    if not f or f[1] ~= 'uploading' then return answer('gone') end
    redis.call('RPUSH', p .. 'request:' .. id, ARGV[5])
    redis.call('ZADD', p .. 'due', now + num(ARGV[7]), id)
    if ARGV[6] == '1' then wait(id, redis.call('INCR', p .. 'seq'), num(f[2])) end
    return answer('ok', id, status(id))
    """#

  /// owner, lease.
  private static let claimBody = #"""
    sweep()
    for _ = 1, 100 do
      local id = redis.call('ZRANGE', p .. 'queue', 0, 0)[1]
      if not id then break end
      local f = #id == 32 and get(id, 'layout', 'model', 'selector', 'json', 'bytes', 'due', 'submitted', 'attempts')
      if f then
        local attempts = num(f[8]) + 1
        redis.call('ZREM', p .. 'queue', id)
        redis.call('SADD', p .. 'running', id)
        redis.call('ZADD', p .. 'due', now + num(ARGV[5]), id)
        redis.call('HSET', p .. 'job:' .. id, 'state', 'running', 'owner', ARGV[4], 'attempts', attempts)
        keep(num(ARGV[5]) + memory)
        f[6] = math.max(0, num(f[6]) - now)
        f[7] = math.max(0, now - num(f[7]))
        f[8] = attempts
        return answer('turn', id, f)
      end
      forget(id)
    end
    return answer('none')
    """#

  /// id, owner, lease, version, rows, rows done.
  private static let renewBody = #"""
    local id = ARGV[4]
    if not owns(id, ARGV[5]) then
      sweep()
      return answer('lost')
    end
    redis.call('ZADD', p .. 'due', now + num(ARGV[6]), id)
    redis.call('HSET', p .. 'job:' .. id, 'version', ARGV[7], 'rows', ARGV[8], 'rows_done', ARGV[9])
    sweep()
    return answer('kept')
    """#

  /// id, owner, bytes, bytes of all results.
  private static let reserveBody = #"""
    local id, bytes = ARGV[4], num(ARGV[6])
    if not owns(id, ARGV[5]) then return answer('lost') end
    sweep()
    local requests, results, caller = place(id)
    if not requests then return answer('lost') end
    redis.call('UNLINK', p .. 'result:' .. id)
    if sum('results') - results + bytes > num(ARGV[7]) then
      setplace(id, requests, 0, caller)
      return answer('full')
    end
    setplace(id, requests, bytes, caller)
    return answer('kept')
    """#

  /// id, owner, index of the part, part, its life.
  private static let partBody = #"""
    local id, key = ARGV[4], p .. 'result:' .. ARGV[4]
    if not owns(id, ARGV[5]) then return answer('lost') end
    if ARGV[6] == '0' then redis.call('UNLINK', key) end
    redis.call('RPUSH', key, ARGV[7])
    redis.call('PEXPIRE', key, num(ARGV[8]))
    return answer('kept')
    """#

  /// id, owner, bytes of the result, of its JSON, life of the result, version, rows, life of the lists.
  private static let doneBody = #"""
    local id, life = ARGV[4], num(ARGV[8])
    local f = get(id, 'state', 'owner')
    if f and f[1] == 'done' and f[2] == ARGV[5] then return answer('kept') end
    local _, _, caller = place(id)
    if not owns(id, ARGV[5]) or not caller then return answer('lost') end
    redis.call(
      'HSET', p .. 'job:' .. id, 'state', 'done', 'result_bytes', ARGV[6], 'result_json', ARGV[7], 'version', ARGV[9],
      'rows', ARGV[10], 'rows_done', ARGV[10], 'expires', now + life)
    setplace(id, 0, num(ARGV[6]), caller)
    redis.call('SREM', p .. 'running', id)
    redis.call('SADD', p .. 'done', id)
    redis.call('ZADD', p .. 'due', now + life, id)
    redis.call('UNLINK', p .. 'request:' .. id)
    redis.call('PEXPIRE', p .. 'result:' .. id, life)
    redis.call('PEXPIRE', p .. 'job:' .. id, life + memory)
    local name = keyof(id)
    if name then redis.call('PEXPIRE', name, life + memory) end
    keep(num(ARGV[11]))
    return answer('kept')
    """#

  /// id, owner, error.
  private static let failBody = #"""
    if not owns(ARGV[4], ARGV[5]) then return answer('lost') end
    finish(ARGV[4], 'failed', '', ARGV[6])
    return answer('kept')
    """#

  /// id, owner.
  private static let giveBackBody = #"""
    local id = ARGV[4]
    local requests, _, caller = place(id)
    if not owns(id, ARGV[5]) or not requests then return answer('lost') end
    local f = get(id, 'seq', 'due', 'attempts')
    setplace(id, requests, 0, caller)
    redis.call('UNLINK', p .. 'result:' .. id)
    redis.call(
      'HSET', p .. 'job:' .. id, 'attempts', math.max(0, num(f[3]) - 1), 'version', 0, 'rows', 0, 'rows_done', 0)
    wait(id, num(f[1]), num(f[2]))
    return answer('kept')
    """#

  /// id, caller.
  private static let statusBody = #"""
    sweep()
    local state = visible(ARGV[4], ARGV[5])
    if not state then return answer('none') end
    return answer('job', ARGV[4], status(ARGV[4]))
    """#

  /// id, caller.
  private static let cancelBody = #"""
    sweep()
    local id = ARGV[4]
    local state = visible(id, ARGV[5])
    if not state then return answer('none') end
    if state == 'queued' or state == 'running' then
      finish(id, 'cancelled', '', '')
      return answer('ended', id, status(id))
    elseif state == 'done' then
      finish(id, 'expired', '', '')
      return answer('ended', id, status(id))
    end
    return answer('job', id, status(id))
    """#

  /// A part of a body, if it is no longer than expected: key in `KEYS[1]`; index, longest part.
  private static let readBody = #"""
    if redis.call('TYPE', KEYS[1]).ok ~= 'list' then return {'none'} end
    local part = redis.call('LINDEX', KEYS[1], ARGV[1])
    if not part then return {'none'} end
    if #part > tonumber(ARGV[2]) then return {'wrong'} end
    return {'part', part}
    """#
}
