//! `account`: the balance, and in v1 what the service offers. Asks each question once.

use std::fmt::Write;

use serde::{Serialize, Serializer};

use super::{AccountArgs, ExitCode, Failure, print, transport};
use crate::api::{
    Balance, Client, Identity, LookUpError, RefusalCause, RetryAfter, Service, Transport,
};
use crate::config::{Config, Environment};
use crate::job::Micros;
use crate::telemetry::{safe, span};

/// Prints what the service says about the account.
pub(super) fn account(args: &AccountArgs) -> Result<ExitCode, Failure> {
    let config = Config::load(&args.settings.0, Environment::of_process())?;
    let identity = config.identity()?;
    let about_token = if config.settings.simulate {
        None
    } else {
        config.account_token()?.warning
    };
    for warning in config.warnings.iter().chain(&about_token) {
        print::note(&format!("warning: {warning}\n"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(ExitCode::Io, e))?;
    let (view, missing) = runtime.block_on(async {
        if config.settings.simulate {
            let client = Client::new(transport::simulated(&config), identity);
            ask(&client.with_rules(config.refusals.clone())).await
        } else {
            let client = Client::new(transport::http(&config)?, identity);
            ask(&client.with_rules(config.refusals.clone())).await
        }
    })?;
    print::out(&if args.json {
        view.json()?
    } else {
        view.render()
    })?;
    missing.map_or(Ok(ExitCode::Success), |error| {
        Err(failure(error).context("the services"))
    })
}

/// Asks for the balance and then for the services, whose failure does not hide the balance.
async fn ask<T: Transport>(
    client: &Client<T>,
) -> Result<(AccountView, Option<LookUpError>), Failure> {
    let balance = client.balance().await;
    let balance = balance.map_err(|error| failure(error).context("the balance"))?;
    let (services, missing) = match client.services().await {
        Ok(services) => (services, None),
        Err(error) => (None, Some(error)),
    };
    Ok((
        AccountView::new(client.identity(), balance, services),
        missing,
    ))
}

/// What ends the process where a question has no answer.
fn failure(error: LookUpError) -> Failure {
    let (code, hint) = match &error {
        LookUpError::Refused(refusal) => match refusal.cause {
            RefusalCause::BadToken => (
                ExitCode::NotAuthorized,
                "check POLLWHEEL_API_TOKEN or the file that api_token_file names".to_owned(),
            ),
            RefusalCause::Passing => (ExitCode::Unavailable, "ask again later".to_owned()),
            RefusalCause::NoBalance
            | RefusalCause::Blocked
            | RefusalCause::UnknownJob
            | RefusalCause::BadRequest
            | RefusalCause::Unrecognised => (
                ExitCode::NotAuthorized,
                "those are the service's own words; ask whoever runs it".to_owned(),
            ),
        },
        LookUpError::Throttled(Some(RetryAfter(pause))) => (
            ExitCode::Unavailable,
            format!("ask again in {}", span(*pause)),
        ),
        LookUpError::Throttled(None) => (ExitCode::Unavailable, "ask again later".to_owned()),
        LookUpError::NoAnswer(_) | LookUpError::Unusable(_) => (
            ExitCode::Unavailable,
            "is --base-url the service's, and does it speak this --protocol?".to_owned(),
        ),
    };
    Failure::new(code, error).hint(hint)
}

/// What the service says, as it is shown; its JSON is what `--json` prints. Amounts are US dollars.
#[derive(Clone, Debug, Serialize)]
struct AccountView {
    base_url: String,
    protocol: &'static str,
    /// Whether all of it is make-believe.
    simulated: bool,
    #[serde(serialize_with = "dollars")]
    balance: Option<Micros>,
    #[serde(serialize_with = "dollars")]
    voucher_balance: Option<Micros>,
    quantity: Option<u64>,
    /// `None` where the protocol tells of none, or the service did not.
    services: Option<Vec<ServiceView>>,
}

/// A kind of job on offer.
#[derive(Clone, Debug, Serialize)]
struct ServiceView {
    id: String,
    name: String,
    #[serde(serialize_with = "dollars")]
    price: Option<Micros>,
    avg_success: String,
    avg_time: String,
    active: Option<bool>,
}

fn dollars<S: Serializer>(amount: &Option<Micros>, out: S) -> Result<S::Ok, S::Error> {
    match amount {
        Some(amount) => crate::telemetry::dollars(amount, out),
        None => out.serialize_none(),
    }
}

impl AccountView {
    fn new(identity: &Identity, balance: Balance, services: Option<Vec<Service>>) -> Self {
        let service = |service: Service| ServiceView {
            id: service.id.to_string(),
            name: service.name.to_string(),
            price: service.price,
            avg_success: service.avg_success.to_string(),
            avg_time: service.avg_time.to_string(),
            active: service.is_active,
        };
        Self {
            base_url: identity.base_url.clone(),
            protocol: identity.protocol.as_str(),
            simulated: identity.is_simulated(),
            balance: Some(balance.amount),
            voucher_balance: balance.voucher,
            quantity: balance.quantity,
            services: services.map(|list| list.into_iter().map(service).collect()),
        }
    }

    /// One line of JSON.
    fn json(&self) -> Result<String, Failure> {
        let json = serde_json::to_string(self).map_err(|e| Failure::new(ExitCode::Io, e))?;
        Ok(json + "\n")
    }

    /// The text for people.
    fn render(&self) -> String {
        let place = if self.simulated {
            "make-believe service".to_owned()
        } else {
            safe(&self.base_url).into_owned()
        };
        let mut text = format!("{place} ({})\n", self.protocol);
        let amounts = [
            ("balance", self.balance.map(in_dollars)),
            ("vouchers", self.voucher_balance.map(in_dollars)),
            ("quantity", self.quantity.map(|n| n.to_string())),
        ];
        for (name, value) in amounts {
            if let Some(value) = value {
                let _ = writeln!(text, "  {name:<9} {value}");
            }
        }
        if let Some(services) = self.services.as_ref().filter(|list| !list.is_empty()) {
            text.push('\n');
            text += &table(services);
        }
        text
    }
}

pub(super) fn in_dollars(amount: Micros) -> String {
    let sign = if amount < Micros::ZERO { "-" } else { "" };
    format!("{sign}${}", Micros(amount.0.saturating_abs()))
}

/// The services in columns.
fn table(services: &[ServiceView]) -> String {
    let mut rows = vec![["id", "service", "price", "solved", "time", ""].map(str::to_owned)];
    rows.extend(services.iter().map(|service| {
        let unknown_or = |text: &str| match text {
            "" => "-".to_owned(),
            text => safe(text).into_owned(),
        };
        [
            unknown_or(&service.id),
            unknown_or(&service.name),
            service.price.map_or_else(|| "-".to_owned(), in_dollars),
            unknown_or(&service.avg_success),
            unknown_or(&service.avg_time),
            match service.active {
                Some(false) => "not on offer now".to_owned(),
                Some(true) | None => String::new(),
            },
        ]
    }));
    let width = |n: usize| {
        let widths = rows.iter().map(|row| row[n].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths);
        let line: String = cells.map(|(cell, w)| format!("  {cell:<w$}")).collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AccountToken, Protocol, Refusal};
    use crate::job::ForeignText;

    fn identity(protocol: Protocol) -> Identity {
        Identity {
            base_url: "https://omocaptcha.com".to_owned(),
            protocol,
            account: AccountToken::try_new("s3cr3t-account").unwrap(),
        }
    }

    fn text(text: &str) -> ForeignText {
        ForeignText::clean(text, &[])
    }

    fn v1() -> AccountView {
        let service = |id: &str, name: &str, price, is_active| Service {
            id: text(id),
            name: text(name),
            price,
            avg_success: text("98%"),
            avg_time: text("15s"),
            is_active,
        };
        let balance = Balance {
            amount: Micros(12_345_670),
            voucher: None,
            quantity: None,
        };
        let services = vec![
            service("11", "hCaptcha token", Some(Micros(1_000)), Some(true)),
            service("1", "reCaptcha v2", None, Some(false)),
        ];
        AccountView::new(&identity(Protocol::V1), balance, Some(services))
    }

    fn v2() -> AccountView {
        let balance = Balance {
            amount: Micros(-500_000),
            voucher: Some(Micros(123_211_000)),
            quantity: Some(10_000),
        };
        AccountView::new(&identity(Protocol::V2), balance, None)
    }

    #[test]
    fn for_people() {
        insta::assert_snapshot!(v1().render(), @r"
        https://omocaptcha.com (v1)
          balance   $12.34567

          id  service         price   solved  time
          11  hCaptcha token  $0.001  98%     15s
          1   reCaptcha v2    -       98%     15s   not on offer now
        ");
        insta::assert_snapshot!(v2().render(), @r"
        https://omocaptcha.com (v2)
          balance   -$0.5
          vouchers  $123.211
          quantity  10000
        ");
    }

    #[test]
    fn for_machines() {
        insta::assert_snapshot!(v1().json().unwrap(), @r#"{"base_url":"https://omocaptcha.com","protocol":"v1","simulated":false,"balance":12.34567,"voucher_balance":null,"quantity":null,"services":[{"id":"11","name":"hCaptcha token","price":0.001,"avg_success":"98%","avg_time":"15s","active":true},{"id":"1","name":"reCaptcha v2","price":null,"avg_success":"98%","avg_time":"15s","active":false}]}"#);
        insta::assert_snapshot!(v2().json().unwrap(), @r#"{"base_url":"https://omocaptcha.com","protocol":"v2","simulated":false,"balance":-0.5,"voucher_balance":123.211,"quantity":10000,"services":null}"#);
    }

    #[test]
    fn what_each_failure_means() {
        let refused = |cause| {
            LookUpError::Refused(Refusal {
                cause,
                message: text("no"),
            })
        };
        for (error, code) in [
            (refused(RefusalCause::BadToken), ExitCode::NotAuthorized),
            (refused(RefusalCause::Blocked), ExitCode::NotAuthorized),
            (refused(RefusalCause::Unrecognised), ExitCode::NotAuthorized),
            (refused(RefusalCause::Passing), ExitCode::Unavailable),
            (LookUpError::Throttled(None), ExitCode::Unavailable),
            (LookUpError::NoAnswer(text("reset")), ExitCode::Unavailable),
            (LookUpError::Unusable(text("html")), ExitCode::Unavailable),
        ] {
            let shown = format!("{error:?}");
            assert_eq!(failure(error).code, code, "{shown}");
        }
    }
}
