-- One create, then POLLS polls of a job that stays pending, and again. No answer is read: that would be a
-- client's work, and this is the floor under clients.
local polls = tonumber(os.getenv("POLLS"))
local headers = { ["Content-Type"] = "application/json" }
local poll, create
local n = 0

function init()
  poll = wrk.format("POST", "/api/getJobResult", headers, '{"api_token":"bench","job_id":' .. os.getenv("JOB_ID") .. "}")
  create = wrk.format("POST", "/api/createJob", headers,
    '{"api_token":"bench","data":{"type_job_id":"11","website_url":"https://shop.example.com/login","website_key":"10000000-ffff"}}')
end

function request()
  n = n + 1
  return n % (polls + 1) == 1 and create or poll
end
