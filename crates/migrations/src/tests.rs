use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;

/// A tree of version 1 as a claimed box wrote it.
const CAPTURED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/version-1");

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn captured() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copied(Path::new(CAPTURED), folder.path());
    folder
}

/// Every file with its contents and mode, but for the bookkeeping.
fn contents(state: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![state.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(state).unwrap().to_path_buf();
            if name == Path::new(VERSION_FILE) || name == Path::new(originals::FOLDER) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                all.insert(name, (fs::read(&path).unwrap(), mode));
            }
        }
    }
    all
}

fn text(state: &Path, name: &str) -> String {
    fs::read_to_string(state.join(name)).unwrap_or_default()
}

/// `a` becomes `b`, and `made` appears.
fn rename_up(state: &Path) -> io::Result<()> {
    fs::write(state.join("made"), "by the step")?;
    fs::rename(state.join("a"), state.join("b"))
}

fn rename_down(state: &Path) -> io::Result<()> {
    fs::remove_file(state.join("made"))?;
    fs::rename(state.join("b"), state.join("a"))
}

#[expect(clippy::unnecessary_wraps, reason = "a step may have to look")]
fn touched(_: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(["a", "b", "made", "folder"].map(PathBuf::from).into())
}

/// Changes half of what it should, and fails.
fn fail(state: &Path) -> io::Result<()> {
    fs::remove_file(state.join("b"))?;
    fs::write(state.join("folder/new"), "half")?;
    Err(io::Error::other("no"))
}

const RENAME: Step = Step { name: "rename", touches: touched, up: rename_up, down: rename_down };
const APPEND: Step = Step {
    name: "append",
    touches: touched,
    up: |state| fs::write(state.join("b"), text(state, "b") + "+"),
    down: |state| fs::write(state.join("b"), text(state, "b").replace('+', "")),
};
/// Another form of the owner's settings.
const SETTINGS: Step = Step {
    name: "settings",
    touches: |_| Ok(["settings/settings.toml", "settings/settings.json"].map(PathBuf::from).into()),
    up: |state| fs::rename(state.join("settings/settings.toml"), state.join("settings/settings.json")),
    down: |state| fs::rename(state.join("settings/settings.json"), state.join("settings/settings.toml")),
};
const BROKEN: Step = Step { name: "broken", touches: touched, up: fail, down: fail };

fn small() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::write(folder.path().join("folder/old"), "kept").unwrap();
    fs::write(folder.path().join("a"), "one").unwrap();
    fs::set_permissions(folder.path().join("a"), fs::Permissions::from_mode(0o640)).unwrap();
    folder
}

#[test]
fn a_new_box_starts_with_the_newest_version() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("actionbooster");
    assert_eq!(Data::below(&state).migrate().unwrap(), Outcome::Fresh);
    assert_eq!(Data::below(&state).written().unwrap(), Written::Version(Data::below(&state).newest()));
    assert_eq!(Data::below(&state).migrate().unwrap(), Outcome::Current);
    // Folders that every boot makes are nobody's data.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("models/.incoming")).unwrap();
    assert_eq!(Data::below(folder.path()).migrate().unwrap(), Outcome::Fresh);
}

