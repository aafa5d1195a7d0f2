//! The client: a message out, its bytes moved, a class of answer back.

use crate::job::{ForeignText, Kind, RemoteId, Request};

use super::{CreateReply, Fault, Identity, PollReply, Protocol, Transport, v1};

/// Speaks for one account to one API over one transport. It never repeats a request by itself.
pub struct Client<T> {
    transport: T,
    identity: Identity,
}

impl<T: Transport> Client<T> {
    /// A client of the API that `identity` names; `transport` must lead to its base URL.
    #[must_use]
    pub fn new(transport: T, identity: Identity) -> Self {
        Self {
            transport,
            identity,
        }
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
        let protocol = self.identity.protocol.as_str();
        kind.protocols.contains_key(protocol)
            && kind
                .columns
                .iter()
                .all(|column| column.wire.contains_key(protocol))
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
        };
        let Some(body) = body else {
            let kind = &request.kind().name;
            let protocol = self.identity.protocol.as_str();
            return CreateReply::NotSent(
                self.clean(&format!("{kind} has no [protocol.{protocol}]")),
            );
        };
        match self.transport.post(path, body).await {
            Ok(answer) => match self.identity.protocol {
                Protocol::V1 => v1::decode_create(&answer, account),
            },
            Err(Fault::NotSent(why)) => CreateReply::NotSent(self.clean(&why)),
            Err(Fault::AfterSend(why)) => CreateReply::Unknown(self.clean(&why)),
        }
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
        };
        match self.transport.post(path, body).await {
            Ok(answer) => match self.identity.protocol {
                Protocol::V1 => {
                    let terms = kind.protocols.get(Protocol::V1.as_str());
                    let members = terms.map_or(&[][..], |terms| &terms.token);
                    v1::decode_poll(&answer, members, account)
                }
            },
            Err(Fault::NotSent(why) | Fault::AfterSend(why)) => {
                PollReply::Transient(self.clean(&why))
            }
        }
    }

    fn clean(&self, text: &str) -> ForeignText {
        ForeignText::clean(text, &[self.identity.account.expose()])
    }
}
