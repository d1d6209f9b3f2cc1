//! Keys and rules of tokens as an operator gives them.

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::check::Warning;
use super::super::load::Loaded;
use super::super::{ConfigError, Sources};
use super::*;

const SECRET_TEXT: &str = "hidden-secret-of-32-characters-ok";

fn load(file: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let environment = environment.iter().map(owned).collect();
    let sources = Sources { environment, ..Sources::default() };
    sources.load_over(Some((Path::new("f.toml"), file)))
}

/// Cause and remedy of a line in `[client.token]` that is refused.
#[track_caller]
fn refusal(line: &str) -> (String, String) {
    let error = load(&format!("[client.token]\n{line}\n"), &[]).unwrap_err();
    (error.to_string(), error.remedy())
}

#[track_caller]
fn assert_refused(line: &str, cause: &str, remedy: &str) {
    let (name, _) = line.split_once(' ').unwrap();
    let (told, help) = refusal(line);
    assert_eq!(told, format!("f.toml:2: `client.token.{name}`: {cause}"));
    assert!(help.contains(remedy), "{help}");
}

fn warnings(file: &str) -> Vec<Warning> {
    load(file, &[("FANWIRE_API_KEYS", "first-key")]).unwrap().warnings
}

/// A key pair's halves in PEM: public, private.
fn pems() -> [String; 2] {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let pem = |label, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    };
    let public = AsDer::as_der(pair.public_key()).unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    [pem("PUBLIC KEY", public.as_ref()), pem("PRIVATE KEY", private.as_ref())]
}

fn temporary(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("fanwire-{}-{name}", std::process::id()));
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn keys_and_rules_mean_what_is_written() {
    let [public, _] = pems();
    let file = format!(
        "[client.token]\nhmac_secret_key = '{SECRET_TEXT}'\necdsa_public_key = '''\n{public}'''\n\
         jwks_public_endpoint = 'https://auth.example.com/jwks'\njwks_refresh_interval = '1m'\n\
         audience = 'us'\nissuer_regex = 'https://.*'\nuser_id_claim = 'uid'\n\
         allow_without_exp = true\n"
    );
    let config = load(&file, &[]).unwrap().config;
    let TokenConfig { connection, subscription } = &config.tokens;
    assert_eq!(
        format!("{:?}", connection.keys),
        "KeySet { secrets: 1, fixed: [P256], fetched: Some(0) }"
    );
    assert!(subscription.is_none());
    assert_eq!(connection.hmac_secret.reveal(), SECRET_TEXT);
    let jwks = connection.jwks.as_ref().unwrap();
    assert_eq!(jwks.url.to_string(), "https://auth.example.com/jwks");
    assert_eq!(jwks.refresh_interval, Duration::from_mins(1));
    let settings = &config.settings.client.token;
    assert!(settings.audience.as_ref().unwrap().accepts("us"));
    assert!(settings.issuer.as_ref().unwrap().accepts("https://x"));
    assert!(!settings.issuer.as_ref().unwrap().accepts("see https://x"));
    assert_eq!(settings.user_id_claim, "uid");
    assert!(settings.allow_without_exp);
    assert!(config.settings.client.subscription_token.is_none());
}

#[test]
fn subscription_tokens_have_a_section_of_their_own_once_it_is_on() {
    let keys = format!("hmac_secret_key = '{SECRET_TEXT}'\naudience = 'a'\n");
    let off = format!("[client.subscription_token]\n{keys}[client.token]\n{keys}");
    let loaded = load(&off, &[]).unwrap();
    assert!(loaded.config.tokens.subscription.is_none());
    assert!(loaded.warnings.contains(&Warning::SubscriptionKeysOff));

    let on = [("FANWIRE_CLIENT_SUBSCRIPTION_TOKEN_ENABLED", "true")];
    let loaded = load(&off, &on).unwrap();
    assert!(!loaded.config.tokens.subscription.unwrap().keys.is_empty());
    assert!(loaded.config.settings.client.subscription_token().audience.is_some());
    assert!(!loaded.warnings.contains(&Warning::SubscriptionKeysOff));

    let error = load("[client.subscription_token]\nenabled = true\n", &[]).unwrap_err();
    let cause = "f.toml:2: `client.subscription_token.enabled`: [client.subscription_token] has no \
                 key";
    assert_eq!(error.to_string(), cause);
}

#[test]
fn what_is_no_key_is_refused_with_a_way_out() {
    let [public, private] = pems();
    let line = |name: &str, text: &str| format!("{name} = {:?}", text);
    assert_refused(
        "hmac_secret_key = \"hidden\"",
        "the secret is shorter than 32 bytes",
        "openssl rand -hex 32",
    );
    assert_refused(
        &line("hmac_secret_key", &public),
        "this is a key in PEM, not a secret",
        "ecdsa_public_key",
    );
    assert_refused(
        &line("hmac_previous_secret_key", SECRET_TEXT),
        "a previous secret without a current one",
        "hmac_secret_key",
    );
    assert_refused(
        "rsa_public_key = \"hidden\"",
        "this is no public key in PEM",
        "-----BEGIN PUBLIC KEY-----",
    );
    assert_refused(&line("rsa_public_key", &public), "this is no RSA key", "ecdsa_public_key");
    assert_refused(&line("ecdsa_public_key", &private), "this is a private key", "openssl pkey");
    assert_refused(
        &line("ed25519_public_key", &public),
        "this is no Ed25519 key",
        "ed25519_public_key",
    );
    for name in ["hmac_secret_key", "rsa_public_key"] {
        let (cause, remedy) = refusal(&format!("{name} = \"hidden\""));
        assert!(!cause.contains("hidden") && !remedy.contains("hidden"), "{cause} {remedy}");
    }
}

