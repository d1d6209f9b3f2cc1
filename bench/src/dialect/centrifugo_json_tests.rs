//! Exact bytes in, exact bytes out.

use super::*;

fn dialect() -> CentrifugoJson {
    CentrifugoJson::new(&Settings { api_key: Some("key".to_owned()), ..Settings::default() })
}

fn appended(append: impl FnOnce(&CentrifugoJson, &mut Vec<u8>)) -> String {
    let mut output = Vec::new();
    append(&dialect(), &mut output);
    String::from_utf8(output).unwrap()
}

/// What the walk tells, as text.
fn events(bytes: &str) -> Result<Vec<String>, ClientError> {
    let mut seen = Vec::new();
    let walked = dialect().walk(bytes.as_bytes(), &mut |event| {
        seen.push(match event {
            Event::Delivery(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => format!("{other:?}"),
        });
        Ok(())
    })?;
    assert_eq!(walked, bytes.len());
    Ok(seen)
}

const TOPIC: Topic<'static> = Topic { name: "b\"x12", index: 12 };

#[test]
fn commands_are_json_of_the_protocol() {
    assert_eq!(appended(|d, out| d.append_join("c", out)), r#"{"id":1,"connect":{}}"#);
    let subscribe = |recovery| appended(|d, out| d.append_subscribe(2, TOPIC, recovery, out));
    assert_eq!(subscribe(Recovery::None), r#"{"id":2,"subscribe":{"channel":"b\"x12"}}"#);
    assert_eq!(
        subscribe(Recovery::Track),
        r#"{"id":2,"subscribe":{"channel":"b\"x12","recoverable":true}}"#
    );
    let position = Position { epoch: "abc".to_owned(), offset: 7 };
    assert_eq!(
        subscribe(Recovery::After(&position)),
        concat!(
            r#"{"id":2,"subscribe":{"channel":"b\"x12","recoverable":true,"#,
            r#""recover":true,"epoch":"abc","offset":7}}"#
        )
    );
    assert_eq!(
        appended(|d, out| d.append_unsubscribe(3, TOPIC, out)),
        r#"{"id":3,"unsubscribe":{"channel":"b\"x12"}}"#
    );
    assert_eq!(
        appended(|d, out| d.append_publish(4, TOPIC, b"{\"a\":1}", out)),
        r#"{"id":4,"publish":{"channel":"b\"x12","data":{"a":1}}}"#
    );
}

#[test]
fn questions_and_the_wish_to_hear_of_joins_are_json_of_the_protocol() {
    let ask = |question| appended(|d, out| d.append_question(5, TOPIC, question, out));
    assert_eq!(ask(Question::History), r#"{"id":5,"history":{"channel":"b\"x12","limit":20}}"#);
    assert_eq!(ask(Question::Presence), r#"{"id":5,"presence":{"channel":"b\"x12"}}"#);
    let settings = Settings { wants_joins_and_leaves: true, ..Settings::default() };
    let mut output = Vec::new();
    CentrifugoJson::new(&settings).append_subscribe(2, TOPIC, Recovery::None, &mut output);
    assert_eq!(output, br#"{"id":2,"subscribe":{"channel":"b\"x12","join_leave":true}}"#);
}

#[test]
fn joins_leaves_and_answers_to_questions_are_told_apart() {
    let info = r#"{"info":{"client":"c","user":""}}"#;
    let text = [
        format!(r#"{{"push":{{"channel":"a","join":{info}}}}}"#),
        format!(r#"{{"push":{{"channel":"a","leave":{info}}}}}"#),
        r#"{"id":7,"history":{"publications":[{"data":{"b":"fwb:"}}],"epoch":"e"}}"#.to_owned(),
    ];
    let seen = events(&text.join("\n")).unwrap();
    let answer = Event::Answer(Answer::accepted(Request::Number(7)));
    let expected = [Event::JoinedOrLeft, Event::JoinedOrLeft, answer];
    assert_eq!(seen, expected.map(|event| format!("{event:?}")));
}

#[test]
fn messages_of_one_frame_are_separated_by_newlines() {
    let push = r#"{"push":{"channel":"a","pub":{"data":{},"offset":3}}}"#;
    let text = format!("{{}}\n{push}\n{{\"id\":2,\"subscribe\":{{}}}}\n");
    let seen = events(&text).unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0], format!("{:?}", Event::Ping(PING)));
    assert_eq!(seen[1], r#","pub":{"data":{},"offset":3}}}"#);
    assert_eq!(dialect().offset(push.as_bytes()), Some(3));
}

#[test]
fn a_publication_is_found_in_any_order_of_keys() {
    let seen = events(r#"{ "push": {"pub": {"data":1}, "channel": "a"} }"#).unwrap();
    assert_eq!(seen, [r#"{"data":1}"#]);
}

#[test]
fn recovered_publications_come_before_the_answer() {
    let text = r#"{"id":2,"subscribe":{"was_recovering":true,"recovered":true,"epoch":"e",
        "offset":9,"publications":[{"data":1,"offset":8},{"data":2,"offset":9}]}}"#;
    let seen = events(&text.replace('\n', " ")).unwrap();
    assert_eq!(seen[..2], [r#"{"data":1,"offset":8}"#, r#"{"data":2,"offset":9}"#]);
    let answer = Answer {
        position: Some(Position { epoch: "e".to_owned(), offset: 9 }),
        is_recovered: Some(true),
        ..Answer::accepted(Request::Number(2))
    };
    assert_eq!(seen[2], format!("{:?}", Event::Answer(answer)));
}

#[test]
fn refusals_goodbyes_and_nonsense_are_told_apart() {
    let refusal = Answer::refused(Request::Number(2), "103 permission denied".to_owned());
    assert_eq!(
        events(r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#).unwrap(),
        [format!("{:?}", Event::Answer(refusal))]
    );
    let joined = Event::Joined { version: Some("1.2".to_owned()) };
    assert_eq!(
        events(r#"{"id":1,"connect":{"client":"c","version":"1.2","ping":25}}"#).unwrap(),
        [format!("{joined:?}")]
    );
    let goodbye = events(r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}"#);
    assert!(matches!(goodbye, Err(ClientError::Closed { code: Some(3001) })));
    let ended = events(r#"{"push":{"channel":"a","unsubscribe":{"code":2000}}}"#);
    assert!(matches!(ended, Err(ClientError::Unsubscribed)));
    assert!(events("nonsense").is_err());
}

#[test]
fn an_http_publication_has_the_length_it_says() {
    let target = Target::parse("ws://127.0.0.1:8000/connection/websocket").unwrap();
    let text = appended(|dialect, output| {
        dialect.http().unwrap().append_publish(&target, TOPIC, b"{\"a\":1}", output);
    });
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"channel":"b\"x12","data":{"a":1}}"#);
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
    assert!(head.contains("X-API-Key: key"));
}

#[test]
fn http_refusals_say_what_the_server_said() {
    let api = Api::new("key");
    let body = br#"{"error":{"code":102,"message":"unknown channel"}}"#;
    assert_eq!(api.refusal(200, body).unwrap(), "102 unknown channel");
    assert_eq!(api.refusal(503, b"").unwrap(), "HTTP status 503");
    assert_eq!(api.refusal(200, br#"{ "result": {} }"#), None);
}
