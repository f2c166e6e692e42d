use serde_json::json;

use super::*;

const OWNER: Principal = Principal::OWNER;

fn text(content: &str) -> Content<'_> {
    Content { ending: "txt", media_type: "text/plain; charset=utf-8", bytes: content.as_bytes() }
}

fn ids(assets: &Assets) -> Vec<String> {
    assets.list(&OWNER).expect("lists").into_iter().map(|asset| asset.id).collect()
}

#[test]
fn an_asset_is_kept_with_all_its_parameters_and_found_again() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().join("assets"), 0);
    assert!(ids(&assets).is_empty(), "nothing yet");
    let kept =
        assets.keep(&OWNER, Kind::Text, json!({"seed": 7}), &[text("one"), text("two")]).expect("keeps");
    // Another process, after a restart.
    let again = Assets::new(root.path().join("assets"), 0);
    assert_eq!(again.get(&OWNER, &kept.id).expect("is there"), kept);
    let (path, file) = again.file(&OWNER, &kept.id, None).expect("file");
    assert_eq!((fs::read_to_string(path).expect("reads"), file.size_bytes), ("one".into(), 3));
    let (second, _) = again.file(&OWNER, &kept.id, Some(&kept.files[1].name)).expect("file");
    assert_eq!(fs::read_to_string(second).expect("reads"), "two");
    let folder = root.path().join("assets").join(kept.created_at.strftime("%Y%m%d_%H%M").to_string());
    assert!(folder.join(format!("{}.json", kept.id)).exists());
}

#[test]
fn the_oldest_unpinned_assets_make_room() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().to_path_buf(), 1 << 20);
    let half = "x".repeat(400 << 10);
    let kept: Vec<Asset> = (0..3)
        .map(|number| {
            let asset = assets.keep(&OWNER, Kind::Text, json!(number), &[text(&half)]).expect("keeps");
            if number == 0 {
                assets.pin(&OWNER, &asset.id, true).expect("pins");
            }
            asset
        })
        .collect();
    assert_eq!(ids(&assets), [kept[2].id.clone(), kept[0].id.clone()], "the second made room");
    // One that is larger than the limit is kept all the same: it was just asked for.
    let too_large = "x".repeat(2 << 20);
    let large = assets.keep(&OWNER, Kind::Text, json!(3), &[text(&too_large)]).expect("keeps");
    assert_eq!(ids(&assets), [large.id, kept[0].id.clone()]);
}

#[test]
fn a_long_prompt_counts_though_what_was_made_of_it_is_short() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().to_path_buf(), 1 << 20);
    let long = json!({"prompt": "x".repeat(400 << 10)});
    let keep = || assets.keep(&OWNER, Kind::Text, long.clone(), &[text("x")]).expect("keeps").id;
    let (_, second, third) = (keep(), keep(), keep());
    assert_eq!(ids(&assets), [third, second], "the first made room");
    let sizes = assets.sizes().expect("sizes")[&Kind::Text];
    assert!(sizes.bytes > 800 << 10, "{sizes:?}");
}

#[test]
fn a_clock_that_was_put_back_does_not_make_new_assets_the_oldest() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().to_path_buf(), 1 << 20);
    let half = "x".repeat(400 << 10);
    let first = assets.keep(&OWNER, Kind::Text, json!(0), &[text(&half)]).expect("keeps");
    let (folder, mut ahead) = assets.find(&OWNER, &first.id).expect("is there");
    ahead.created_at = Timestamp::MAX;
    write_description(&folder, &ahead).expect("writes");
    let second = assets.keep(&OWNER, Kind::Text, json!(1), &[text(&half)]).expect("keeps");
    let third = assets.keep(&OWNER, Kind::Text, json!(2), &[text(&half)]).expect("keeps");
    assert_eq!(ids(&assets), [third.id, second.id], "the first made room");
}

#[test]
fn what_is_deleted_leaves_nothing_behind() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().to_path_buf(), 0);
    let kept = assets.keep(&OWNER, Kind::Image, json!({}), &[text("x")]).expect("keeps");
    assets.delete(&OWNER, &kept.id).expect("deletes");
    assert!(matches!(assets.delete(&OWNER, &kept.id), Err(AssetError::Missing(_))));
    assert_eq!(fs::read_dir(root.path()).expect("root").count(), 0);
}

