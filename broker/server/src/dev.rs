//! `fanwire dev`: what it sets by itself, and what it tells a newcomer.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::RngExt;
use rand::distr::Alphanumeric;

use crate::client::DEFAULT_URL;
use crate::config::{AdminConfig, ServerConfig};
use crate::node::{Started, Transport};

const API_KEY_BYTES: usize = 32;

/// What `dev` sets before environment and flags: everybody may do everything in topics outside
/// every namespace, from every page, and backends have a key that was made for this run. Topics of
/// the namespace `demo` have every feature; the others are plain, so that they show how fast a
/// plain topic is.
pub(crate) fn preset() -> Vec<(&'static str, String)> {
    let switched_on = [
        "client.anonymous",
        "client.rpc_ping",
        "topics.allow_subscribe_for_client",
        "topics.allow_subscribe_for_anonymous",
        "topics.allow_publish_for_client",
        "topics.allow_publish_for_anonymous",
        "namespaces.demo.allow_subscribe_for_client",
        "namespaces.demo.allow_subscribe_for_anonymous",
        "namespaces.demo.allow_publish_for_client",
        "namespaces.demo.allow_publish_for_anonymous",
        "namespaces.demo.allow_history_for_client",
        "namespaces.demo.allow_history_for_anonymous",
        "namespaces.demo.force_recovery",
        "namespaces.demo.presence",
        "namespaces.demo.join_leave",
        "namespaces.demo.allow_presence_for_client",
        "namespaces.demo.allow_presence_for_anonymous",
        "namespaces.demo.delta_publish",
        "namespaces.demo.allow_tags_filter",
    ];
    let mut preset: Vec<_> = switched_on.into_iter().map(|key| (key, "true".to_owned())).collect();
    preset.push(("namespaces.demo.history_size", "100".to_owned()));
    preset.push(("namespaces.demo.history_ttl", "10m".to_owned()));
    preset.push(("namespaces.demo.allowed_delta_types", "fossil".to_owned()));
    preset.push(("client.allowed_origins", "*".to_owned()));
    preset.push(("api.keys", random_api_key()));
    // A free one, so that no choice of server.address collides with a port nobody asked for.
    let admin = SocketAddr::new(AdminConfig::default().address.ip(), 0);
    preset.push(("admin.address", admin.to_string()));
    preset
}

/// What it sets beside that for an echo: it is there to try what a WebSocket can do.
pub(crate) fn echo_preset() -> Vec<(&'static str, String)> {
    let preset = [
        ("client.message_bytes_max", "64MiB"),
        // The largest message, and one that waits for it.
        ("client.outbox_bytes_max", "160MiB"),
        ("client.fragments_max", "1048576"),
        ("client.compression", "true"),
    ];
    preset.map(|(key, value)| (key, value.to_owned())).to_vec()
}

/// Lets health and metrics have their usual port where any free one would do, unless the listener
/// or another `fanwire dev` has taken it.
pub(crate) fn prefer_usual_port(admin: &mut AdminConfig) {
    let usual = AdminConfig::default().address.port();
    admin.preferred_port = (admin.address.port() == 0).then_some(usual);
}

fn random_api_key() -> String {
    rand::rng().sample_iter(Alphanumeric).take(API_KEY_BYTES).map(char::from).collect()
}

/// What to print once the broker runs: its addresses, and lines that can be pasted.
pub(crate) fn welcome(started: &Started, api_key: Option<&str>) -> String {
    let Started { address, admin, shards, transport } = *started;
    let (ws, http, pages) = match transport {
        Transport::Plain => ("ws", "http", "any page that is not https"),
        Transport::Tls => ("wss", "https", "any page"),
    };
    let host = reachable(address);
    let url = format!("{ws}://{host}/connection/websocket");
    let program = program();
    let url_flag = if url == DEFAULT_URL { String::new() } else { format!(" --url {url}") };
    let api_key = api_key.unwrap_or("NONE");
    let shards = if shards == 1 { "1 shard".to_owned() } else { format!("{shards} shards") };
    format!(
        r#"Fanwire is running, with {shards}. Ctrl-C stops it.

  address   {address}
  admin     {admin}   http://{admin}/health  http://{admin}/metrics
  clients   {url}
  backends  {http}://{host}/api   X-API-Key: {api_key}

Listen and publish, in two terminals:

  {program} sub{url_flag} news
  {program} pub{url_flag} news '{{"hello":1}}'

Topics named demo:... have history, recovery, presence, joins and leaves, deltas and filters.

Publish from a backend:

  curl -sS {http}://{host}/api/publish -H 'X-API-Key: {api_key}' \
    -d '{{"channel":"news","data":{{"hello":1}}}}'

Listen in a browser: paste this into the console of {pages}:

  ws = new WebSocket("{url}");
  ws.onopen = () => ws.send(
    '{{"id":1,"connect":{{}}}}\n{{"id":2,"subscribe":{{"channel":"news"}}}}');
  ws.onmessage = (frame) => frame.data.split("\n").forEach((line) =>
    line === "{{}}" ? ws.send("{{}}") : console.log(JSON.parse(line)));

Or with the npm package `centrifuge`, which also reconnects:

  <script src="https://unpkg.com/centrifuge@5/dist/centrifuge.js"></script>
  <script>
    const client = new Centrifuge("{url}");
    const news = client.newSubscription("news");
    news.on("publication", (message) => console.log(message.data));
    news.subscribe();
    client.connect();
  </script>
"#
    )
}

