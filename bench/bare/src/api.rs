//! One create, one poll: serde both ways, the fields that are needed and no others.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use crate::Error;

const TOKEN: &str = "bench";

pub struct Api {
    http: reqwest::Client,
    create: String,
    poll: String,
}

#[derive(Serialize)]
struct Create<'a> {
    api_token: &'a str,
    data: CreateData<'a>,
}

#[derive(Serialize)]
struct CreateData<'a> {
    type_job_id: &'a str,
    website_url: &'a str,
    website_key: &'a str,
}

#[derive(Deserialize)]
struct Created {
    job_id: u64,
}

#[derive(Serialize)]
struct Poll<'a> {
    api_token: &'a str,
    job_id: u64,
}

#[derive(Deserialize)]
struct Polled {
    status: String,
    result: Option<String>,
}

impl Api {
    pub fn new(url: &str, connections: usize) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .tcp_nodelay(true)
            .pool_max_idle_per_host(connections)
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self {
            http,
            create: format!("{url}/api/createJob"),
            poll: format!("{url}/api/getJobResult"),
        })
    }

    pub async fn create(&self, url: &str, key: &str) -> Result<u64, Error> {
        let body = serde_json::to_vec(&Create {
            api_token: TOKEN,
            data: CreateData {
                type_job_id: "11",
                website_url: url,
                website_key: key,
            },
        })?;
        let answer = self.post(&self.create, body).await?;
        Ok(serde_json::from_slice::<Created>(answer.as_ref())?.job_id)
    }

    /// The token, or `None` while the job is pending.
    pub async fn poll(&self, job_id: u64) -> Result<Option<String>, Error> {
        let body = serde_json::to_vec(&Poll {
            api_token: TOKEN,
            job_id,
        })?;
        let answer = self.post(&self.poll, body).await?;
        let polled: Polled = serde_json::from_slice(answer.as_ref())?;
        match polled.status.as_str() {
            "success" => Ok(Some(polled.result.ok_or("solved without a token")?)),
            "running" => Ok(None),
            other => Err(format!("status {other}").into()),
        }
    }

    async fn post(&self, url: &str, body: Vec<u8>) -> Result<impl AsRef<[u8]> + use<>, Error> {
        let response = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .send()
            .await?
            .error_for_status()?;
        Ok(response.bytes().await?)
    }
}
