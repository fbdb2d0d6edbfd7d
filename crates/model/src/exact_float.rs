//! Floats that survive JSON to the last bit.
//!
//! serde_json's default number parser may be off by one unit in the last place for numbers of 17 digits (its exact parser is a feature that would apply
//! to the whole program). A learning rate that changes by one bit changes every weight after a resume, so a float that would not survive is written as a string instead; what people
//! type has few digits and stays a number.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let text = format!("{value:?}");
    match serde_json::from_str::<f64>(&text) {
        Ok(parsed) if parsed.to_bits() == value.to_bits() => serializer.serialize_f64(*value),
        _ => serializer.serialize_str(&text),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    deserializer.deserialize_any(FloatVisitor)
}

struct FloatVisitor;

impl Visitor<'_> for FloatVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        text.parse()
            .map_err(|_| E::custom(format!("\"{text}\" is not a number")))
    }
}

/// The same for optional floats; absent and `null` are `None`.
pub(crate) mod option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Exact(#[serde(with = "super")] f64);

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Exact).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Exact>::deserialize(deserializer)?.map(|exact| exact.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize, Debug)]
    struct Holder {
        #[serde(with = "super")]
        value: f64,
        #[serde(with = "super::option")]
        maybe: Option<f64>,
    }

    proptest! {
        #[test]
        fn every_bit_pattern_survives(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            let json = serde_json::to_string(&Holder { value, maybe: Some(value) }).unwrap();
            let back: Holder = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back.value.to_bits(), bits, "{}", json);
            prop_assert_eq!(back.maybe.map(f64::to_bits), Some(bits));
        }
    }

    #[test]
    fn what_people_type_stays_a_number() {
        let json = serde_json::to_string(&Holder {
            value: 3e-4,
            maybe: None,
        })
        .unwrap();
        assert_eq!(json, r#"{"value":0.0003,"maybe":null}"#);
        assert_eq!(
            serde_json::from_str::<Holder>(r#"{"value":1,"maybe":-2}"#)
                .unwrap()
                .maybe,
            Some(-2.0)
        );
        assert!(serde_json::from_str::<Holder>(r#"{"value":"x","maybe":null}"#).is_err());
    }
}
