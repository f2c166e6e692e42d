//! How ffmpeg is called. Pure: a source and a rate into arguments; no shell sees them.
//!
//! Everybody on the machine can read a program's arguments, so an address, which may hold a password, is no
//! argument: ffmpeg reads it from its standard input, in a script of its concat demuxer.

use std::ffi::OsString;

use crate::source::Source;

/// Pictures that are wider are made this wide.
const MOST_WIDTH: u32 = 1280;
/// Microseconds without a byte from the network after which ffmpeg gives up.
const NETWORK_TIMEOUT: &str = "10000000";
/// Pictures are taken from ffmpeg at a rate so much higher than the wished one, so that they can be chosen evenly.
const MARGIN: f64 = 1.5;
/// Reads what the script on standard input names.
const SCRIPT: &[&str] = &["-f", "concat", "-safe", "0", "-i", "pipe:0"];

/// An invocation of ffmpeg that gives JPEGs on standard output. Holds a secret, so it has no `Debug`.
#[derive(PartialEq, Eq)]
pub(crate) struct Invocation {
    pub(crate) arguments: Vec<OsString>,
    /// What it reads from standard input.
    pub(crate) script: Option<String>,
}

/// The invocation for a source; none for one that needs no decoder.
pub(crate) fn invocation(source: &Source, fps: u32) -> Option<Invocation> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
    add(&["-nostdin", "-hide_banner", "-loglevel", "error"]);
    // What a camera answers may not make ffmpeg read files of this machine.
    let script = match source {
        Source::V4l2 { device } => {
            add(&["-f", "v4l2", "-i", device]);
            None
        }
        Source::Rtsp { url } => {
            add(&["-fflags", "nobuffer"]);
            add(&["-protocol_whitelist", "pipe,rtp,tcp,tls"]);
            add(SCRIPT);
            Some(script(url, &[("rtsp_transport", "tcp"), ("timeout", NETWORK_TIMEOUT)]))
        }
        Source::Http { url } => {
            add(&["-protocol_whitelist", "pipe,http,https,tcp,tls"]);
            add(SCRIPT);
            Some(script(url, &[("rw_timeout", NETWORK_TIMEOUT)]))
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
            None
        }
        Source::Folder { .. } => return None,
    };
    // Cameras count time as they like: the time of arrival counts, none is shown twice, and what nobody will look
    // at is not made into a JPEG. The encoder wants times that rise, whatever its own base; it gets seconds.
    // The commas within the quotes are part of the expressions; ffmpeg itself reads them.
    let most = f64::from(fps) * MARGIN;
    let filter = format!(
        "settb=AVTB,setpts=RTCTIME,\
         select='isnan(prev_selected_t)+gt(floor(t*{most}),floor(prev_selected_t*{most}))',\
         setpts=N*100/TB,scale='min({MOST_WIDTH},iw)':-2"
    );
    let output = ["-an", "-sn", "-dn", "-vf", &filter, "-fps_mode", "passthrough"];
    arguments.extend(output.iter().map(OsString::from));
    let output = ["-f", "image2pipe", "-c:v", "mjpeg", "-q:v", "4", "-"];
    arguments.extend(output.iter().map(OsString::from));
    Some(Invocation { arguments, script })
}

/// A script of one address, as ffmpeg's concat demuxer reads it. Within its quotes only the quote itself means
/// something.
fn script(url: &str, options: &[(&str, &str)]) -> String {
    let file = url.replace('\'', r"'\''");
    let options: Vec<String> =
        options.iter().map(|(option, value)| format!("option {option} {value}\n")).collect();
    format!("ffconcat version 1.0\nfile '{file}'\n{}", options.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_invocation() {
        let output = "-an -sn -dn -vf settb=AVTB,setpts=RTCTIME,\
                      select='isnan(prev_selected_t)+gt(floor(t*18),floor(prev_selected_t*18))',\
                      setpts=N*100/TB,scale='min(1280,iw)':-2 -fps_mode passthrough \
                      -f image2pipe -c:v mjpeg -q:v 4 -";
        let cases = [
            (Source::V4l2 { device: "/dev/video2".into() }, "-f v4l2 -i /dev/video2", None),
            (
                Source::Rtsp { url: "rtsp://user:pass@cam/live".into() },
                "-fflags nobuffer -protocol_whitelist pipe,rtp,tcp,tls -f concat -safe 0 -i pipe:0",
                Some(
                    "ffconcat version 1.0\nfile 'rtsp://user:pass@cam/live'\noption rtsp_transport tcp\n\
                     option timeout 10000000\n",
                ),
            ),
            (
                Source::Http { url: "http://user:it's@cam/a;b$(c)\\".into() },
                "-protocol_whitelist pipe,http,https,tcp,tls -f concat -safe 0 -i pipe:0",
                Some(
                    "ffconcat version 1.0\nfile 'http://user:it'\\''s@cam/a;b$(c)\\'\noption rw_timeout 10000000\n",
                ),
            ),
            (
                Source::File { path: "/srv/-i.mp4".into(), repeat: false },
                "-re -protocol_whitelist file -i file:/srv/-i.mp4",
                None,
            ),
            (
                Source::File { path: "/srv/a.mp4".into(), repeat: true },
                "-stream_loop -1 -re -protocol_whitelist file -i file:/srv/a.mp4",
                None,
            ),
        ];
        for (source, input, script) in cases {
            let invocation = invocation(&source, 12).expect("ffmpeg reads it");
            let line = invocation.arguments.join(&OsString::from(" ")).into_string().expect("text");
            assert_eq!(line, format!("-nostdin -hide_banner -loglevel error {input} {output}"));
            assert_eq!(invocation.script.as_deref(), script);
        }
        assert!(invocation(&Source::Folder { path: "/srv/a".into(), repeat: true }, 12).is_none());
    }

    #[test]
    fn what_the_owner_writes_stays_one_argument() {
        let source = Source::File { path: "/srv/two words; rm -rf 'x'.mp4".into(), repeat: false };
        let invocation = invocation(&source, 5).expect("ffmpeg reads it");
        assert!(invocation.arguments.contains(&OsString::from("file:/srv/two words; rm -rf 'x'.mp4")));
    }
}
