//! Passwords in the addresses of cameras: they are not told, and stay when an address comes back without.

use actionbooster_cameras::Source;

/// What stands in the place of a password that is not told.
const HIDDEN: &str = "***";

/// An address with a login: `scheme://user:password@host/path`.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    scheme: &'a str,
    user: &'a str,
    password: &'a str,
    /// Host and port.
    host: &'a str,
    /// What follows the host.
    path: &'a str,
}

impl<'a> Address<'a> {
    /// Nothing when it names no password.
    fn read(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, host) = authority.rsplit_once('@')?;
        let (user, password) = login.split_once(':')?;
        Some(Self { scheme, user, password, host, path })
    }

    fn with(&self, password: &str) -> String {
        let Self { scheme, user, host, path, .. } = self;
        format!("{scheme}://{user}:{password}@{host}{path}")
    }

    /// Whether both lead to the same login at the same place.
    fn leads_like(&self, other: &Self) -> bool {
        (self.scheme, self.user, self.host) == (other.scheme, other.user, other.host)
    }
}

/// `rtsp://user:secret@host/` as `rtsp://user:***@host/`.
pub(super) fn hidden(url: &str) -> String {
    let address = Address::read(url).filter(|address| !address.password.is_empty());
    address.map_or_else(|| url.to_owned(), |address| address.with(HIDDEN))
}

/// A source as it is kept: with the password of the one before where it says `***`.
///
/// The password goes to no other place than the one that it was given for.
pub(super) fn restored(source: Source, before: Option<&Source>) -> Result<Source, String> {
    let Some(address) = url(&source).and_then(Address::read).filter(|new| new.password == HIDDEN) else {
        return Ok(source);
    };
    let Some(known) = before.and_then(url).and_then(Address::read) else {
        return Err(format!(
            "{HIDDEN} stands for a password that is kept, and there is none; write the password"
        ));
    };
    if !address.leads_like(&known) {
        return Err(format!(
            "{HIDDEN} stands for the password of {}://{}@{}; write the password again to use it elsewhere",
            known.scheme, known.user, known.host
        ));
    }
    let url = address.with(known.password);
    Ok(match source {
        Source::Http { .. } => Source::Http { url },
        _ => Source::Rtsp { url },
    })
}

fn url(source: &Source) -> Option<&str> {
    match source {
        Source::Rtsp { url } | Source::Http { url } => Some(url),
        Source::V4l2 { .. } | Source::File { .. } | Source::Folder { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_addresses_are_not_told() {
        for (url, shown) in [
            ("rtsp://owner:secret@10.0.0.2:554/live?x=@", "rtsp://owner:***@10.0.0.2:554/live?x=@"),
            ("rtsp://owner:p@ss@10.0.0.2/a", "rtsp://owner:***@10.0.0.2/a"),
            ("rtsp://owner:@10.0.0.2/a", "rtsp://owner:@10.0.0.2/a"),
            ("rtsp://owner@10.0.0.2/a", "rtsp://owner@10.0.0.2/a"),
            ("http://10.0.0.2/a:b@c", "http://10.0.0.2/a:b@c"),
            ("http://10.0.0.2?a=b:c@d", "http://10.0.0.2?a=b:c@d"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(hidden(url), shown);
        }
    }

    #[test]
    fn a_password_that_was_not_told_stays_where_it_was_and_goes_nowhere_else() {
        let rtsp = |url: &str| Source::Rtsp { url: url.into() };
        let http = |url: &str| Source::Http { url: url.into() };
        let kept = rtsp("rtsp://owner:p@ss:word@10.0.0.2:554/live");
        for (new, expected) in [
            (rtsp("rtsp://owner:***@10.0.0.2:554/live"), kept.clone()),
            (
                rtsp("rtsp://owner:***@10.0.0.2:554/other?a=b"),
                rtsp("rtsp://owner:p@ss:word@10.0.0.2:554/other?a=b"),
            ),
            (rtsp("rtsp://me:new@10.0.0.3/live"), rtsp("rtsp://me:new@10.0.0.3/live")),
            (http("http://10.0.0.2/a"), http("http://10.0.0.2/a")),
        ] {
            assert_eq!(restored(new, Some(&kept)).expect("kept"), expected);
        }
        for (new, before) in [
            (rtsp("rtsp://owner:***@10.0.0.3:554/live"), Some(&kept)),
            (rtsp("rtsp://owner:***@10.0.0.2:555/live"), Some(&kept)),
            (rtsp("rtsps://owner:***@10.0.0.2:554/live"), Some(&kept)),
            (rtsp("rtsp://other:***@10.0.0.2:554/live"), Some(&kept)),
            (http("http://owner:***@10.0.0.2:554/live"), Some(&kept)),
            (rtsp("rtsp://owner:***@10.0.0.2:554/live"), Some(&rtsp("rtsp://10.0.0.2:554/live"))),
            (rtsp("rtsp://owner:***@10.0.0.2:554/live"), None),
        ] {
            let error = restored(new.clone(), before).expect_err("refused");
            assert!(error.contains("write the password") && !error.contains("p@ss"), "{new}: {error}");
        }
    }
}
