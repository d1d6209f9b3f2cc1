//! Which pages may open a WebSocket (specification, section 2).

use wildmatch::WildMatch;

/// `client.allowed_origins`, ready to be matched.
#[derive(Debug)]
pub(crate) struct AllowedOrigins(Vec<WildMatch>);

impl AllowedOrigins {
    /// From patterns: `*` stands for any characters, `?` for one.
    pub(crate) fn new(patterns: &[String]) -> Self {
        // An origin is a scheme, a host and a port; none of them is case-sensitive.
        let lower = patterns.iter().map(|pattern| pattern.to_ascii_lowercase());
        Self(lower.map(|pattern| WildMatch::new(&pattern)).collect())
    }

    /// Whether a page of this origin may connect.
    pub(crate) fn allow(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.0.iter().any(|pattern| pattern.matches(&origin))
    }
}

#[cfg(test)]
mod tests {
    use super::AllowedOrigins;

    fn allows(patterns: &[&str], origin: &str) -> bool {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        AllowedOrigins::new(&patterns).allow(origin)
    }

    #[test]
    fn no_pattern_allows_nothing_and_a_star_allows_all() {
        assert!(!allows(&[], "https://example.com"));
        assert!(allows(&["*"], "https://example.com"));
        assert!(allows(&["*"], "null"));
    }

    #[test]
    fn patterns_match_the_whole_origin_whatever_its_case() {
        assert!(allows(&["https://Example.com"], "HTTPS://example.COM"));
        assert!(!allows(&["https://example.com"], "https://example.com.evil.org"));
        assert!(!allows(&["https://example.com"], "http://example.com"));
        assert!(allows(&["https://*.example.com"], "https://a.b.example.com"));
        assert!(!allows(&["https://*.example.com"], "https://example.com"));
        assert!(allows(&["http://localhost:*"], "http://localhost:3000"));
    }
}
