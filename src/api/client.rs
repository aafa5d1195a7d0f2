//! The client: a message out, its bytes moved, a class of answer back.

use crate::job::{ForeignText, Kind, RemoteId, Request};

use super::{
    Answer, Balance, CreateReply, Fault, Identity, LookUpError, PollReply, Protocol, Reader,
    RefusalRules, Service, Transport, v1, v2,
};

/// Speaks for one account to one API over one transport. It never repeats a request by itself.
pub struct Client<T> {
    transport: T,
    identity: Identity,
    rules: RefusalRules,
}

impl<T: Transport> Client<T> {
    /// A client of the API that `identity` names; `transport` must lead to its base URL.
    #[must_use]
    pub fn new(transport: T, identity: Identity) -> Self {
        Self {
            transport,
            identity,
            rules: RefusalRules::default(),
        }
    }

    /// The same with rules of the user's for what refusals mean, which go before those built in.
    #[must_use]
    pub fn with_rules(mut self, rules: RefusalRules) -> Self {
        self.rules = rules;
        self
    }

    /// Where the jobs that it creates live.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What moves its bytes.
    #[must_use]
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// Whether jobs of `kind` can be created: it says how it is spoken of in this protocol.
    #[must_use]
    pub fn supports(&self, kind: &Kind) -> bool {
        kind.speaks(self.identity.protocol.as_str())
    }

    /// Creates a job for `request`, once.
    ///
    /// A kind that is not [supported](Self::supports) ends as [`CreateReply::NotSent`].
    ///
    /// # Cancel safety
    ///
    /// None: dropped once polled, the fate of the create is unknown.
    pub async fn create(&self, request: &Request) -> CreateReply {
        let account = &self.identity.account;
        let (path, body) = match self.identity.protocol {
            Protocol::V1 => (v1::CREATE_PATH, v1::encode_create(account, request)),
            Protocol::V2 => (v2::CREATE_PATH, v2::encode_create(account, request)),
        };
        let Some(body) = body else {
            let kind = &request.kind().name;
            let protocol = self.identity.protocol.as_str();
            return CreateReply::NotSent(
                self.clean(&format!("{kind} has no [protocol.{protocol}]")),
            );
        };
        let reply = match self.transport.post(path, body).await {
            Ok(answer) => match self.identity.protocol {
                Protocol::V1 => v1::decode_create(&answer, &self.reader()),
                Protocol::V2 => v2::decode_create(&answer, &self.reader()),
            },
            Err(Fault::NotSent(why)) => CreateReply::NotSent(self.clean(&why)),
            Err(Fault::AfterSend(why)) => self.unknown(&why),
        };
        match reply {
            // Ids stand in logs, journals and results: one that echoes the account token is no id.
            CreateReply::Created(id) if self.holds_account(&id.to_string()) => {
                self.unknown("the job's id holds the account token")
            }
            reply => reply,
        }
    }

    fn unknown(&self, why: &str) -> CreateReply {
        CreateReply::Unknown {
            why: self.clean(why),
            pause: None,
        }
    }

    /// Whether a text holds the account token. One of a few letters is in many texts by chance.
    fn holds_account(&self, text: &str) -> bool {
        let account = self.identity.account.expose();
        account.len() >= 8 && text.contains(account)
    }

    /// Asks once what became of the job `id` of `kind`.
    ///
    /// # Cancel safety
    ///
    /// Safe: a poll that is dropped changes nothing at the service, beside that it was polled.
    pub async fn poll(&self, id: &RemoteId, kind: &Kind) -> PollReply {
        let account = &self.identity.account;
        let (path, body) = match self.identity.protocol {
            Protocol::V1 => (v1::POLL_PATH, v1::encode_poll(account, id)),
            Protocol::V2 => (v2::POLL_PATH, v2::encode_poll(account, id)),
        };
        let terms = kind.protocols.get(self.identity.protocol.as_str());
        let members = terms.map_or(&[][..], |terms| &terms.token);
        match self.transport.post(path, body).await {
            Ok(answer) => match self.identity.protocol {
                Protocol::V1 => v1::decode_poll(&answer, members, &self.reader()),
                Protocol::V2 => v2::decode_poll(&answer, members, &self.reader()),
            },
            Err(Fault::NotSent(why) | Fault::AfterSend(why)) => {
                PollReply::Transient(self.clean(&why))
            }
        }
    }

    /// Asks once what is left to spend.
    ///
    /// # Errors
    ///
    /// Where the service refuses, or gives no usable answer.
    ///
    /// # Cancel safety
    ///
    /// Safe: it changes nothing at the service.
    pub async fn balance(&self) -> Result<Balance, LookUpError> {
        let account = &self.identity.account;
        match self.identity.protocol {
            Protocol::V1 => {
                let answer = self.look_up(v1::BALANCE_PATH, v1::encode_balance(account));
                v1::decode_balance(&answer.await?, &self.reader())
            }
            Protocol::V2 => {
                let answer = self.look_up(v2::BALANCE_PATH, v2::encode_balance(account));
                v2::decode_balance(&answer.await?, &self.reader())
            }
        }
    }