/// What to say when others than this machine can reach the broker.
pub(crate) fn exposure(server: &ServerConfig) -> Option<String> {
    (!server.address.ip().is_loopback()).then(|| {
        format!(
            "warning: `fanwire dev` lets everybody who reaches {} subscribe and publish",
            server.address
        )
    })
}

/// Where this machine reaches a listener that listens everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// How this program was called, so that the lines can be pasted: from a build it is not in `PATH`.
fn program() -> String {
    let plain = |name: &String| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
    };
    env::args().next().filter(plain).unwrap_or_else(|| "fanwire".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, Sources};

    #[test]
    fn the_preset_is_a_configuration_that_admits_everybody() {
        let sources = Sources { preset: preset(), ..Sources::default() };
        let config = sources.load().unwrap().config;
        assert!(config.settings.client.anonymous && !config.settings.client.insecure);
        assert!(config.settings.topics.allow_publish_for_anonymous);
        assert_eq!(config.allowed_origins, ["*"]);
        assert_eq!(config.api.keys.len(), 1);
        assert!(config.server.address.ip().is_loopback());
        assert!(exposure(&config.server).is_none());
    }

    #[test]
    fn the_preset_has_a_namespace_to_try_everything_and_plain_topics_beside_it() {
        let sources = Sources { preset: preset(), ..Sources::default() };
        let settings = sources.load().unwrap().config.settings;
        let demo = &settings.namespaces["demo"];
        assert!(demo.keeps_history() && demo.force_recovery && demo.presence);
        assert!(demo.allow_publish_for_anonymous && demo.allow_history_for_anonymous);
        assert!(demo.allow_presence_for_anonymous && demo.join_leave);
        assert!(demo.allow_delta && demo.delta_publish && demo.allow_tags_filter);
        assert!(!settings.topics.keeps_history() && !settings.topics.presence);
    }

    #[test]
    fn the_preset_of_an_echo_is_a_configuration_and_what_is_set_otherwise_wins() {
        let compression = Override {
            flag: "--set client.compression".to_owned(),
            key: "client.compression".to_owned(),
            value: "false".to_owned(),
        };
        let preset = [preset(), echo_preset()].concat();
        let sources = Sources { preset, flags: vec![compression], ..Sources::default() };
        let client = sources.load().unwrap().config.settings.client;
        assert_eq!((client.message_bytes_max, client.fragments_max), (64 << 20, 1 << 20));
        assert!(client.outbox_bytes_max > 2 * client.message_bytes_max && !client.compression);
    }

    #[test]
    fn only_an_admin_port_that_nobody_chose_prefers_the_usual_one() {
        let flag = |value: &str| Override {
            flag: "--set admin.address".to_owned(),
            key: "admin.address".to_owned(),
            value: value.to_owned(),
        };
        // The listener may have the usual one: binding finds out.
        let listener = ("FANWIRE_SERVER_ADDRESS".to_owned(), "127.0.0.1:8001".to_owned());
        for (environment, flags, preferred) in [
            (vec![], vec![], Some(8001)),
            (vec![listener], vec![], Some(8001)),
            (vec![], vec![flag("127.0.0.1:9001")], None),
        ] {
            let sources = Sources { preset: preset(), environment, flags, file: None };
            let mut admin = sources.load().unwrap().config.admin;
            prefer_usual_port(&mut admin);
            assert_eq!(admin.preferred_port, preferred);
        }
    }

    #[test]
    fn the_lines_to_paste_bear_address_and_key() {
        let started = Started {
            address: "0.0.0.0:9000".parse().unwrap(),
            admin: "127.0.0.1:8001".parse().unwrap(),
            shards: 2,
            transport: Transport::Plain,
        };
        let text = welcome(&started, Some("the-key"));
        assert!(text.contains("curl -sS http://127.0.0.1:9000/api/publish"), "{text}");
        assert!(text.contains("-H 'X-API-Key: the-key'"), "{text}");
        assert!(text.contains("sub --url ws://127.0.0.1:9000/connection/websocket news"), "{text}");
        let secure = welcome(&Started { transport: Transport::Tls, ..started }, None);
        assert!(secure.contains("--url wss://127.0.0.1:9000/connection/websocket news"));
        assert!(secure.contains("curl -sS https://127.0.0.1:9000/api/publish"), "{secure}");
        assert!(!secure.contains(" ws://") && !secure.contains("http://127.0.0.1:9000"));
        assert!(text.contains(r#"-d '{"channel":"news","data":{"hello":1}}'"#), "{text}");
    }
}
