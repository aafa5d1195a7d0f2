//! The words by which a refusal is read, in lower case and without diacritics.
//!
//! No document lists them. "Invalid api token." is printed, and v2 has codes; the rest is what
//! services of this kind say, in both languages. A word that is missing here costs five unsettled
//! rows at the end of a run; one that is too broad stops a run for nothing.

/// Names of the account token. `khóa tài khoản` (account key) is what the original calls it.
pub(super) const TOKEN_NAMES: [&str; 14] = [
    "api token", "apitoken", "api key", "apikey", "client key", "clientkey", "access token",
    "account token", "account key", "token api", "key api", "khoa tai khoan", "khoa api",
    "ma api",
];
/// What can be wrong with the account token.
pub(super) const NOT_ACCEPTED: [&str; 29] = [
    "invalid", "incorrect", "wrong", "unknown", "missing", "required", "expired", "revoked",
    "disabled", "inactive", "not valid", "not correct", "not found", "not exist", "not exists",
    "no such", "not recognized", "not recognised", "not active", "khong hop le", "khong dung",
    "khong ton tai", "khong tim thay", "khong chinh xac", "khong co", "sai", "het han", "thieu",
    "chua kich hoat",
];
/// Complaints about a bare "token", word for word: the word alone may mean a captcha's token.
pub(super) const BARE_TOKEN: [&str; 21] = [
    "invalid token", "token invalid", "token is invalid", "token not valid",
    "token is not valid", "wrong token", "incorrect token", "token is incorrect",
    "token is wrong", "unknown token", "missing token", "token is missing", "token is required",
    "token not found", "token does not exist", "token khong hop le", "token khong dung",
    "token khong ton tai", "token khong chinh xac", "sai token", "thieu token",
];
/// Complaints that name no token at all.
pub(super) const NOT_LET_IN: [&str; 10] = [
    "unauthorized", "unauthorised", "unauthenticated", "authentication failed",
    "key does not exist", "tai khoan khong ton tai", "account does not exist",
    "account not found", "user not found", "user does not exist",
];
/// What a row is about. Beside one of these, words that name no account are about the row.
pub(super) const ROW: [&str; 18] = [
    "captcha", "recaptcha", "hcaptcha", "website", "websitekey", "websiteurl", "site",
    "sitekey", "url", "domain", "host", "page", "proxy", "trang web", "type", "task", "job",
    "solution",
];
/// Whom a service locks out.
pub(super) const ACCOUNT: [&str; 5] = [
    "account", "user", "customer", "tai khoan", "nguoi dung",
];
/// How it says so.
pub(super) const LOCKED: [&str; 14] = [
    "suspended", "blocked", "banned", "locked", "disabled", "deactivated", "inactive",
    "bi khoa", "tam khoa", "da khoa", "bi chan", "bi cam", "bi dinh chi", "vo hieu hoa",
];
/// How it says that it does not serve an address.
pub(super) const ADDRESS_REFUSED: [&str; 3] = [
    "ip not allowed", "ip is not allowed", "ip address is not allowed",
];
/// What an account can run out of.
pub(super) const MONEY: [&str; 7] = [
    "balance", "fund", "funds", "credit", "credits", "money", "so du",
];
/// How a service says that there is too little of it.
pub(super) const SHORT: [&str; 22] = [
    "insufficient", "not enough", "enough", "low", "zero", "0", "empty", "out of", "exhausted",
    "negative", "ran out", "run out", "not sufficient", "less than", "top up", "khong du",
    "khong con", "khong co", "het", "thap", "nho hon", "it hon",
];
/// Both in one.
pub(super) const NO_MONEY: [&str; 13] = [
    "no balance", "no fund", "no funds", "no credit", "no credits", "add funds", "add credits",
    "payment required", "het tien", "khong du tien", "nap tien", "nap them tien",
    "tai khoan khong du",
];
/// What is said of money that stays: "0 credits charged".
pub(super) const NOT_SPENT: [&str; 4] = [
    "charged", "deducted", "refunded", "returned",
];
/// What a poll names. The bare "id" may also be a user's.
pub(super) const JOB: [&str; 6] = [
    "job", "jobs", "jobid", "task", "taskid", "cong viec",
];
/// How a service says that it does not know it.
pub(super) const NOT_KNOWN: [&str; 14] = [
    "not found", "not exist", "not exists", "no such", "invalid", "not valid", "unknown",
    "wrong", "expired", "khong ton tai", "khong tim thay", "khong hop le", "khong dung",
    "het han",
];
/// Parts of a request.
pub(super) const PARTS: [&str; 23] = [
    "website", "websitekey", "website key", "websiteurl", "website url", "site key", "sitekey",
    "url", "pageurl", "page url", "domain", "parameter", "parameters", "param", "params", "field",
    "fields", "data", "request body", "tham so", "du lieu", "trang web", "duong dan",
];
/// What can be wrong with one. "Blocked" and "not allowed" are not here: they may be about the account.
pub(super) const UNFIT: [&str; 24] = [
    "invalid", "incorrect", "wrong", "missing", "required", "malformed", "bad", "empty",
    "not valid", "not correct", "not exist", "not exists", "not a valid", "cannot be blank",
    "cannot be empty", "must be", "khong hop le", "khong dung", "khong chinh xac", "khong ton tai",
    "khong duoc de trong", "sai", "thieu", "bat buoc",
];
/// The kind of job: wrong in one row, wrong in all of them.
pub(super) const KIND: [&str; 6] = [
    "type", "type job", "kind", "service", "loai", "dich vu",
];
/// What passes by itself.
pub(super) const PASSING: [&str; 33] = [
    "maintenance", "maintaining", "overload", "overloaded", "server busy", "servers busy",
    "system busy", "service busy", "server is busy", "servers are busy", "system is busy",
    "service is busy", "all workers are busy", "temporarily unavailable", "service unavailable",
    "no idle worker", "no idle workers", "no free worker", "no free workers",
    "no available worker", "no available workers", "no worker available", "no workers available",
    "no slot available", "no slots available", "too many requests", "bao tri", "nang cap he thong",
    "qua tai", "tam ngung", "tam dung", "he thong ban", "qua nhieu yeu cau",
];
/// What alone says little.
pub(super) const AGAIN_LATER: [&str; 4] = [
    "try again later", "retry later", "thu lai sau", "quay lai sau",
];
