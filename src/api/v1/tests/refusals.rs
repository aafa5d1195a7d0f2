//! What the words of a refusal mean, in the languages that the service speaks.

use super::{create, poll};
use crate::api::RefusalCause;

#[test]
fn words_of_refusals() {
    use RefusalCause::{
        BadRequest, BadToken, Blocked, NoBalance, Passing, UnknownJob, Unrecognised,
    };
    // What it means of a create, and of a poll where that differs.
    let table: &[(&str, RefusalCause, Option<RefusalCause>)] = &[
        ("Invalid api token.", BadToken, None),
        ("api_token is required", BadToken, None),
        ("The api token field is required.", BadToken, None),
        ("API key not found", BadToken, None),
        ("apiKey invalid", BadToken, None),
        ("Your API Key doesn't exist", BadToken, None),
        ("Invalid token", BadToken, None),
        ("Token is invalid!", BadToken, None),
        ("Unauthorized", BadToken, None),
        ("Unauthenticated.", BadToken, None),
        ("Token không hợp lệ", BadToken, None),
        ("token khong hop le", BadToken, None),
        ("Khóa tài khoản không hợp lệ", BadToken, None),
        ("Khoá tài khoản khách hàng không tồn tại", BadToken, None),
        ("Sai api token", BadToken, None),
        ("Tài khoản không tồn tại", BadToken, None),
        ("Invalid api token or job id", BadToken, None),
        ("User not found", BadToken, None),
        ("Account does not exist.", BadToken, None),
        ("Insufficient balance", NoBalance, None),
        ("Your balance is not enough.", NoBalance, None),
        ("Your balance is 0.00000", NoBalance, None),
        ("You don't have enough credits", NoBalance, None),
        ("Not enough money; please top up", NoBalance, None),
        ("Số dư không đủ", NoBalance, None),
        ("So du tai khoan khong du", NoBalance, None),
        ("Số dư tài khoản không đủ để thực hiện", NoBalance, None),
        (
            "Tài khoản không đủ tiền, vui lòng nạp thêm",
            NoBalance,
            None,
        ),
        ("Your api key has insufficient funds", NoBalance, None),
        ("Your account has been suspended", Blocked, None),
        ("Account blocked", Blocked, None),
        ("User is banned", Blocked, None),
        ("Tài khoản của bạn đã bị khóa", Blocked, None),
        ("Tài khoản đã bị khoá", Blocked, None),
        ("tai khoan bi khoa", Blocked, None),
        ("IP blocked", Blocked, None),
        ("ERROR_IP_NOT_ALLOWED", Blocked, None),
        ("ERROR_ACCOUNT_SUSPENDED", Blocked, None),
        // About one row, one kind or one moment: no fault of the account.
        ("Invalid website key", BadRequest, None),
        ("Website key does not exist", BadRequest, None),
        ("Khoá trang web không hợp lệ", BadRequest, None),
        ("Invalid sitekey", BadRequest, None),
        ("Captcha token type not supported", Unrecognised, None),
        ("Captcha token is invalid", Unrecognised, None),
        ("Invalid token type", Unrecognised, None),
        ("Unauthorized website", Unrecognised, None),
        ("This domain is blocked", Unrecognised, None),
        ("Website bị khóa", Unrecognised, None),
        ("Proxy IP is banned by the website", Unrecognised, None),
        ("Not enough workers", Unrecognised, None),
        ("Insufficient data", Unrecognised, None),
        ("Không đủ thông tin", Unrecognised, None),
        ("No workers available, 0 credits charged", Passing, None),
        ("Api token rate limit exceeded", Unrecognised, None),
        (
            "Api token is fine but for now this kind is disabled",
            Unrecognised,
            None,
        ),
        ("Api token accepted. Website key invalid.", BadRequest, None),
        ("ERROR_NO_SLOT_AVAILABLE", Passing, None),
        ("ERROR_TASK_IS_MAINTENANCE", Passing, None),
        ("System is under maintenance", Passing, None),
        ("website_url is required.", BadRequest, None),
        ("The data.websiteURL field must be a url", BadRequest, None),
        ("Missing parameter: website_key", BadRequest, None),
        ("Thiếu tham số website_url", BadRequest, None),
        ("Tham số không hợp lệ", BadRequest, None),
        ("Invalid type for website", Unrecognised, None),
        ("Dịch vụ không hợp lệ", Unrecognised, None),
        ("Hệ thống đang bảo trì, vui lòng thử lại sau", Passing, None),
        ("Server quá tải", Passing, None),
        ("Please try again later", Passing, None),
        (
            "Invalid job type, try again later",
            Unrecognised,
            Some(UnknownJob),
        ),
        ("Website key invalid, try again later", BadRequest, None),
        ("Your account is suspended, try again later", Blocked, None),
        ("MESSAGE_ERROR", Unrecognised, None),
        ("Invalid user id", Unrecognised, None),
        ("", Unrecognised, None),
        // Only a poll names a job.
        ("Job not found", Unrecognised, Some(UnknownJob)),
        ("Invalid job_id", Unrecognised, Some(UnknownJob)),
        ("job_id does not exist.", Unrecognised, Some(UnknownJob)),
        (
            "Job not found for this api token",
            Unrecognised,
            Some(UnknownJob),
        ),
        ("Công việc không tồn tại", Unrecognised, Some(UnknownJob)),
        ("Yêu cầu không tồn tại", Unrecognised, Some(UnknownJob)),
        ("ERROR_NO_SUCH_CAPCHA_ID", Unrecognised, Some(UnknownJob)),
        ("Invalid type_job_id", Unrecognised, Some(UnknownJob)),
    ];
    for (message, of_create, of_poll) in table {
        let body = serde_json::json!({"error": true, "message": message}).to_string();
        let expected = format!("{of_create:?}: {message}");
        assert_eq!(create(200, &body), expected);
        let expected = format!("{:?}: {message}", of_poll.unwrap_or(*of_create));
        assert_eq!(poll(200, &body), expected);
    }
}

#[test]
fn diacritics_may_be_composed_or_not() {
    // "số dư không đủ" with combining marks.
    let body =
        "{\"error\": true, \"message\": \"so\u{302}\u{301} du\u{31b} kho\u{302}ng đu\u{309}\"}";
    assert!(
        create(200, body).starts_with("NoBalance"),
        "{}",
        create(200, body)
    );
}
