//! The command line of the wire protocols, the same in every scenario (`#[command(flatten)]`).

use clap::Args;

use crate::dialect::{App, Protocol, Settings};

/// Which protocol the server speaks, and what that protocol needs.
#[derive(Clone, Debug, Args)]
pub(crate) struct DialectOptions {
    /// Wire protocol of the server
    #[arg(long, value_enum, value_name = "NAME", default_value_t)]
    pub(crate) protocol: Protocol,

    /// websocket, nchan: path to connect to instead of the URL's; {topic} stands for the topic
    #[arg(long, value_name = "PATH")]
    pub(crate) subscribe_path: Option<String>,

    /// websocket, nchan: publish by POST to this path; {topic} stands for the topic
    #[arg(long, value_name = "PATH")]
    pub(crate) publish_path: Option<String>,

    /// pusher: id of the app
    #[arg(long, value_name = "ID", default_value = "app-id")]
    pub(crate) app_id: String,

    /// pusher: key of the app
    #[arg(long, value_name = "KEY", default_value = "app-key")]
    pub(crate) app_key: String,

    /// pusher: secret of the app, which signs publications
    #[arg(long, value_name = "SECRET", default_value = "app-secret")]
    pub(crate) app_secret: String,
}

impl DialectOptions {
    /// The settings that go to the generator processes.
    pub(crate) fn settings(&self, api_key: Option<&str>) -> Settings {
        Settings {
            protocol: self.protocol,
            api_key: api_key.map(str::to_owned),
            subscribe_path: self.subscribe_path.clone(),
            publish_path: self.publish_path.clone(),
            app: App {
                id: self.app_id.clone(),
                key: self.app_key.clone(),
                secret: self.app_secret.clone(),
            },
            wants_joins_and_leaves: false,
        }
    }
}
