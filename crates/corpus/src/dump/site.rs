//! What a dump's `<siteinfo>` says about the wiki: names of namespaces, base address.

/// Name and namespaces of the wiki that a dump comes from.
///
/// Names are kept as written. The Portuguese names and the English ones, which MediaWiki accepts everywhere, are always known to the cleaner;
/// what the dump says is added to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteInfo {
    /// `<sitename>`, as "Wikipédia".
    pub sitename: String,
    /// `<dbname>`, as "ptwiki"; the `source` of the documents.
    pub dbname: String,
    /// `<base>`: address of the main page.
    pub base: String,
    /// `(key, name)` of each namespace of the dump.
    pub namespaces: Vec<(i32, String)>,
}

impl SiteInfo {
    /// Name of namespace `key` in this dump.
    pub fn namespace(&self, key: i32) -> Option<&str> {
        self.namespaces
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, name)| name.as_str())
    }

    /// Appends the address of the page `title` to `out`: the folder of [`SiteInfo::base`] and the percent-encoded title.
    pub fn page_url(&self, title: &str, out: &mut String) {
        let folder = match self.base.rfind('/') {
            Some(at) if self.base.starts_with("http") => &self.base[..=at],
            _ => "https://pt.wikipedia.org/wiki/",
        };
        out.push_str(folder);
        for byte in title.bytes() {
            match byte {
                b' ' => out.push('_'),
                b'A'..=b'Z'
                | b'a'..=b'z'
                | b'0'..=b'9'
                | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b':'
                | b'/'
                | b'('
                | b')'
                | b','
                | b'!'
                | b'*' => {
                    out.push(byte as char);
                }
                _ => {
                    const HEX: &[u8; 16] = b"0123456789ABCDEF";
                    out.push('%');
                    out.push(HEX[usize::from(byte >> 4)] as char);
                    out.push(HEX[usize::from(byte & 15)] as char);
                }
            }
        }
    }
}
