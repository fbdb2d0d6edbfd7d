//! Which words before a colon mean what: namespaces, sister projects, languages.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::template_table::TemplateTable;
use crate::dump::SiteInfo;

/// What a link prefix leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    /// A picture or sound: the link shows no text of the article.
    File,
    /// A category: the link shows nothing.
    Category,
    /// The namespace of templates.
    Template,
    /// Any other namespace of the wiki.
    Namespace,
    /// A sister project, as `wikt:`; the text after the colon is shown.
    Project,
    /// The same article in another language; the link shows nothing.
    Language,
}

/// What the cleaner knows of one wiki: names of namespaces (the Portuguese and the English ones, and those that its dump declares) and the
/// templates that stand for text.
#[derive(Debug)]
pub struct WikiNames {
    prefixes: FxHashMap<String, Prefix>,
    pub(super) templates: Arc<TemplateTable>,
}

const FILES: &[&str] = &["ficheiro", "arquivo", "imagem", "file", "image"];
const CATEGORIES: &[&str] = &["categoria", "category"];
const TEMPLATES: &[&str] = &["predefinição", "template"];
#[rustfmt::skip]
const NAMESPACES: &[&str] = &[
    "multimédia", "media", "especial", "special", "discussão", "talk", "usuário", "usuária", "usuário(a)", "utilizador", "utilizadora",
    "user", "usuário discussão", "usuário(a) discussão", "user talk", "wikipédia", "wikipedia", "project", "wikipédia discussão", "ajuda",
    "help", "ajuda discussão", "portal", "portal discussão", "livro", "livro discussão", "módulo", "module", "mediawiki", "tópico",
    "topic", "wp", "ficheiro discussão", "predefinição discussão", "categoria discussão", "anexo", "timedtext", "gadget", "rascunho",
    "draft",
];
#[rustfmt::skip]
const PROJECTS: &[&str] = &[
    "w", "wikt", "wiktionary", "wikcionário", "s", "wikisource", "q", "wikiquote", "b", "wikibooks", "wikilivros", "n", "wikinews",
    "wikinotícias", "v", "wikiversity", "wikiversidade", "c", "commons", "m", "meta", "d", "wikidata", "species", "wikispecies", "voy",
    "wikivoyage", "mw", "doi", "incubator", "wmf", "foundation", "phab", "bugzilla", "google", "iarchive",
];

impl WikiNames {
    /// Names for the wiki that `site` describes; an empty one gives the built-in names. Templates are those of the built-in table.
    pub fn new(site: &SiteInfo) -> Self {
        Self::with_templates(site, TemplateTable::built_in())
    }

    /// The same with another table of templates.
    pub fn with_templates(site: &SiteInfo, templates: Arc<TemplateTable>) -> Self {
        let mut prefixes = FxHashMap::default();
        // Later entries win: what the dump says goes over what is built in, but never turns a file or category name into something else.
        for (list, kind) in [(PROJECTS, Prefix::Project), (NAMESPACES, Prefix::Namespace)] {
            prefixes.extend(list.iter().map(|name| (name.to_string(), kind)));
        }
        for (key, name) in &site.namespaces {
            let kind = match key {
                0 => continue,
                6 => Prefix::File,
                10 => Prefix::Template,
                14 => Prefix::Category,
                _ => Prefix::Namespace,
            };
            prefixes.insert(name.to_lowercase().replace('_', " "), kind);
        }
        for (list, kind) in [
            (FILES, Prefix::File),
            (CATEGORIES, Prefix::Category),
            (TEMPLATES, Prefix::Template),
        ] {
            prefixes.extend(list.iter().map(|name| (name.to_string(), kind)));
        }
        Self {
            prefixes,
            templates,
        }
    }

    /// What `prefix` (as written, without the colon) leads to. `scratch` is overwritten.
    pub(super) fn prefix(&self, prefix: &str, scratch: &mut String) -> Option<Prefix> {
        let trimmed = prefix.trim();
        if trimmed.is_empty() || trimmed.len() > 64 {
            return None;
        }
        scratch.clear();
        for c in trimmed.chars() {
            scratch.extend(if c == '_' { ' ' } else { c }.to_lowercase());
        }
        if let Some(kind) = self.prefixes.get(scratch.as_str()) {
            return Some(*kind);
        }
        is_language_code(trimmed).then_some(Prefix::Language)
    }

    /// Whether a title belongs to a namespace other than the articles' one; for old dumps without `<ns>`.
    pub(crate) fn is_other_namespace(&self, title: &str) -> bool {
        let Some((prefix, _)) = title.split_once(':') else {
            return false;
        };
        let mut scratch = String::new();
        matches!(
            self.prefix(prefix, &mut scratch),
            Some(Prefix::File | Prefix::Category | Prefix::Template | Prefix::Namespace)
        )
    }
}

/// `en`, `mwl`, `simple`, `be-x-old`: only in lower case, so that "CSI: Miami" stays a title.
fn is_language_code(prefix: &str) -> bool {
    let mut parts = prefix.split('-');
    let first = parts.next().unwrap_or("");
    let letters = |s: &str| s.bytes().all(|b| b.is_ascii_lowercase());
    (first == "simple" || ((2..=3).contains(&first.len()) && letters(first)))
        && parts.all(|p| (1..=6).contains(&p.len()) && letters(p))
}
