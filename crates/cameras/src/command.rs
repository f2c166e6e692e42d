//! How ffmpeg is called. Pure: a source and a rate into arguments; no shell sees them.

use std::ffi::OsString;

use crate::source::Source;

/// Pictures that are wider are made this wide.
const MOST_WIDTH: u32 = 1280;
/// Microseconds without a byte from the network after which ffmpeg gives up.
const NETWORK_TIMEOUT: &str = "10000000";

/// The arguments for JPEGs on standard output; none for a source that needs no decoder.
pub(crate) fn arguments(source: &Source, fps: u32) -> Option<Vec<OsString>> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    add(&["-nostdin", "-hide_banner", "-loglevel", "error"]);
    match source {
        Source::V4l2 { device } => add(&["-f", "v4l2", "-i", device]),
        Source::Rtsp { url } => {
            add(&["-rtsp_transport", "tcp", "-timeout", NETWORK_TIMEOUT, "-fflags", "nobuffer", "-i", url]);
        }
        // What a camera answers may not make ffmpeg read files of this machine.
        Source::Http { url } => {
            add(&["-protocol_whitelist", "http,https,tcp,tls", "-rw_timeout", NETWORK_TIMEOUT, "-i", url]);
        }
        Source::File { path, repeat } => {
            if *repeat {
                add(&["-stream_loop", "-1"]);
            }
            // At its own speed, and a playlist may not lead into the network.
            add(&["-re", "-protocol_whitelist", "file", "-i"]);
            let mut file = OsString::from("file:");
            file.push(path);
            arguments.push(file);
        }
        Source::Folder { .. } => return None,
    }
    // The last picture counts, which of a snapshot is the only one. The comma within the quotes is part of the expression; ffmpeg itself reads them.
    let filter = format!("fps={fps}:eof_action=pass,scale='min({MOST_WIDTH},iw)':-2");
    let output = ["-an", "-sn", "-dn", "-vf", &filter, "-f", "image2pipe", "-c:v", "mjpeg", "-q:v", "4", "-"];
    arguments.extend(output.iter().map(OsString::from));
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_arguments() {
        let output = "-an -sn -dn -vf fps=12:eof_action=pass,scale='min(1280,iw)':-2 -f image2pipe -c:v mjpeg -q:v 4 -";
        let cases = [
            (Source::V4l2 { device: "/dev/video2".into() }, "-f v4l2 -i /dev/video2"),
            (
                Source::Rtsp { url: "rtsp://user:pass@cam/live".into() },
                "-rtsp_transport tcp -timeout 10000000 -fflags nobuffer -i rtsp://user:pass@cam/live",
            ),
            (
                Source::Http { url: "http://cam/a;b$(c)".into() },
                "-protocol_whitelist http,https,tcp,tls -rw_timeout 10000000 -i http://cam/a;b$(c)",
            ),
            (
                Source::File { path: "/srv/-i.mp4".into(), repeat: false },
                "-re -protocol_whitelist file -i file:/srv/-i.mp4",
            ),
            (
                Source::File { path: "/srv/a.mp4".into(), repeat: true },
                "-stream_loop -1 -re -protocol_whitelist file -i file:/srv/a.mp4",
            ),
        ];
        for (source, input) in cases {
            let arguments = arguments(&source, 12).expect("ffmpeg reads it");
            let line = arguments.join(&OsString::from(" ")).into_string().expect("text");
            assert_eq!(line, format!("-nostdin -hide_banner -loglevel error {input} {output}"));
        }
        assert_eq!(arguments(&Source::Folder { path: "/srv/a".into(), repeat: true }, 12), None);
    }

    #[test]
    fn what_the_owner_writes_stays_one_argument() {
        let source = Source::File { path: "/srv/two words; rm -rf 'x'.mp4".into(), repeat: false };
        let arguments = arguments(&source, 5).expect("ffmpeg reads it");
        assert!(arguments.contains(&OsString::from("file:/srv/two words; rm -rf 'x'.mp4")));
    }
}
