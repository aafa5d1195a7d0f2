-- Adds messages where there is room for them.   in: most that may wait (0: no limit), messages.   out: pushed, waiting.
local most = number()
local waiting = call('LLEN', LIST) + call('LLEN', INBOX)
local messages = {}
while more() do
  if most > 0 and waiting + #messages >= most then break end
  messages[#messages + 1] = text()
end
many('LPUSH', LIST, messages)
return { #messages, waiting + #messages }