#[test]
fn rules_that_cannot_be_kept_are_refused() {
    for url in ["auth.example.com/jwks", "/jwks", "ftp://a/b", "https://u:p@a/b", "https://", "a b"]
    {
        let line = format!("jwks_public_endpoint = {url:?}");
        assert_refused(&line, "this is no URL to fetch keys from", "https://auth.example.com");
    }
    assert_refused("jwks_refresh_interval = \"9s\"", "9s is out of range", "10s to 24h");
    let cause = r#""(" is no regular expression: unclosed group"#;
    assert_refused("audience_regex = \"(\"", cause, "the whole text");
    let cause = r#""a)|(b" is no regular expression: unopened group"#;
    assert_refused("issuer_regex = \"a)|(b\"", cause, "the whole text");
    assert_refused("user_id_claim = \"\"", "no claim has an empty name", "sub");
    let (cause, remedy) = refusal("audience = \"a\"\naudience_regex = \"b\"");
    let expected = "f.toml:3: client.token: audience and audience_regex are both given";
    assert_eq!((cause.as_str(), remedy.as_str()), (expected, "give one of them"));
}

#[test]
fn secrets_and_keys_can_stand_in_files() {
    let [public, _] = pems();
    let secret = temporary("secret", &format!("{SECRET_TEXT}\n"));
    let key = temporary("key.pem", &public);
    let file = format!(
        "[client.token]\nhmac_secret_key = 'file:{}'\necdsa_public_key = 'file:{}'\n",
        secret.display(),
        key.display()
    );
    let loaded = load(&file, &[]).unwrap();
    fs::remove_file(&secret).unwrap();
    fs::remove_file(&key).unwrap();
    let connection = &loaded.config.tokens.connection;
    assert_eq!(connection.hmac_secret.reveal(), SECRET_TEXT);
    assert!(format!("{:?}", connection.keys).contains("P256"), "{connection:?}");
    // Where a secret is may be seen.
    assert!(loaded.shown().contains("hmac_secret_key = \"file:"), "{}", loaded.shown());

    let (cause, remedy) = refusal("rsa_public_key = \"file:/nowhere/key.pem\"");
    let expected = "f.toml:2: `client.token.rsa_public_key`: cannot read /nowhere/key.pem: ";
    assert!(cause.starts_with(expected) && !remedy.is_empty(), "{cause}");
}

#[test]
fn no_output_shows_a_secret() {
    let file = format!(
        "[client.token]\nhmac_secret_key = '{SECRET_TEXT}'\n\
         hmac_previous_secret_key = '{SECRET_TEXT}'\n\
         [client.subscription_token]\nenabled = true\nhmac_secret_key = '{SECRET_TEXT}'\n"
    );
    let loaded = load(&file, &[]).unwrap();
    let (shown, debug) = (loaded.shown(), format!("{loaded:?}"));
    assert_eq!(shown.matches("secret_key = \"***\"").count(), 3, "{shown}");
    assert!(!shown.contains("hidden") && !debug.contains("hidden"), "{shown} {debug}");
    let error = load("[client.token]\nhmac_secret_key = [\"hidden\"]\n", &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "f.toml:2: `client.token.hmac_secret_key`: expected a string, found a list"
    );
}

#[test]
fn the_environment_reaches_the_sections_of_tokens() {
    let environment = [
        ("FANWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY", SECRET_TEXT),
        ("FANWIRE_CLIENT_TOKEN_AUDIENCE", "us"),
        ("FANWIRE_CLIENT_EXPIRED_CLOSE_DELAY", "3s"),
        ("FANWIRE_CLIENT_DISALLOW_ANONYMOUS_CONNECTION_TOKENS", "true"),
    ];
    let config = load("", &environment).unwrap().config;
    assert!(config.settings.client.token.audience.unwrap().accepts("us"));
    assert_eq!(config.settings.client.expired_close_delay, Duration::from_secs(3));
    assert!(config.settings.client.disallow_anonymous_connection_tokens);
    let error = load("", &[("FANWIRE_CLIENT_TOKEN_HMAC_SECRETKEY", "hidden")]).unwrap_err();
    assert_eq!(error.remedy(), "did you mean FANWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY?");
}

#[test]
fn a_key_for_tokens_lets_somebody_connect() {
    assert_eq!(warnings(""), [Warning::NobodyMayConnect]);
    assert_eq!(warnings(&format!("[client.token]\nhmac_secret_key = '{SECRET_TEXT}'")), []);
    assert_eq!(warnings("[client.token]\njwks_public_endpoint = 'https://a/b'"), []);
}

#[test]
fn keys_that_cross_a_network_without_tls_are_a_warning() {
    for (url, is_warned) in [
        ("http://auth.example.com/jwks", true),
        ("http://10.0.0.1:80/", true),
        ("https://auth.example.com/jwks", false),
        ("http://127.0.0.1:8080/jwks", false),
        ("http://[::1]/jwks", false),
        ("http://localhost/jwks", false),
    ] {
        let warnings = warnings(&format!("[client.token]\njwks_public_endpoint = '{url}'"));
        let expected: &[_] =
            if is_warned { &[Warning::KeysInTheClear("client.token")] } else { &[] };
        assert_eq!(warnings, expected, "{url}");
    }
}
