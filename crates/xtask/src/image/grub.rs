//! GRUB's configuration, with the numbers that the rest of the product goes by.

use actionbooster_updates::{PROVEN_TRIES, TRIAL_TRIES};
use anyhow::{Result, ensure};

/// Fills in the template `image/grub/grub.cfg`.
pub fn config(template: &str) -> Result<String> {
    let numbers: Vec<String> = (1..=PROVEN_TRIES.max(TRIAL_TRIES)).map(|number| number.to_string()).collect();
    let mut text = template.to_owned();
    for (placeholder, value) in [
        ("@TRIAL_TRIES@", TRIAL_TRIES.to_string()),
        ("@PROVEN_TRIES@", PROVEN_TRIES.to_string()),
        ("@NUMBERS@", numbers.join(" ")),
    ] {
        ensure!(text.contains(placeholder), "image/grub/grub.cfg has no {placeholder}");
        text = text.replace(placeholder, &value);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::process::Command;

    use actionbooster_updates::{Block, Slot, Slots};

    use super::*;

    const TEMPLATE: &str = include_str!("../../../../image/grub/grub.cfg");
    /// GRUB's commands in bash, whose grammar holds for what the configuration uses of GRUB's. Each
    /// reads and writes variables: `FIRST` and `SECOND` are the two environments, empty when damaged.
    const COMMANDS: &str = r#"
set() { printf -v "${1%%=*}" %s "${1#*=}"; }
load_env() {
    case $2 in */nonce) known= ;; *.bak) known=$SECOND ;; *) known=$FIRST ;; esac
    [ -n "$known" ] && eval "$known"
}
save_env() { case $2 in */nonce) ;; *) saved=${2##*/} ;; esac; }
rdmsr() { :; }
regexp() { :; }
serial() { :; }
terminal_input() { :; }
terminal_output() { :; }
probe() { :; }
echo() { :; }
sleep() { :; }
initrd() { :; }
linux() { case $unreadable in *"$slot"*) return 1 ;; esac; }
boot() { booted=${booted:-"$slot $A_TRY|$B_TRY"}; }
reboot() { booted=${booted:-"none $A_TRY|$B_TRY"}; }
prefix=/grub
"#;

    /// The rendered configuration up to its menu, as a bash function.
    fn as_bash() -> String {
        let config = config(TEMPLATE).expect("rendered");
        let (body, _) = config.split_once("set default=0").expect("a menu follows");
        // A device's name needs quotes in bash.
        let body = body.replace("($partition)/", "'('$partition')'/");
        format!("{COMMANDS}\nconfiguration() {{\n{body}\n}}\n")
    }

    /// What bash prints for a script.
    fn bash(script: &str) -> String {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), script).expect("written");
        let output = Command::new("bash").arg(file.path()).output().expect("bash starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        String::from_utf8(output.stdout).expect("text")
    }

    const NAMES: [&str; 7] = ["ORDER", "A_OK", "A_TRY", "A_PROVEN", "B_OK", "B_TRY", "B_PROVEN"];

    /// The variables as a script that sets them.
    fn assignments(block: &Block) -> String {
        let set = |name: &&str| block.get(name).map(|value| format!("{name}=\"{value}\";"));
        NAMES.iter().filter_map(set).collect()
    }

    /// Environments with every order, standing and count that makes a difference.
    fn environments() -> Vec<Block> {
        let forms: Vec<_> = ["0", "2", "3", "x"]
            .map(|tries| ("1", tries, false))
            .into_iter()
            .chain(["0", "3", "11", "12", "x"].map(|tries| ("1", tries, true)))
            .chain([("0", "0", false), ("0", "0", true)])
            .collect();
        let mut all = Vec::new();
        for order in ["A B", "B A"] {
            for (a, b) in forms.iter().flat_map(|a| forms.iter().map(move |b| (a, b))) {
                let mut block = Block::default();
                block.set("ORDER", order);
                for (slot, (ok, tries, proven)) in [("A", a), ("B", b)] {
                    block.set(&format!("{slot}_OK"), ok);
                    block.set(&format!("{slot}_TRY"), tries);
                    if *proven {
                        block.set(&format!("{slot}_PROVEN"), "1");
                    }
                }
                all.push(block);
            }
        }
        all
    }

    #[test]
    fn grub_chooses_and_counts_as_the_rule_says() {
        let mut script = as_bash();
        script.push_str(
            "try() { unreadable=$1; booted=; start; printf '%s\\n' \"$booted\"; }\n\
             show() { configuration; local chosen=$slot a=$A_TRY b=$B_TRY; try ''; slot=$chosen A_TRY=$a B_TRY=$b; try $chosen; }\n",
        );
        let environments = environments();
        for block in &environments {
            _ = writeln!(script, "FIRST='{}'; SECOND=; show", assignments(block));
        }
        let output = bash(&script);
        let mut lines = output.lines();
        for block in &environments {
            let before = Slots::of(block).expect("an environment");
            let mut happened = || {
                let line = lines.next().expect("a line for each start");
                let (started, counts) = line.split_once(' ').expect("a slot");
                let (a, b) = counts.split_once('|').expect("two counts");
                let mut after = block.clone();
                after.set("A_TRY", a);
                after.set("B_TRY", b);
                (Slot::parse(started), Slots::of(&after).expect("an environment"))
            };
            let mut chosen = before;
            let first = chosen.start();
            assert_eq!(happened(), (Some(first), chosen), "{}", assignments(block));
            let mut other = chosen;
            let second = other.take_over(first);
            assert_eq!(happened(), (second, other), "unreadable: {}", assignments(block));
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn grub_reads_and_counts_in_the_backup_while_the_first_file_is_damaged() {
        let good = "ORDER=\"B A\";A_OK=1;A_TRY=0;A_PROVEN=1;B_OK=1;B_TRY=1;B_PROVEN=1;";
        for (file, backup, expected) in [
            (good, "ORDER=\"A B\";A_OK=1;A_TRY=0;", "B grubenv 0|2"),
            ("", good, "B grubenv.bak 0|2"),
            ("ORDER=\"A\";A_OK=1;A_TRY=7;A_PROVEN=1;", good, "B grubenv.bak 0|2"),
            // Both are lost: the first that can be read, and nothing is written.
            ("", "", "A  1|0"),
        ] {
            let script = format!(
                "{}\nFIRST='{file}'; SECOND='{backup}'\nconfiguration\nprintf '%s %s %s' \"$slot\" \"$saved\" \"$A_TRY|$B_TRY\"\n",
                as_bash()
            );
            assert_eq!(bash(&script), expected, "{file} {backup}");
        }
        let script = format!(
            "{}\nFIRST=; SECOND=; unreadable=A\nconfiguration\nstart\nprintf %s \"$booted\"\n",
            as_bash()
        );
        assert_eq!(bash(&script), "B 1|1", "with both lost, the slot that can be read starts");
    }

    #[test]
    fn a_placeholder_that_is_missing_is_told() {
        let error = config("set limit=@TRIAL_TRIES@").expect_err("incomplete").to_string();
        assert!(error.contains("@PROVEN_TRIES@"), "{error}");
    }
}
