-- Polls one job that stays pending: the cheapest exchange there is.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"api_token":"bench","job_id":' .. os.getenv("JOB_ID") .. "}"
