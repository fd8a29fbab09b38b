//! What a server says when it is asked: the routes of `App::operations`.

use serde_json::Value;
use tourbillon::client::{Client, Response};
use tourbillon::task::interval;
use tourbillon::web::Shared;

use crate::PAUSE;
use crate::view::View;

pub(crate) struct Poll {
    client: Client,
    url: String,
    token: Option<String>,
}

/// The operations that are mounted at `at`; `None` if nothing is there.
pub(crate) async fn connect(
    host: &str,
    at: &str,
    token: Option<&str>,
) -> Result<Option<Poll>, String> {
    let client = Client::builder().timeout(5 * PAUSE).build();
    let poll = Poll {
        client: client.map_err(|error| error.to_string())?,
        url: format!("http://{host}{at}"),
        token: token.map(str::to_owned),
    };
    let response = poll.get("census").await?;
    match response.status() {
        200 => Ok(Some(poll)),
        401 | 403 => Err(response
            .text()
            .await
            .unwrap_or_default()
            .trim_end()
            .to_owned()),
        _ => Ok(None),
    }
}

impl Poll {
    async fn get(&self, page: &str) -> Result<Response, String> {
        let request = self.client.get(format!("{}/{page}", self.url));
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        request.send().await.map_err(|error| error.to_string())
    }

    async fn text(&self, page: &str) -> Result<String, String> {
        let response = self.get(page).await?;
        response.text().await.map_err(|error| error.to_string())
    }

    async fn json(&self, page: &str) -> Result<Value, String> {
        serde_json::from_str(&self.text(page).await?).map_err(|error| format!("{page}: {error}"))
    }

    /// Keep `view` as the server says, until it ends.
    pub(crate) async fn follow(&self, view: &Shared<View>) -> Result<(), String> {
        let mut ticks = interval(PAUSE);
        loop {
            ticks.tick().await;
            let census = self.json("census").await?;
            let incidents = self.json("incidents").await?;
            let metrics = self.text("metrics").await?;
            view.with(|view| {
                view.census(&census);
                view.incidents(&incidents);
                view.slowest_route(&metrics);
            });
        }
    }
}