    /// Asks once what is on offer; `None` where the protocol has no such question (v2).
    ///
    /// # Errors
    ///
    /// As [`balance`](Self::balance).
    ///
    /// # Cancel safety
    ///
    /// Safe: it changes nothing at the service.
    pub async fn services(&self) -> Result<Option<Vec<Service>>, LookUpError> {
        let account = &self.identity.account;
        match self.identity.protocol {
            Protocol::V1 => {
                let answer = self.look_up(v1::SERVICES_PATH, v1::encode_services(account));
                v1::decode_services(&answer.await?, &self.reader()).map(Some)
            }
            Protocol::V2 => Ok(None),
        }
    }

    async fn look_up(&self, path: &'static str, body: Vec<u8>) -> Result<Answer, LookUpError> {
        self.transport.post(path, body).await.map_err(|fault| {
            let (Fault::NotSent(why) | Fault::AfterSend(why)) = fault;
            LookUpError::NoAnswer(self.clean(&why))
        })
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            account: &self.identity.account,
            rules: &self.rules,
        }
    }

    fn clean(&self, text: &str) -> ForeignText {
        ForeignText::clean(text, &[self.identity.account.expose()])
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::api::{AccountToken, Answer, HttpSettings, HttpTransport};
    use crate::job::{Allowlist, Kinds, Micros, RequestId, SiteRule};

    /// Gives one answer, and keeps what was sent.
    struct Canned(Result<Answer, Fault>, RefCell<Vec<(&'static str, Vec<u8>)>>);

    impl Transport for Canned {
        async fn post(&self, path: &'static str, body: Vec<u8>) -> Result<Answer, Fault> {
            self.1.borrow_mut().push((path, body));
            self.0.clone()
        }
    }

    fn client(outcome: Result<Answer, Fault>) -> Client<Canned> {
        let identity = Identity {
            base_url: Identity::SIMULATED.to_owned(),
            protocol: Protocol::V1,
            account: AccountToken::try_new("s3cr3t-account").unwrap(),
        };
        Client::new(Canned(outcome, RefCell::default()), identity)
    }

    fn ok(body: &'static str) -> Result<Answer, Fault> {
        let content_type = "application/json".to_owned();
        let body = Bytes::from_static(body.as_bytes());
        Ok(Answer {
            status: 200,
            retry_after: None,
            content_type,
            body,
        })
    }

    fn request(kinds: &Kinds) -> Request {
        let sites = Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]);
        let id = RequestId::try_new("r1").unwrap();
        let fields = ["https://a.example.com", "k"];
        let kind: &Arc<Kind> = kinds.get("hcaptcha").unwrap();
        Request::validate(id, kind, |n| Some(fields[n]), &sites).unwrap()
    }

    #[tokio::test]
    async fn each_message_goes_to_its_path() {
        let kinds = Kinds::built_in();
        let request = request(&kinds);
        let creating = client(ok(r#"{"error": false, "job_id": 7}"#));
        assert!(creating.supports(request.kind()));
        let CreateReply::Created(id) = creating.create(&request).await else {
            panic!()
        };
        let polling = client(ok(r#"{"status": "success", "result": {"token": "P1_x"}}"#));
        let reply = polling.poll(&id, request.kind()).await;
        assert!(matches!(reply, PollReply::Solved(_)), "{reply:?}");
        let sent = [creating, polling].map(|c| c.transport.1.take().pop().unwrap());
        assert_eq!(
            sent.each_ref().map(|(path, _)| *path),
            ["/api/createJob", "/api/getJobResult"]
        );
        assert_eq!(sent[1].1, br#"{"api_token":"s3cr3t-account","job_id":7}"#);
    }

    #[tokio::test]
    async fn only_a_create_that_did_not_leave_is_known_not_to_exist() {
        let kinds = Kinds::built_in();
        let request = request(&kinds);
        let id = RemoteId::number("7").unwrap();
        for (fault, left) in [
            (Fault::NotSent("refused, s3cr3t-account".to_owned()), false),
            (Fault::AfterSend("reset, s3cr3t-account".to_owned()), true),
        ] {
            let client = client(Err(fault));
            let (why, unknown) = match client.create(&request).await {
                CreateReply::NotSent(why) => (why, false),
                CreateReply::Unknown { why, .. } => (why, true),
                reply => panic!("{reply:?}"),
            };
            assert_eq!(unknown, left);
            assert!(why.as_str().ends_with(", [secret]"), "{why}");
            let reply = client.poll(&id, request.kind()).await;
            assert!(matches!(reply, PollReply::Transient(polled) if polled == why));
            assert_eq!(
                client.transport.1.borrow().len(),
                2,
                "something was sent twice"
            );
        }
    }

    #[tokio::test]
    async fn a_kind_that_does_not_speak_the_protocol_is_not_sent() {
        let mut kinds = Kinds::built_in();
        kinds.for_each_mut(|kind| kind.protocols.clear());
        let request = request(&kinds);
        let client = client(ok(r#"{"job_id": 7}"#));
        assert!(!client.supports(request.kind()));
        let reply = client.create(&request).await;
        assert!(
            matches!(&reply, CreateReply::NotSent(why) if why.as_str() == "hcaptcha has no [protocol.v1]"),
            "{reply:?}"
        );
        assert!(client.transport.1.borrow().is_empty());
    }

    #[tokio::test]
    async fn an_id_that_echoes_the_account_is_none() {
        let kinds = Kinds::built_in();
        let client = client(ok(r#"{"error": false, "job_id": "s3cr3t-account-17"}"#));
        let reply = client.create(&request(&kinds)).await;
        assert!(matches!(reply, CreateReply::Unknown { .. }), "{reply:?}");
        assert!(!format!("{reply:?}").contains("s3cr3t"), "{reply:?}");
    }

    #[tokio::test]
    async fn questions_about_the_account() {
        let v1 = client(ok(r#"{"error": false, "balance": "1.5", "service": []}"#));
        assert_eq!(v1.balance().await.unwrap().amount, Micros(1_500_000));
        assert_eq!(v1.services().await.unwrap(), Some(vec![]));
        let mut v2 = client(ok(r#"{"errorId": 0, "balance": 1.5}"#));
        v2.identity.protocol = Protocol::V2;
        assert_eq!(v2.balance().await.unwrap().amount, Micros(1_500_000));
        assert_eq!(v2.services().await.unwrap(), None);
        let paths = |client: Client<Canned>| {
            let sent = client.transport.1.take();
            sent.iter().map(|(path, _)| *path).collect::<Vec<_>>()
        };
        assert_eq!(paths(v1), ["/api/getBalance", "/api/getService"]);
        assert_eq!(paths(v2), ["/getBalance"]);
        let gone = client(Err(Fault::NotSent("refused, s3cr3t-account".to_owned())));
        let error = gone.balance().await.unwrap_err();
        assert_eq!(error.to_string(), "refused, [secret]");
    }

    #[tokio::test]
    async fn each_message_of_v2_goes_to_its_path() {
        let kinds = Kinds::built_in();
        let kind = kinds.get("recaptcha-v2").unwrap();
        let sites = Allowlist::new(vec![SiteRule::try_new("a.example.com", vec![]).unwrap()]);
        let fields = [Some("https://a.example.com"), Some("k"), None];
        let id = RequestId::try_new("r1").unwrap();
        let request = Request::validate(id, kind, |n| fields[n], &sites).unwrap();
        let v2 = |body| {
            let mut client = client(ok(body));
            client.identity.protocol = Protocol::V2;
            client
        };
        let creating = v2(r#"{"errorId": 0, "taskId": "49f9-f60a"}"#);
        assert!(creating.supports(kind) && !creating.supports(kinds.get("hcaptcha").unwrap()));
        let CreateReply::Created(id) = creating.create(&request).await else {
            panic!()
        };
        let polling = v2(r#"{"errorId": 0, "status": "ready", "solution": {"token": "3AHJ_x"}}"#);
        let reply = polling.poll(&id, kind).await;
        assert!(matches!(reply, PollReply::Solved(_)), "{reply:?}");
        let sent = [creating, polling].map(|c| c.transport.1.take().pop().unwrap());
        let paths = sent.each_ref().map(|(path, _)| *path);
        assert_eq!(paths, ["/createTask", "/getTaskResult"]);
        assert_eq!(
            sent[1].1,
            br#"{"clientKey":"s3cr3t-account","taskId":"49f9-f60a"}"#
        );
    }

    /// There is one for each exchange, allocated and moved: what is large in it and seldom needed (the way to
    /// a new connection) is boxed. With what the engine adds it is to stay below 1,032 bytes: to those, glibc
    /// has a quick way.
    #[test]
    fn the_future_of_an_exchange_is_small() {
        let http = HttpTransport::new(&HttpSettings::new("http://127.0.0.1:9")).unwrap();
        let client = Client::new(http, client(ok("")).identity);
        let kinds = Kinds::built_in();
        let id = RemoteId::number("7").unwrap();
        let kind = kinds.get("hcaptcha").unwrap();
        let poll = size_of_val(&client.poll(&id, kind));
        let create = size_of_val(&client.create(&request(&kinds)));
        assert!(poll <= 960 && create <= 960, "{poll}, {create}");
    }
}
