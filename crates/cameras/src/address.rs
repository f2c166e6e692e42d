//! What is secret in the address of a camera: the password of its login, and what its query says under a
//! name that cameras use for one.

use std::ops::Range;

/// What stands in the place of a secret that is not told.
pub const HIDDEN: &str = "***";
/// Names in a query under which cameras take secrets.
const NAMES: [&str; 10] =
    ["password", "passwd", "pass", "pwd", "loginpas", "token", "auth", "key", "apikey", "secret"];

/// One secret in an address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Secret {
    /// Where it stands.
    place: Range<usize>,
    /// What it opens: the login, or a name in the query.
    name: String,
}

/// An address with its secrets.
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    url: &'a str,
    /// Where the authority begins, user and host.
    authority: usize,
    /// Where the path begins.
    path: usize,
}

impl<'a> Address<'a> {
    /// Nothing where it does not begin with a scheme.
    pub fn parse(url: &'a str) -> Option<Self> {
        let authority = url.find("://")? + "://".len();
        let path = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
        Some(Self { url, authority, path })
    }

    /// The address with its secrets replaced. Empty ones are none.
    pub fn replaced<E>(&self, mut with: impl FnMut(&str) -> Result<String, E>) -> Result<String, E> {
        let (mut replaced, mut from) = (String::new(), 0);
        for Secret { place, .. } in self.secrets() {
            replaced.push_str(&self.url[from..place.start]);
            replaced.push_str(&with(&self.url[place.clone()])?);
            from = place.end;
        }
        replaced.push_str(&self.url[from..]);
        Ok(replaced)
    }

    /// The address with `***` for every secret.
    pub fn hidden(&self) -> String {
        let Ok(hidden) = self.replaced(|_| Ok::<_, std::convert::Infallible>(HIDDEN.into()));
        hidden
    }

    /// Whether something in it is secret.
    pub fn has_secrets(&self) -> bool {
        !self.secrets().is_empty()
    }

    /// Whether a secret is not told in it.
    pub fn is_hidden(&self) -> bool {
        self.secrets().iter().any(|secret| &self.url[secret.place.clone()] == HIDDEN)
    }

    /// The address with what the one before has where this says `***`. A secret goes to no other place
    /// than the one that it was given for; the error says which address that is.
    pub fn restored(&self, before: Option<&Address>) -> Result<String, String> {
        let mut own = self.secrets().into_iter();
        self.replaced(|secret| {
            let name = own.next().map(|secret| secret.name).unwrap_or_default();
            if secret != HIDDEN {
                return Ok(secret.to_owned());
            }
            // One that could not be read is none.
            let known = before.and_then(|before| Some((before, before.secret(&name)?)));
            let known = known.filter(|(_, known)| *known != HIDDEN);
            let Some((before, known)) = known else {
                return Err(format!(
                    "{HIDDEN} stands for a password that is kept, and there is none; write the password"
                ));
            };
            if self.place() != before.place() {
                return Err(format!(
                    "{HIDDEN} stands for the password of {}; write the password again to use it elsewhere",
                    before.place()
                ));
            }
            Ok(known.to_owned())
        })
    }

    /// What its secrets are for: scheme, user and host, `rtsp://owner@10.0.0.2:554`.
    pub fn place(&self) -> String {
        let (scheme, authority) = (&self.url[..self.authority], &self.url[self.authority..self.path]);
        match authority.rsplit_once('@') {
            Some((login, host)) => {
                let user = login.split_once(':').map_or(login, |(user, _)| user);
                format!("{scheme}{user}@{host}")
            }
            None => format!("{scheme}{authority}"),
        }
    }

