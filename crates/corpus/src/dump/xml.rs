//! Pages out of MediaWiki's export XML, one at a time, in constant memory.

use std::io::Read;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::site::SiteInfo;
use super::utf8::Utf8Reader;
use crate::error::Stop;

/// One page of the dump with the wikitext of its (last) revision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WikiPage {
    /// Where its `<page>` begins in the XML, bytes.
    pub offset: u64,
    /// Page id.
    pub id: String,
    /// Title, with its namespace prefix.
    pub title: String,
    /// Namespace number; `None` in old dumps that do not say.
    pub ns: Option<i32>,
    /// The page has a `<redirect>` element.
    pub redirect: bool,
    /// Wikitext.
    pub text: String,
    /// The wikitext was longer than the limit and is not all here.
    pub oversized: bool,
    /// Byte sequences in this page that were not UTF-8 and stand as U+FFFD.
    pub invalid_utf8: u64,
    /// Offset in the XML of the first of them.
    pub invalid_utf8_offset: Option<u64>,
}

impl WikiPage {
    fn clear(&mut self) {
        self.offset = 0;
        self.id.clear();
        self.title.clear();
        self.ns = None;
        self.redirect = false;
        self.text.clear();
        self.oversized = false;
        self.invalid_utf8 = 0;
        self.invalid_utf8_offset = None;
    }
}

/// Longest title, id or siteinfo value that is kept, bytes; MediaWiki's own limit for titles is 255.
const MAX_FIELD_BYTES: usize = 1024;
/// Most namespaces that are kept from a `<siteinfo>`.
const MAX_NAMESPACES: usize = 512;

/// Deepest nesting of elements; a dump has five levels. The parser remembers the name of each open element.
const MAX_DEPTH: usize = 64;
/// Longest start tag, bytes.
const MAX_TAG_BYTES: usize = 64 << 10;

/// Which element's text is being collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    None,
    Title,
    Ns,
    Id,
    Text,
    SiteName,
    DbName,
    Base,
    Namespace(i32),
}

/// Reads pages from XML bytes. Memory is bounded by the page limit, whatever the input; DTDs and their entities are never expanded.
pub struct WikiStreamParser<R: Read> {
    reader: Reader<Utf8Reader<R>>,
    buffer: Vec<u8>,
    collector: Collector,
    in_page: bool,
    in_revision: bool,
    seen_root: bool,
    closed_root: bool,
    /// Reading began in the middle of a dump, and no page has begun since.
    before_first: bool,
    depth: usize,
}

/// Puts text where the open element says.
struct Collector {
    field: Field,
    value: String,
    site: SiteInfo,
    max_page_bytes: usize,
}

impl<R: Read> WikiStreamParser<R> {
    /// Reads from `reader`; wikitext past `max_page_bytes` is not kept and the page is marked [`WikiPage::oversized`].
    pub fn new(reader: R, max_page_bytes: usize) -> Self {
        let limit = max_page_bytes.saturating_add(1 << 20);
        let mut reader = Reader::from_reader(Utf8Reader::new(reader, limit));
        let config = reader.config_mut();
        // Names are compared by the code below; the check would keep a list of open elements as long as the input makes it.
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        config.allow_dangling_amp = true;
        Self {
            reader,
            buffer: Vec::new(),
            collector: Collector {
                field: Field::None,
                value: String::new(),
                site: SiteInfo::default(),
                max_page_bytes,
            },
            in_page: false,
            in_revision: false,
            seen_root: false,
            closed_root: false,
            before_first: false,
            depth: 0,
        }
    }

    /// Reads on in the middle of a dump, whose `<siteinfo>` is known.
    pub(crate) fn resumed(reader: R, max_page_bytes: usize, site: SiteInfo) -> Self {
        let mut parser = Self::new(reader, max_page_bytes);
        parser.collector.site = site;
        parser.seen_root = true;
        parser.before_first = true;
        parser
    }

    /// Whether [`WikiPage::offset`] and [`WikiStreamParser::position`] are exact: in UTF-16 they are not.
    pub(crate) fn has_exact_offsets(&self) -> bool {
        self.reader.get_ref().is_utf8()
    }

    /// What `<siteinfo>` said; complete once the first page was read.
    pub fn site(&self) -> &SiteInfo {
        &self.collector.site
    }

    /// Bytes of XML read so far.
    pub fn position(&self) -> u64 {
        self.reader.get_ref().position()
    }

    /// Whether the input has shown the root element of a dump, or a page.
    pub fn is_dump(&self) -> bool {
        self.seen_root
    }