#[test]
fn what_a_key_made_is_there_for_itself_and_for_who_may_see_everything() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().to_path_buf(), 0);
    let (maker, other) = (Principal::key("a", false), Principal::key("b", false));
    let kept = assets.keep(&maker, Kind::Text, json!({"prompt": "mine"}), &[text("x")]).expect("keeps");
    let of_before = assets.keep(&OWNER, Kind::Text, json!({}), &[text("y")]).expect("keeps");
    for (stranger, asset) in [(&other, &kept), (&other, &of_before), (&maker, &of_before)] {
        let id = &asset.id;
        assert!(matches!(assets.get(stranger, id), Err(AssetError::Missing(_))));
        assert!(matches!(assets.file(stranger, id, None), Err(AssetError::Missing(_))));
        assert!(matches!(assets.pin(stranger, id, true), Err(AssetError::Missing(_))));
        assert!(matches!(assets.delete(stranger, id), Err(AssetError::Missing(_))));
    }
    let listed = |principal: &Principal| assets.list(principal).expect("lists").len();
    assert_eq!((listed(&maker), listed(&other), listed(&OWNER)), (1, 0, 2));
    assert_eq!(assets.get(&Principal::key("c", true), &kept.id).expect("is there"), kept);
    assert!(assets.pin(&maker, &kept.id, true).expect("pins").pinned);
    assets.delete(&OWNER, &kept.id).expect("deletes");
}

#[test]
fn a_kind_is_cleared_without_what_is_pinned() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().to_path_buf(), 0);
    let keep = |kind, content| assets.keep(&OWNER, kind, json!({}), &[text(content)]).expect("keeps");
    let pinned = keep(Kind::Image, "four");
    assets.pin(&OWNER, &pinned.id, true).expect("pins");
    let three = keep(Kind::Image, "three");
    let other = keep(Kind::Text, "x");
    let sizes = assets.sizes().expect("sizes");
    let description = |id: &str| {
        let (folder, _) = assets.find(&OWNER, id).expect("is there");
        fs::metadata(folder.join(format!("{id}.json"))).expect("description").len()
    };
    let (first, second) = (4 + description(&pinned.id), 5 + description(&three.id));
    let expected = Sizes { bytes: first + second, files: 4, pinned_bytes: first };
    assert_eq!(sizes[&Kind::Image], expected);
    assert_eq!(assets.clear(Some(Kind::Image)).expect("clears"), 1);
    let mut left = ids(&assets);
    left.sort();
    let mut expected = [other.id, pinned.id.clone()];
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(assets.clear(None).expect("clears"), 1);
    assert_eq!(ids(&assets), [pinned.id]);
}

#[test]
fn names_from_outside_lead_nowhere() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().join("assets"), 0);
    let kept = assets.keep(&OWNER, Kind::Text, json!({}), &[text("x")]).expect("keeps");
    fs::write(root.path().join("secret.json"), "{}").expect("writes");
    for id in ["", "a-", "../secret", "a-../../secret", "a-0123456789ABCDEF", "a-0123456789abcdeg"] {
        assert!(matches!(assets.get(&OWNER, id), Err(AssetError::Missing(_))), "{id}");
    }
    assert!(assets.file(&OWNER, &kept.id, Some("../../secret.json")).is_err());
}

#[test]
fn a_damaged_description_hides_nothing_else() {
    let root = tempfile::tempdir().expect("folder");
    let assets = Assets::new(root.path().to_path_buf(), 0);
    let kept = assets.keep(&OWNER, Kind::Text, json!({}), &[text("x")]).expect("keeps");
    let folder = root.path().join("20260101_0000");
    fs::create_dir_all(&folder).expect("folder");
    fs::write(folder.join("a-0000000000000000.json"), "{").expect("writes");
    assert_eq!(ids(&assets), [kept.id]);
}

#[test]
fn what_cannot_be_written_whole_is_not_there() {
    let root = tempfile::tempdir().expect("folder");
    // A file where the folder should be.
    fs::write(root.path().join("assets"), "").expect("writes");
    let assets = Assets::new(root.path().join("assets"), 0);
    assert!(assets.keep(&OWNER, Kind::Text, json!({}), &[text("x")]).is_err());
}
