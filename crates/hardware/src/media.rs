//! Cameras and microphones.

use std::collections::BTreeMap;

use crate::inventory::{Camera, Microphone};
use crate::tree::{Tree, clean};

/// Drivers whose nodes deliver nothing by themselves: codecs, scalers, and stages of image
/// pipelines that only libcamera can set up.
const STAGES: &[&str] = &[
    "bcm2835-codec",
    "bcm2835-isp",
    "hantro-vpu",
    "pispbe",
    "rkcif",
    "rkisp",
    "rkisp1",
    "rkvdec",
    "rockchip-rga",
    "rp1-cfe",
    "rpi-hevc-dec",
    "rpivid",
];

/// Reads the V4L2 devices that capture video.
pub fn cameras(tree: &Tree) -> Vec<Camera> {
    let folder = "sys/class/video4linux";
    let names = tree.list(folder).into_iter().filter(|name| name.starts_with("video"));
    names.filter_map(|name| camera(tree, &format!("{folder}/{name}"), &name)).collect()
}

fn camera(tree: &Tree, folder: &str, node: &str) -> Option<Camera> {
    let driver = tree.link_name(&format!("{folder}/device/driver")).unwrap_or_default();
    if STAGES.contains(&driver.as_str()) || !captures(tree, folder, &driver) {
        return None;
    }
    let name = tree.text(&format!("{folder}/name")).unwrap_or_else(|| node.to_owned());
    Some(Camera { name, device_node: format!("/dev/{node}") })
}

/// Only the device itself knows what it can do; udev asked it and wrote the answer down. Without
/// udev's word, the first node of a USB camera is the one with pictures, the next has metadata.
fn captures(tree: &Tree, folder: &str, driver: &str) -> bool {
    match capabilities(tree, folder) {
        Some(words) => words.contains(":capture:") && !words.contains(":video_output:"),
        None => driver == "uvcvideo" && tree.number(&format!("{folder}/index")) == Some(0),
    }
}

fn capabilities(tree: &Tree, folder: &str) -> Option<String> {
    let number = tree.text(&format!("{folder}/dev"))?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    let text = tree.lines(&format!("run/udev/data/c{}", plain.then_some(number)?));
    text.lines().find_map(|line| line.strip_prefix("E:ID_V4L_CAPABILITIES=")).map(str::to_owned)
}

/// Reads the sound cards with something to record from.
pub fn microphones(tree: &Tree) -> Vec<Microphone> {
    let names = card_names(&tree.lines("proc/asound/cards"));
    let mut cards: Vec<u32> =
        tree.list("sys/class/sound").iter().filter_map(|pcm| capture_card(pcm)).collect();
    cards.sort_unstable();
    cards.dedup();
    let name = |card: u32| names.get(&card).cloned().unwrap_or_else(|| format!("Sound card {card}"));
    cards.into_iter().map(|card| Microphone { name: name(card), card }).collect()
}

/// `pcmC1D0c` is a capture device of card 1.
fn capture_card(pcm: &str) -> Option<u32> {
    let (card, device) = pcm.strip_prefix("pcmC")?.strip_suffix('c')?.split_once('D')?;
    device.parse::<u32>().ok()?;
    card.parse().ok()
}

/// ` 1 [Webcam         ]: USB-Audio - HD Webcam` names card 1; the line below it is more detail.
fn card_names(text: &str) -> BTreeMap<u32, String> {
    let name = |line: &str| {
        let (number, rest) = line.split_once('[')?;
        let name = clean(rest.split_once(" - ")?.1);
        Some((number.trim().parse().ok()?, name)).filter(|(_, name)| !name.is_empty())
    };
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_devices_name_their_card() {
        let cases = [
            ("pcmC1D0c", Some(1)),
            ("pcmC10D3c", Some(10)),
            ("pcmC1D0p", None),
            ("controlC1", None),
            ("pcmCxD0c", None),
            ("pcmC1D0c0", None),
        ];
        for (name, expected) in cases {
            assert_eq!(capture_card(name), expected, "{name}");
        }
    }

    #[test]
    fn cards_are_named_as_alsa_names_them() {
        let text =
            " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n                      HDA Intel PCH at 0x1\n";
        assert_eq!(card_names(text).get(&0).map(String::as_str), Some("HDA Intel PCH"));
        assert!(card_names("--- no soundcards ---\n").is_empty());
    }
}