    /// Fills `page` with the next page. `Ok(false)` is the end of a whole dump.
    ///
    /// # Errors
    /// [`Stop`]: the input ends early or cannot be read on. All pages before it were handed out.
    pub fn next_page(&mut self, page: &mut WikiPage) -> Result<bool, Stop> {
        page.clear();
        loop {
            self.buffer.clear();
            self.reader.get_mut().begin_event();
            let event = match self.reader.read_event_into(&mut self.buffer) {
                Ok(event) => event,
                Err(error) => {
                    let source = self.reader.get_ref();
                    if let Some(stop) = &source.stop {
                        return Err(stop.clone());
                    }
                    let offset = source.position();
                    // The parser's message for an element that never closes is the sign of a cut.
                    return Err(match error {
                        quick_xml::Error::Syntax(_) => Stop::XmlTruncated { offset },
                        other => Stop::XmlDamaged {
                            offset,
                            detail: other.to_string(),
                        },
                    });
                }
            };
            match event {
                Event::Start(start) => {
                    self.depth += 1;
                    if self.depth > MAX_DEPTH || start.len() > MAX_TAG_BYTES {
                        let detail = format!(
                            "elements nested over {MAX_DEPTH} deep, or a tag over {MAX_TAG_BYTES} bytes"
                        );
                        return Err(Stop::XmlDamaged {
                            offset: self.reader.get_ref().position(),
                            detail,
                        });
                    }
                    let field = start_field(&start, self.in_page, self.in_revision);
                    match start.local_name().as_ref() {
                        "page" => {
                            self.seen_root = true;
                            self.before_first = false;
                            self.in_page = true;
                            self.in_revision = false;
                            page.clear();
                            let tag = start.len() as u64 + 2;
                            page.offset = self.reader.get_ref().position().saturating_sub(tag);
                            self.reader.get_mut().take_invalid();
                        }
                        "mediawiki" => self.seen_root = true,
                        "revision" => self.in_revision = true,
                        "redirect" if self.in_page => page.redirect = true,
                        "text" if self.in_page => page.text.clear(),
                        _ => {}
                    }
                    self.collector.field = field;
                    self.collector.value.clear();
                }
                Event::Empty(start) => {
                    if self.in_page && start.local_name().as_ref() == "redirect" {
                        page.redirect = true;
                    }
                }
                Event::End(end) => {
                    self.depth = self.depth.saturating_sub(1);
                    let name = end.local_name();
                    match name.as_ref() {
                        "page" if self.in_page => {
                            self.in_page = false;
                            self.collector.field = Field::None;
                            let source = self.reader.get_mut();
                            (page.invalid_utf8, page.invalid_utf8_offset) = source.take_invalid();
                            page.oversized |= source.take_overlong();
                            return Ok(true);
                        }
                        "revision" => self.in_revision = false,
                        "mediawiki" => self.closed_root = true,
                        _ => {}
                    }
                    self.collector.end_field(page);
                }
                Event::Text(text) => self.collector.push(page, &text),
                Event::CData(text) => self.collector.push(page, &text),
                Event::GeneralRef(reference) => match predefined(&reference) {
                    Some(c) => self.collector.push(page, c.encode_utf8(&mut [0; 4])),
                    None => {
                        // Not XML's own: the wikitext cleaner knows the HTML ones.
                        self.collector.push(page, "&");
                        self.collector.push(page, &reference);
                        self.collector.push(page, ";");
                    }
                },
                Event::Eof => {
                    let source = self.reader.get_ref();
                    if let Some(stop) = &source.stop {
                        return Err(stop.clone());
                    }
                    let open = self.seen_root && !self.closed_root && !self.before_first;
                    if self.in_page || open {
                        return Err(Stop::XmlTruncated {
                            offset: source.position(),
                        });
                    }
                    return Ok(false);
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }
}

impl Collector {
    fn push(&mut self, page: &mut WikiPage, text: &str) {
        match self.field {
            Field::None => {}
            Field::Text => {
                if page.text.len() + text.len() > self.max_page_bytes {
                    page.oversized = true;
                } else {
                    page.text.push_str(text);
                }
            }
            _ => {
                if self.value.len() + text.len() <= MAX_FIELD_BYTES {
                    self.value.push_str(text);
                }
            }
        }
    }

    fn end_field(&mut self, page: &mut WikiPage) {
        let value = self.value.trim();
        match std::mem::replace(&mut self.field, Field::None) {
            Field::Title => page.title.push_str(value),
            Field::Ns => page.ns = value.parse().ok(),
            Field::Id if page.id.is_empty() => page.id.push_str(value),
            Field::SiteName => self.site.sitename = value.to_string(),
            Field::DbName => self.site.dbname = value.to_string(),
            Field::Base => self.site.base = value.to_string(),
            Field::Namespace(key)
                if !value.is_empty() && self.site.namespaces.len() < MAX_NAMESPACES =>
            {
                self.site.namespaces.push((key, value.to_string()));
            }
            Field::None | Field::Text | Field::Id | Field::Namespace(_) => {}
        }
    }
}

fn start_field(start: &BytesStart<'_>, in_page: bool, in_revision: bool) -> Field {
    match (start.local_name().as_ref(), in_page) {
        ("title", true) => Field::Title,
        ("ns", true) => Field::Ns,
        ("id", true) if !in_revision => Field::Id,
        ("text", true) => Field::Text,
        ("sitename", false) => Field::SiteName,
        ("dbname", false) => Field::DbName,
        ("base", false) => Field::Base,
        ("namespace", false) => {
            let key = start.try_get_attribute("key").ok().flatten();
            key.and_then(|k| k.value.trim().parse().ok())
                .map_or(Field::None, Field::Namespace)
        }
        _ => Field::None,
    }
}

/// The five entities of XML itself and character references.
fn predefined(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}
