use std::path::PathBuf;

use serde_json::json;

use super::*;

const GIB: u64 = 1 << 30;

fn shipped() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../provisioning/workflows").into()
}

fn library() -> Library {
    let library = Library::read(&[shipped()]);
    assert!(library.errors.is_empty(), "{:?}", library.errors);
    library
}

fn both() -> Vec<String> {
    vec!["v1-5-pruned-emaonly-fp16.safetensors".into(), "large\\sd_xl_base_1.0.safetensors".into()]
}

fn selection(workflow: Option<&str>, model: Option<&str>) -> Selection {
    Selection { workflow: workflow.map(String::from), model: model.map(String::from) }
}

#[test]
fn every_workflow_of_the_image_can_be_used_and_its_links_lead_somewhere() {
    let library = library();
    let names: Vec<&str> = library.workflows.keys().map(String::as_str).collect();
    assert_eq!(names, ["animatediff", "animatediff-image", "sd15", "sd15-img2img", "sdxl", "sdxl-img2img"]);
    for workflow in library.workflows.values() {
        for (id, node) in &workflow.graph {
            for input in node["inputs"].as_object().expect("inputs").values() {
                if let Some(link) = input.as_array() {
                    let from = link[0].as_str().expect("node");
                    assert!(workflow.graph.contains_key(from), "{}: {id} wants {from}", workflow.name);
                }
            }
        }
    }
}

#[test]
fn values_go_where_the_workflow_says_and_the_rest_comes_from_it() {
    let library = library();
    let values = Values { prompt: "a cat".into(), seed: 7, width: Some(640), ..Values::default() };
    let (graph, used) = library.workflows["sd15-img2img"].fill(&values, "x.safetensors", Some("in.png"));
    assert_eq!(graph["1"]["inputs"]["ckpt_name"], "x.safetensors");
    assert_eq!(graph["2"]["inputs"]["text"], "a cat");
    assert_eq!(graph["5"]["inputs"]["seed"], 7);
    assert_eq!(graph["5"]["inputs"]["denoise"], 0.6);
    assert_eq!(graph["8"]["inputs"]["image"], "in.png");
    assert_eq!((&graph["9"]["inputs"]["width"], &graph["9"]["inputs"]["height"]), (&json!(640), &json!(512)));
    assert_eq!((&used["steps"], &used["strength"], used.get("frames")), (&json!(25), &json!(0.6), None));
    let (graph, used) = library.workflows["animatediff"].fill(&values, "x", None);
    assert_eq!((&graph["4"]["inputs"]["batch_size"], &graph["13"]["inputs"]["fps"]), (&json!(16), &json!(8)));
    assert!(used.get("strength").is_none() && used.get("image").is_none());
}

#[test]
fn numbers_outside_their_bounds_are_named() {
    let defaults = &library().workflows["animatediff"].defaults.clone();
    let bad = [
        ("width", Values { width: Some(63), ..Values::default() }),
        ("height", Values { height: Some(516), ..Values::default() }),
        ("height", Values { width: Some(2048), height: Some(2048), ..Values::default() }),
        ("steps", Values { steps: Some(0), ..Values::default() }),
        ("cfg", Values { cfg: Some(f64::NAN), ..Values::default() }),
        ("strength", Values { strength: Some(0.0), ..Values::default() }),
        ("frames", Values { frames: Some(65), ..Values::default() }),
        ("fps", Values { fps: Some(0), ..Values::default() }),
        ("seed", Values { seed: 1 << 53, ..Values::default() }),
    ];
    for (field, values) in bad {
        let (named, detail) = values.check(defaults).expect_err(field);
        assert!(named == field && detail.contains(field), "{field}: {named}: {detail}");
    }
    Values::default().check(defaults).expect("the workflow's own");
}

