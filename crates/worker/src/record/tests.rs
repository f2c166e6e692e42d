use super::*;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn seen(label: &str) -> Vec<ai::Detection> {
    let place = Some(ai::Box { x: 1.0, y: 2.0, width: 3.0, height: 4.0 });
    vec![ai::Detection { class_id: 0, label: label.into(), score: 0.5, r#box: place }]
}

#[test]
fn a_session_becomes_one_document_also_when_the_worker_was_killed() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens");
    let mut record = records.begin("one", "door", "m").expect("begins");
    record.add(1, 0, &seen("cat")).expect("added");
    record.add(2, 5, &[]).expect("added");
    record.close("asked").expect("closed");
    let document = read(&folder.path().join("one.json"));
    assert_eq!((&document["client"], &document["reason"]), (&json!("door"), &json!("asked")));
    assert_eq!(document["frames"][0]["detections"][0]["box"], json!([1.0, 2.0, 3.0, 4.0]));
    assert_eq!(document["frames"].as_array().map(Vec::len), Some(2));

    let mut record = records.begin("two", "door", "m").expect("begins");
    record.add(1, 0, &seen("cat")).expect("added");
    // Killed in the middle of a line.
    record.file.write_all(b"{\"frame_id\": 2, \"label\": \"ni\xc3").expect("written");
    std::mem::forget(record);
    Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens again");
    let document = read(&folder.path().join("two.json"));
    assert_eq!(document["frames"].as_array().map(Vec::len), Some(1));
    assert_eq!(document["reason"], "the worker ended");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("folder").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 2, "nothing else is left: {left:?}");
}

#[test]
fn the_oldest_documents_make_room() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 600, Health::default()).expect("opens");
    for name in ["a", "b", "c", "d", "e", "f"] {
        let record = records.begin(name, "", "m").expect("begins");
        record.close("asked").expect("closed");
    }
    assert!(!folder.path().join("a.json").exists());
    assert!(folder.path().join("f.json").exists(), "the newest stays");
}

#[test]
fn ended_sessions_are_cleared_and_open_ones_go_on() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens");
    records.begin("one", "", "m").expect("begins").close("asked").expect("closed");
    let mut open = records.begin("two", "", "m").expect("begins");
    assert_eq!(records.usage(Instant::now() + Duration::from_secs(60)).files, 3);
    assert_eq!(records.clear().expect("cleared"), 1);
    open.add(1, 0, &seen("cat")).expect("added");
    open.close("asked").expect("closed");
    assert!(folder.path().join("two.json").exists() && !folder.path().join("one.json").exists());
}

#[test]
fn a_clock_that_was_put_back_does_not_make_new_documents_the_oldest() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 600, Health::default()).expect("opens");
    let ahead = std::time::SystemTime::now() + Duration::from_secs(400 * 86_400);
    for name in ["a", "b", "c", "d", "e", "f"] {
        records.begin(name, "", "m").expect("begins").close("asked").expect("closed");
        if name == "a" {
            let document = File::options().append(true).open(folder.path().join("a.json")).expect("there");
            document.set_modified(ahead).expect("dated");
        }
    }
    assert!(!folder.path().join("a.json").exists(), "the first goes first");
    assert!(folder.path().join("f.json").exists(), "the last stays");
}

#[test]
fn a_session_without_end_does_not_fill_the_disk() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 40_000, Health::default()).expect("opens");
    let mut record = records.begin("long", "", "m").expect("begins");
    let added = (0..1000).take_while(|number| record.add(*number, 0, &seen("cat")).is_ok()).count();
    record.close("asked").expect("closed");
    let document = read(&folder.path().join("long.json"));
    assert_eq!(document["frames"].as_array().map(Vec::len), Some(added));
    assert!((50..200).contains(&added), "{added} of about a hundred bytes each");
}

/// Files in a folder: how many, and their bytes.
fn counted(folder: &Path) -> (usize, u64) {
    let lengths = fs::read_dir(folder).expect("folder").map(|entry| {
        let entry = entry.expect("an entry");
        entry.metadata().expect("there").len()
    });
    lengths.fold((0, 0), |(count, sum), length| (count + 1, sum + length))
}

#[test]
fn a_session_that_is_given_up_leaves_a_document() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens");
    drop(records.begin("one", "", "m").expect("begins"));
    assert_eq!(read(&folder.path().join("one.json"))["reason"], "the session was given up");
    assert_eq!(counted(folder.path()).0, 1);
    assert_eq!(records.claimed.load(Ordering::Relaxed), 0, "it claims nothing any more");
}

#[test]
fn open_sessions_count_too_and_the_oldest_documents_go_for_them() {
    let most = 40_000;
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), most, Health::default()).expect("opens");
    for number in 0..5 {
        let mut record = records.begin(&format!("old{number}"), "", "m").expect("begins");
        (0..80).for_each(|number| record.add(number, 0, &seen("cat")).expect("added"));
        record.close("asked").expect("closed");
    }
    let mut open = Vec::new();
    for number in 0..8 {
        match records.begin(&format!("open{number}"), "", "m") {
            Ok(record) => open.push(record),
            Err(error) => assert!(error.to_string().contains("together"), "{error}"),
        }
        for record in &mut open {
            while record.add(1, 0, &seen("cat")).is_ok() {}
        }
        let (_, bytes) = counted(folder.path());
        assert!(bytes <= most, "{bytes} with {} open", open.len());
    }
    assert_eq!(open.len(), 2, "half of what there is, a quarter each");
    let names =
        fs::read_dir(folder.path()).expect("folder").map(|entry| entry.expect("an entry").file_name());
    let left = names.filter(|name| name.to_string_lossy().starts_with("open")).count();
    assert_eq!(left, 2, "who was refused leaves nothing");
}

#[test]
fn small_documents_are_bounded_by_their_number() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens");
    let records = Records { most_documents: 3, ..records };
    for number in 0..6 {
        records.begin(&number.to_string(), "", "m").expect("begins").close("asked").expect("closed");
    }
    assert_eq!(counted(folder.path()).0, 3);
    assert!(folder.path().join("5.json").exists(), "the newest stays");
}

#[test]
fn a_session_begins_with_its_first_picture_unless_that_has_a_wrong_clock() {
    let folder = tempfile::tempdir().expect("folder");
    let records = Records::open(folder.path().into(), 1 << 20, Health::default()).expect("opens");
    for (waited_ms, counts) in [(3000, true), (-3000, false), (4_000_000_000, false)] {
        let taken = Timestamp::now().as_millisecond() - waited_ms;
        let name = waited_ms.to_string();
        let mut record = records.begin(&name, "", "m").expect("begins");
        record.add(1, taken.unsigned_abs(), &seen("cat")).expect("added");
        record.close("asked").expect("closed");
        let document = read(&folder.path().join(format!("{name}.json")));
        let began: Timestamp = document["began"].as_str().expect("told").parse().expect("a time");
        assert_eq!(began.as_millisecond() == taken, counts, "{waited_ms}: {document}");
        assert_eq!(document["frames"].as_array().map(Vec::len), Some(1));
    }
}
