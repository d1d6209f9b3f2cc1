//! `fanwire token`: what it prints is a token that says what was asked for, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA512, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

const SECRET: &str = "hidden-secret-of-32-characters-ok";
const VARIABLE: &str = "FANWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY";

/// How a signature is checked: algorithm and public key.
type Verifier<'a> = (&'static dyn VerificationAlgorithm, &'a [u8]);

struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

fn fanwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanwire"));
    command.arg("token").args(arguments).env_clear();
    command
}

#[track_caller]
fn run(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { status: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

/// A token in its parts.
struct Token {
    header: Value,
    claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl Token {
    #[track_caller]
    fn parse(line: &str) -> Self {
        let token = line.strip_suffix('\n').unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
        let json = |part: &str| serde_json::from_slice(&decoded(part)).unwrap();
        Self {
            header: json(header),
            claims: json(claims),
            signed: signed.to_owned(),
            signature: decoded(signature),
        }
    }

    fn is_signed_by(&self, algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> bool {
        let key = UnparsedPublicKey::new(algorithm, key);
        key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }

    fn has_tag_of(&self, kind: hmac::Algorithm, secret: &str) -> bool {
        let key = hmac::Key::new(kind, secret.as_bytes());
        hmac::verify(&key, self.signed.as_bytes(), &self.signature).is_ok()
    }
}

/// The token that is made where the environment has the secret.
#[track_caller]
fn made(arguments: &[&str]) -> Token {
    let ended = run(fanwire(arguments).env(VARIABLE, SECRET));
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    Token::parse(&ended.stdout)
}

#[track_caller]
fn assert_refused(command: &mut Command, cause: &str, remedy: &str) {
    let ended = run(command);
    assert_eq!((ended.status, ended.stdout.as_str()), (1, ""), "{}", ended.stderr);
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert!(lines[0].starts_with(&format!("fanwire: {cause}")), "{}", ended.stderr);
    assert!(remedy.is_empty() || lines[1].contains(remedy), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hidden"), "{}", ended.stderr);
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("token-{name}"));
    std::fs::write(&path, text).unwrap();
    path
}

fn pem_file(name: &str, label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> =
        text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    file(name, &pem).display().to_string()
}

#[test]
fn a_token_is_signed_with_the_secret_in_force_and_good_for_an_hour() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = made(&["--user", "42"]);
    assert!(token.has_tag_of(hmac::HMAC_SHA256, SECRET));
    assert_eq!(token.header, json!({"typ": "JWT", "alg": "HS256"}));
    let issued = token.claims["iat"].as_u64().unwrap();
    assert!(issued >= before);
    assert_eq!(token.claims, json!({"sub": "42", "iat": issued, "exp": issued + 3600}));
}

#[test]
fn flags_say_what_the_token_says() {
    let claims = |arguments: &[&str]| made(arguments).claims;
    let lives = |claims: &Value| claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert_eq!(lives(&claims(&["--user", "42", "--ttl", "90s"])), 90);
    assert_eq!(claims(&["--user", "42", "--exp", "1"])["exp"], 1);
    assert_eq!(claims(&["--user", ""])["sub"], Value::Null);
    assert_eq!(
        claims(&["--user", "42", "--info", r#"{"name":"A"}"#])["info"],
        json!({"name": "A"})
    );
    assert_eq!(claims(&["--user", "42", "--channels", "a,b"])["channels"], json!(["a", "b"]));
    assert_eq!(claims(&["--user", "42", "--channel", "$a"])["channel"], "$a");
    let more = claims(&["--user", "42", "--claims", r#"{"sub":7,"jti":"x"}"#]);
    assert_eq!((&more["sub"], &more["jti"]), (&json!(7), &json!("x")));
    assert_eq!(made(&["--user", "42", "--kid", "k"]).header["kid"], "k");
    let token = made(&["--user", "42", "--algorithm", "hs512"]);
    assert_eq!(token.header["alg"], "HS512");
    assert!(token.has_tag_of(hmac::HMAC_SHA512, SECRET));
}

#[test]
fn the_configuration_in_force_decides_what_a_good_token_says() {
    let text = format!(
        "[client.token]\nhmac_secret_key = '{SECRET}'\naudience = 'us'\nissuer = 'them'\n\
         user_id_claim = 'uid'\n[client.subscription_token]\nenabled = true\n\
         hmac_secret_key = 'another-{SECRET}'\n"
    );
    let path = file("rules.toml", &text).display().to_string();
    let made = |arguments: &[&str]| {
        let ended = run(fanwire(&["--config", &path, "--user", "42"]).args(arguments));
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        Token::parse(&ended.stdout)
    };
    let token = made(&[]);
    assert!(token.has_tag_of(hmac::HMAC_SHA256, SECRET));
    let claims = &token.claims;
    let said = [&claims["aud"], &claims["iss"], &claims["uid"]];
    assert_eq!(
        (said, &claims["sub"]),
        ([&json!("us"), &json!("them"), &json!("42")], &Value::Null)
    );
    let token = made(&["--channel", "a"]);
    assert!(token.has_tag_of(hmac::HMAC_SHA256, &format!("another-{SECRET}")));
    assert_eq!((&token.claims["sub"], &token.claims["aud"]), (&json!("42"), &Value::Null));
    let token = made(&["--set", "client.token.audience=others"]);
    assert_eq!(token.claims["aud"], "others");
}

#[test]
fn a_secret_can_come_from_a_file() {
    let path = file("secret", &format!("{SECRET}\n")).display().to_string();
    let ended = run(&mut fanwire(&["--user", "42", "--hmac-secret-file", &path]));
    assert!(Token::parse(&ended.stdout).has_tag_of(hmac::HMAC_SHA256, SECRET));
    let short = file("short", "hidden").display().to_string();
    assert_refused(
        &mut fanwire(&["--user", "42", "--hmac-secret-file", &short]),
        &format!("{short}: the secret is shorter than 32 bytes"),
        "openssl rand -hex 32",
    );
}

#[test]
fn private_keys_of_every_kind_sign() {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let p521 = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    let ed25519 = Ed25519KeyPair::generate().unwrap();
    let pkcs8 = "PRIVATE KEY";
    let rsa_file = pem_file("rsa", pkcs8, AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref());
    let p256_file = pem_file("p256", pkcs8, p256.to_pkcs8v1().unwrap().as_ref());
    let sec1: EcPrivateKeyRfc5915Der<'_> = p256.private_key().as_der().unwrap();
    let sec1_file = pem_file("sec1", "EC PRIVATE KEY", sec1.as_ref());
    let p384_file = pem_file("p384", pkcs8, p384.to_pkcs8v1().unwrap().as_ref());
    let p521_file = pem_file("p521", pkcs8, p521.to_pkcs8v1().unwrap().as_ref());
    let ed25519_file = pem_file("ed25519", pkcs8, ed25519.to_pkcs8v1().unwrap().as_ref());
    let rs256: Verifier = (&RSA_PKCS1_2048_8192_SHA256, rsa.public_key().as_ref());
    let rs512: Verifier = (&RSA_PKCS1_2048_8192_SHA512, rsa.public_key().as_ref());
    let es256: Verifier = (&ECDSA_P256_SHA256_FIXED, p256.public_key().as_ref());
    let es384: Verifier = (&ECDSA_P384_SHA384_FIXED, p384.public_key().as_ref());
    let es512: Verifier = (&ECDSA_P521_SHA512_FIXED, p521.public_key().as_ref());
    let eddsa: Verifier = (&ED25519, ed25519.public_key().as_ref());
    for (file, arguments, name, (algorithm, public)) in [
        (&rsa_file, &[][..], "RS256", rs256),
        (&rsa_file, &["--algorithm", "RS512"], "RS512", rs512),
        (&p256_file, &[], "ES256", es256),
        (&sec1_file, &[], "ES256", es256),
        (&p384_file, &[], "ES384", es384),
        (&p521_file, &[], "ES512", es512),
        (&p521_file, &["--algorithm", "ES512"], "ES512", es512),
        (&ed25519_file, &[], "EdDSA", eddsa),
    ] {
        let ended = run(fanwire(&["--user", "42", "--key", file]).args(arguments));
        assert_eq!((ended.status, ended.stderr.as_str()), (0, ""), "{file}");
        let token = Token::parse(&ended.stdout);
        assert_eq!(token.header["alg"], name);
        assert!(token.is_signed_by(algorithm, public), "{file} {name}");
    }
    assert_refused(
        &mut fanwire(&["--user", "42", "--key", &p256_file, "--algorithm", "RS256"]),
        "RS256 cannot be signed with a P-256 key",
        "P-256 for ES256",
    );
}

#[test]
fn what_cannot_be_done_is_told_with_cause_and_remedy() {
    let with_secret = |arguments: &[&str]| {
        let mut command = fanwire(&["--user", "42"]);
        command.args(arguments).env(VARIABLE, SECRET);
        command
    };
    assert_refused(
        &mut fanwire(&["--user", "42"]),
        "there is no secret to sign with: client.token.hmac_secret_key is not set",
        "--hmac-secret-file",
    );
    assert_refused(&mut with_secret(&["--info", "x"]), "--info is not the JSON", "in quotes");
    assert_refused(&mut with_secret(&["--claims", "[1]"]), "--claims is not the JSON", "object");
    assert_refused(&mut with_secret(&["--key", "/nowhere/key"]), "/nowhere/key: No such file", "");
    let junk = file("junk", "hidden").display().to_string();
    assert_refused(
        &mut with_secret(&["--key", &junk]),
        &format!("{junk}: this is no private key in PEM"),
        "openssl genpkey",
    );
    assert_refused(
        &mut with_secret(&["--algorithm", "ES256"]),
        "ES256 cannot be signed with a secret",
        "HS256",
    );
    assert_refused(
        fanwire(&["--user", "42"]).env(VARIABLE, "hidden"),
        "environment variable FANWIRE_CLIENT_TOKEN_HMAC_SECRET_KEY: \
         `client.token.hmac_secret_key`: the secret is shorter than 32 bytes",
        "openssl rand",
    );
    for usage in [
        &[][..],
        &["--user", "42", "--ttl", "1h", "--exp", "1"],
        &["--user", "42", "--exp", "1", "--without-exp"],
        &["--user", "42", "--channel", "a", "--channels", "b"],
        &["--user", "42", "--algorithm", "none"],
        &["--user", "42", "--ttl", "soon"],
    ] {
        let ended = run(fanwire(usage).env(VARIABLE, SECRET));
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{usage:?}");
    }
}

#[test]
fn a_token_that_the_broker_would_refuse_is_a_warning() {
    let arguments = ["--user", "42", "--without-exp"];
    let ended = run(fanwire(&arguments).env(VARIABLE, SECRET));
    assert!(Token::parse(&ended.stdout).claims.get("exp").is_none());
    assert!(ended.stderr.starts_with("warning: ") && ended.stderr.contains("allow_without_exp"));
    let allowed = ["--set", "client.token.allow_without_exp=true"];
    let ended = run(fanwire(&arguments).args(allowed).env(VARIABLE, SECRET));
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
}

#[test]
fn help_has_examples_and_fits_the_screen() {
    let ended = run(&mut fanwire(&["--help"]));
    assert!(ended.stdout.contains("Examples:") && ended.stdout.contains("--hmac-secret-file"));
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 100), "{}", ended.stdout);
}