#[test]
fn the_captured_tree_goes_up_and_comes_back_the_same() {
    let folder = captured();
    let before = contents(folder.path());
    let data = Data::below(folder.path());
    assert_eq!(data.written().unwrap(), Written::Version(1));
    let newest = data.newest();
    let outcome = data.migrate().unwrap();
    assert_eq!(outcome == Outcome::Current, newest == 1, "{outcome:?}");
    assert_eq!(data.written().unwrap(), Written::Version(newest));
    // A later step, seen by this version's program once the later one has failed.
    let steps: Vec<Step> = STEPS.iter().copied().chain([SETTINGS]).collect();
    let later = Data::with_steps(folder.path(), &steps);
    assert_eq!(later.migrate().unwrap(), Outcome::Migrated { from: newest, to: newest + 1 });
    assert!(!folder.path().join("settings/settings.toml").exists());
    assert_eq!(data.migrate().unwrap(), Outcome::Restored { from: newest + 1, to: newest });
    // And a program of version 1, which knows no steps.
    Data::with_steps(folder.path(), &[]).migrate().unwrap();
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn an_older_program_puts_back_what_it_does_not_know() {
    let folder = small();
    let before = contents(folder.path());
    let steps = [RENAME, APPEND];
    let new = Data::with_steps(folder.path(), &steps);
    assert_eq!(new.migrate().unwrap(), Outcome::Migrated { from: 1, to: 3 });
    assert_eq!(text(folder.path(), "b"), "one+");
    let old = Data::with_steps(folder.path(), &[]);
    assert_eq!(old.migrate().unwrap(), Outcome::Restored { from: 3, to: 1 });
    assert_eq!(contents(folder.path()), before);
}

#[test]
fn once_settled_only_the_own_way_back_is_left() {
    let folder = small();
    let steps = [RENAME, APPEND];
    let new = Data::with_steps(folder.path(), &steps);
    new.migrate().unwrap();
    new.settle().unwrap();
    fs::write(folder.path().join("b"), "changed+").unwrap();
    let old = Data::with_steps(folder.path(), &[]);
    assert!(matches!(old.migrate(), Err(Error::FromTheFuture { version: 3, known: 1 })));
    assert_eq!(text(folder.path(), "b"), "changed+");
    assert_eq!(new.revert(1).unwrap(), Outcome::Restored { from: 3, to: 1 });
    assert_eq!(text(folder.path(), "a"), "changed");
    assert!(!folder.path().join("made").exists());
}

#[test]
fn a_step_that_fails_leaves_everything_as_it_was() {
    let folder = small();
    let steps = [RENAME, BROKEN];
    let data = Data::with_steps(folder.path(), &steps);
    let error = data.migrate().unwrap_err();
    assert!(matches!(error, Error::Step { version: 2, step: "broken", .. }), "{error}");
    assert_eq!(data.written().unwrap(), Written::Version(2));
    assert_eq!(text(folder.path(), "b"), "one");
    assert!(!folder.path().join("folder/new").exists());
    assert_eq!(text(folder.path(), "folder/old"), "kept");
}

#[test]
fn a_step_that_was_cut_is_undone_and_done_again() {
    let folder = small();
    // Cut after the step and before the number: what it did must not be done twice.
    let steps = [RENAME, APPEND];
    Data::with_steps(folder.path(), &steps[..1]).migrate().unwrap();
    let copies = Originals::of(folder.path(), 3);
    copies.keep(&touched(folder.path()).unwrap()).unwrap();
    (APPEND.up)(folder.path()).unwrap();
    assert_eq!(text(folder.path(), "b"), "one+");
    assert_eq!(
        Data::with_steps(folder.path(), &steps).migrate().unwrap(),
        Outcome::Migrated { from: 2, to: 3 }
    );
    assert_eq!(text(folder.path(), "b"), "one+");
    // Cut while copying: half a set counts as none.
    let folder = small();
    let half = folder.path().join(originals::FOLDER).join("2.partial/files");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("a"), "torn").unwrap();
    Data::with_steps(folder.path(), &steps).migrate().unwrap();
    assert_eq!(text(folder.path(), "b"), "one+");
}

#[test]
fn a_damaged_number_is_written_anew_and_nothing_else_is_touched() {
    for number in ["", "two", "0", "-1", "\u{0}"] {
        let folder = captured();
        fs::write(folder.path().join(VERSION_FILE), number).unwrap();
        let before = contents(folder.path());
        let data = Data::below(folder.path());
        assert_eq!(data.migrate().unwrap(), Outcome::Renumbered, "{number:?}");
        assert_eq!(data.migrate().unwrap(), Outcome::Current, "{number:?}");
        assert_eq!(contents(folder.path()), before);
    }
}