#[test]
fn the_largest_that_the_server_has_and_has_memory_for_is_used() {
    let library = library();
    let choose = |selection: &Selection, checkpoints: &[String], free: Option<u64>| {
        choose(&library, (Made::Image, false), selection, checkpoints, free)
            .map(|choice| (choice.workflow.name, choice.checkpoint, choice.reason))
    };
    let (small, large) = (both()[0].clone(), both()[1].clone());
    let any = selection(None, None);
    assert_eq!(choose(&any, &both(), Some(8 * GIB)), Ok(("sdxl".into(), large.clone(), None)));
    assert_eq!(choose(&any, &both(), None), Ok(("sdxl".into(), large.clone(), None)));
    assert_eq!(choose(&any, &both()[..1], Some(8 * GIB)), Ok(("sd15".into(), small.clone(), None)));
    for selection in [&any, &selection(Some("sdxl"), None)] {
        let (name, checkpoint, reason) = choose(selection, &both(), Some(4 * GIB)).expect("the smaller");
        assert_eq!((name.as_str(), &checkpoint), ("sd15", &small));
        let reason = reason.expect("reason");
        assert!(reason.contains("sdxl needs 7.0 GiB") && reason.contains("sd15 is used"), "{reason}");
    }
    let (name, _, reason) = choose(&any, &both(), Some(GIB)).expect("the smallest");
    assert_eq!((name.as_str(), reason.is_some_and(|reason| reason.contains("may fail"))), ("sd15", true));
    // A named checkpoint stays.
    let (name, _, reason) =
        choose(&selection(None, Some("sd_xl_base_1.0.safetensors")), &both(), Some(GIB)).expect("named");
    assert_eq!((name.as_str(), reason.is_some()), ("sdxl", true));
    let own = vec!["own.safetensors".to_owned()];
    let named = selection(Some("sd15"), Some("own.safetensors"));
    assert_eq!(choose(&named, &own, Some(8 * GIB)), Ok(("sd15".into(), own[0].clone(), None)));
}

#[test]
fn what_is_missing_on_the_server_is_said_with_what_it_has() {
    let library = library();
    let refused = |selection: &Selection, checkpoints: &[String]| {
        choose(&library, (Made::Image, false), selection, checkpoints, None).expect_err("refused")
    };
    let own = vec!["own.safetensors".to_owned()];
    let said = refused(&selection(None, None), &own);
    assert!(
        said.contains("sd_xl_base_1.0.safetensors nor v1-5-pruned") && said.contains("It has own"),
        "{said}"
    );
    assert!(refused(&selection(Some("sdxl"), None), &both()[..1]).contains("sd_xl_base"));
    assert!(refused(&selection(None, Some("own.safetensors")), &own).contains("name a workflow"));
    assert!(refused(&selection(None, Some("x")), &[]).contains("none at all"));
    // Part of a name is another file.
    assert!(!is_called("my-own.safetensors", "own.safetensors"));
}

#[test]
fn memory_is_only_made_free_for_what_can_fit_at_all() {
    let library = library();
    let roomiest =
        |total: u64| roomiest(&library, (Made::Image, false), &selection(None, None), &both(), total);
    assert_eq!(
        (roomiest(8 * GIB), roomiest(4 * GIB), roomiest(GIB)),
        (Some(7 * GIB), Some(3 * GIB), Some(3 * GIB))
    );
}

#[test]
fn the_owners_workflow_replaces_and_a_wrong_one_is_named_and_left_out() {
    let folder = tempfile::tempdir().expect("folder");
    let text = fs::read_to_string(shipped().join("sd15.json")).expect("shipped");
    let own = text.replace("\"steps\": 25", "\"steps\": 9");
    fs::write(folder.path().join("sd15.json"), &own).expect("written");
    let wrong = [
        ("other.json", own.clone(), "call the file sd15.json"),
        ("a.json", "{".into(), "EOF"),
        ("b.json", own.replace("\"5\", \"seed\"", "\"5\", \"sede\""), "\"sede\" of node 5"),
        ("c.json", own.replace("\"steps\": 9", "\"steps\": 0"), "steps is 0"),
        ("d.json", own.replace("\"prompt\": [\"2\", \"text\"],", ""), "where prompt goes"),
        ("e.json", own.replace("class_type", "class"), "API format"),
        ("f.json", own.replace("\"name\": \"sd15\"", "\"name\": \"../x\""), "small letters"),
    ];
    for (name, text, _) in &wrong {
        fs::write(folder.path().join(name), text).expect("written");
    }
    let library = Library::read(&[shipped(), folder.path().into(), folder.path().join("nothing")]);
    assert_eq!(library.workflows["sd15"].defaults.steps, Some(9));
    assert_eq!(library.errors.len(), wrong.len(), "{:?}", library.errors);
    for (name, _, expected) in wrong {
        let error = library.errors.iter().find(|error| error.contains(name)).expect(name);
        assert!(error.contains(expected), "{error}");
    }
}
