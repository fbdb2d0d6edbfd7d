//! As much of the protocol buffer encoding as an ONNX file takes (developers.google.com/protocol-buffers, "Encoding").

/// The bytes of a message, field after field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Message(Vec<u8>);

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

impl Message {
    /// Without any field.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of fields that are encoded already.
    pub fn encoded(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The encoded fields.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A field of an integer.
    #[must_use]
    pub fn int(mut self, field: u64, value: u64) -> Self {
        self.tag(field, VARINT);
        self.varint(value);
        self
    }

    /// A field of a float.
    #[must_use]
    pub fn float(mut self, field: u64, value: f32) -> Self {
        self.tag(field, FIXED_32);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// A field of a text, of bytes, or of a message that is encoded already.
    #[must_use]
    pub fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self = self.bytes_of(field, value.len() as u64);
        self.0.extend(value);
        self
    }

    /// A field of a text.
    #[must_use]
    pub fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// A field of a message.
    #[must_use]
    pub fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// The beginning of a field of `length` bytes that the caller writes behind it.
    #[must_use]
    pub fn bytes_of(mut self, field: u64, length: u64) -> Self {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(length);
        self
    }

    fn tag(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_description() {
        assert_eq!(Message::new().int(1, 150).as_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(
            Message::new().text(2, "testing").as_bytes(),
            [0x12, 7, b't', b'e', b's', b't', b'i', b'n', b'g']
        );
        let inner = Message::new().int(1, 150);
        assert_eq!(
            Message::new().message(3, &inner).as_bytes(),
            [0x1a, 3, 0x08, 0x96, 0x01]
        );
        assert_eq!(
            Message::new().float(1, 1.0).as_bytes(),
            [0x0d, 0, 0, 0x80, 0x3f]
        );
        assert_eq!(Message::new().int(16, u64::MAX).as_bytes().len(), 2 + 10);
    }
}