    fn secret(&self, name: &str) -> Option<&'a str> {
        let secrets = self.secrets().into_iter();
        secrets.filter(|secret| secret.name == name).map(|secret| &self.url[secret.place]).next()
    }

    /// In the order in which they stand.
    fn secrets(&self) -> Vec<Secret> {
        let mut secrets = Vec::new();
        let authority = &self.url[self.authority..self.path];
        if let Some((login, _)) = authority.rsplit_once('@')
            && let Some((user, _)) = login.split_once(':')
        {
            let start = self.authority + user.len() + 1;
            secrets.push(Secret { place: start..self.authority + login.len(), name: String::new() });
        }
        let rest = &self.url[self.path..];
        let end = rest.find('#').map_or(self.url.len(), |at| self.path + at);
        if let Some(query) = self.url[..end][self.path..].find('?') {
            let mut start = self.path + query + 1;
            for part in self.url[start..end].split('&') {
                if let Some((name, value)) = part.split_once('=')
                    && NAMES.contains(&name.to_ascii_lowercase().as_str())
                {
                    let from = start + name.len() + 1;
                    secrets.push(Secret { place: from..from + value.len(), name: name.to_owned() });
                }
                start += part.len() + 1;
            }
        }
        secrets.retain(|secret| !secret.place.is_empty());
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_addresses_are_not_told() {
        for (url, shown) in [
            ("rtsp://owner:secret@10.0.0.2:554/live?x=@", "rtsp://owner:***@10.0.0.2:554/live?x=@"),
            ("rtsp://owner:p@ss@10.0.0.2/a", "rtsp://owner:***@10.0.0.2/a"),
            ("rtsp://owner:@10.0.0.2/a", "rtsp://owner:@10.0.0.2/a"),
            ("rtsp://owner@10.0.0.2/a", "rtsp://owner@10.0.0.2/a"),
            ("http://10.0.0.2/a:b@c", "http://10.0.0.2/a:b@c"),
            ("http://10.0.0.2?a=b:c@d", "http://10.0.0.2?a=b:c@d"),
            (
                "http://10.0.0.2/s?user=a&pwd=x=y&Token=z&key=#pwd=1",
                "http://10.0.0.2/s?user=a&pwd=***&Token=***&key=#pwd=1",
            ),
            ("http://a:b@cam?password=c", "http://a:***@cam?password=***"),
        ] {
            assert_eq!(Address::parse(url).expect("an address").hidden(), shown);
        }
        assert!(Address::parse("nonsense").is_none());
    }

    #[test]
    fn what_was_not_told_stays_where_it_was_and_goes_nowhere_else() {
        let restored = |new: &str, before: Option<&str>| {
            Address::parse(new).expect("an address").restored(before.and_then(Address::parse).as_ref())
        };
        let kept = "rtsp://owner:p@ss:word@10.0.0.2:554/live?token=t0";
        for (new, expected) in [
            ("rtsp://owner:***@10.0.0.2:554/live?token=***", kept),
            ("rtsp://owner:***@10.0.0.2:554/other?a=b", "rtsp://owner:p@ss:word@10.0.0.2:554/other?a=b"),
            ("rtsp://owner:new@10.0.0.2:554/?token=***", "rtsp://owner:new@10.0.0.2:554/?token=t0"),
            ("rtsp://me:new@10.0.0.3/live", "rtsp://me:new@10.0.0.3/live"),
        ] {
            assert_eq!(restored(new, Some(kept)).expect("kept"), expected);
        }
        for (new, before) in [
            ("rtsp://owner:***@10.0.0.3:554/live", Some(kept)),
            ("rtsp://owner:***@10.0.0.2:555/live", Some(kept)),
            ("rtsps://owner:***@10.0.0.2:554/live", Some(kept)),
            ("rtsp://other:***@10.0.0.2:554/live", Some(kept)),
            ("rtsp://owner@10.0.0.3:554/live?token=***", Some(kept)),
            ("rtsp://owner@10.0.0.2:554/live?key=***", Some(kept)),
            ("rtsp://owner:***@10.0.0.2:554/live", Some("rtsp://10.0.0.2:554/live")),
            ("rtsp://owner:***@10.0.0.2:554/live", Some("rtsp://owner:***@10.0.0.2:554/live")),
            ("rtsp://owner:***@10.0.0.2:554/live", None),
        ] {
            let error = restored(new, before).expect_err("refused");
            assert!(error.contains("write the password") && !error.contains("p@ss"), "{new}: {error}");
        }
    }
}
