//! A bounded run of the fuzz target `frames`.

#[path = "../../../tests/fuzz/mutate.rs"]
mod mutate;

#[path = "../../../tests/fuzz/frames.rs"]
mod frames;

use actionbooster_wire::ai::v1 as ai;
use actionbooster_wire::frames::Frames;
use bytes::BytesMut;
use tokio_util::codec::Encoder;

fn envelope(message: ai::envelope::Message) -> ai::Envelope {
    ai::Envelope { message: Some(message) }
}

fn request(kind: ai::request::Kind) -> ai::Envelope {
    envelope(ai::envelope::Message::Request(ai::Request { kind: Some(kind) }))
}

/// What both sides say, with something in every kind of field.
fn conversation() -> Vec<ai::Envelope> {
    let found = ai::Detection {
        class_id: 3,
        label: "círculo".into(),
        score: 0.5,
        r#box: Some(ai::Box { x: 1.0, y: -2.5, width: f32::MAX, height: 0.0 }),
    };
    let detections = vec![found.clone(), found];
    let result = ai::Result { frame_id: 1, detections, ..ai::Result::default() };
    let response = ai::Response { kind: Some(ai::response::Kind::Result(result)) };
    vec![
        request(ai::request::Kind::Init(ai::Init {
            model: "shapes".into(),
            client: "a".into(),
            ..ai::Init::default()
        })),
        request(ai::request::Kind::Frame(ai::Frame {
            frame_id: u64::MAX,
            ts_mono_ns: 7,
            format: ai::PixelFormat::Rgb.into(),
            width: 2,
            height: 1,
            data: vec![1, 2, 3, 4, 5, 6].into(),
            ts_utc_ms: 9,
        })),
        request(ai::request::Kind::End(ai::End { reason: "done".into() })),
        envelope(ai::envelope::Message::Response(response)),
        envelope(ai::envelope::Message::Heartbeat(ai::Heartbeat { ts_mono_ns: 5 })),
        ai::Envelope { message: None },
    ]
}

fn written(messages: &[ai::Envelope]) -> Vec<u8> {
    let (mut frames, mut bytes) = (Frames::<ai::Envelope, ai::Envelope>::new(frames::LIMIT), BytesMut::new());
    for message in messages {
        frames.encode(message.clone(), &mut bytes).expect("fits");
    }
    bytes.to_vec()
}

#[test]
fn messages_survive_every_cut_in_two_and_in_pieces() {
    let sent = conversation();
    let bytes = written(&sent);
    for cut in 0..=bytes.len() {
        let (read, end) = frames::read([&bytes[..cut], &bytes[cut..]]);
        assert_eq!((read.as_slice(), end), (sent.as_slice(), frames::End::Waits), "cut after {cut} bytes");
    }
    for size in 1..=bytes.len() {
        let (read, end) = frames::read(bytes.chunks(size));
        assert_eq!((read.as_slice(), end), (sent.as_slice(), frames::End::Waits), "in pieces of {size}");
    }
}

#[test]
fn mutated_streams_are_refused_or_read_the_same_however_they_are_cut() {
    let mut corpus: Vec<Vec<u8>> =
        conversation().iter().map(|message| written(std::slice::from_ref(message))).collect();
    corpus.push(written(&conversation()));
    for input in &corpus {
        assert!(frames::check(input) > 0, "the corpus is sound");
    }
    mutate::run(&corpus, 17, 30_000, 4_000, |bytes| {
        frames::check(bytes);
    });
}
