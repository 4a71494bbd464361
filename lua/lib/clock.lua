-- now: Redis's own clock, the only one in use, in Unix milliseconds.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
