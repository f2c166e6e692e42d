//! Which route was meant by a path that has none: most mistakes are in a program's base URL.

/// The path that was meant, if one of `routes` fits after the usual mistakes are undone: slashes too many, a
/// beginning that is missing, doubled or another's.
pub(crate) fn suggestion(path: &str, routes: &[&str]) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let fits = |parts: &[&str]| routes.iter().any(|route| matches(route, parts));
    let mut candidates = vec![parts.clone()];
    candidates.extend((1..parts.len().min(3)).map(|dropped| parts[dropped..].to_vec()));
    for beginning in [&["v1"][..], &["api"], &["api", "v1"]] {
        candidates.push([beginning, &parts].concat());
    }
    candidates.into_iter().find(|parts| fits(parts)).map(|parts| format!("/{}", parts.join("/")))
}

fn matches(route: &str, parts: &[&str]) -> bool {
    let mut wanted = route.split('/').skip(1);
    let all =
        parts.iter().all(|part| wanted.next().is_some_and(|want| want == *part || want.starts_with('{')));
    all && wanted.next().is_none() && !parts.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_mistakes_of_base_urls_are_undone() {
        let routes = [
            "/query",
            "/v1/models",
            "/v1/models/{id}",
            "/v1/chat/completions",
            "/v1/messages",
            "/api/chat",
            "/api/v1/models",
        ];
        for (path, expected) in [
            ("/v1/models/", Some("/v1/models")),
            ("/v1//chat/completions", Some("/v1/chat/completions")),
            ("//query//", Some("/query")),
            ("/v1/v1/messages", Some("/v1/messages")),
            ("/v1/api/chat", Some("/api/chat")),
            ("/api/api/chat/", Some("/api/chat")),
            ("/openai/v1/models/guide", Some("/v1/models/guide")),
            ("/chat/completions", Some("/v1/chat/completions")),
            ("/chat", Some("/api/chat")),
            ("/v1/responses", None),
            ("/", None),
            ("/a/b/c/v1/models", None),
        ] {
            assert_eq!(suggestion(path, &routes).as_deref(), expected, "{path}");
        }
    }
}
